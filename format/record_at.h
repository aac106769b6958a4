/**
 * @file record_at.h
 * One record anywhere in a stream: its header and identity, then its table, then its data, each verified
 * before it is used. Thread-safe.
 */
#ifndef NBDPULL_FORMAT_RECORD_AT_H
#define NBDPULL_FORMAT_RECORD_AT_H

#include "place.h"

#include "nbdpull/stream.h"

/** Where records are read from. */
struct np_record_at {
    struct np_input_at input;
    const char *name; /**< the stream's; borrowed */
    uint64_t stream_id;
};

/**
 * Read the header at pos and check it, its identity, that the record ends where END begins, or before, and
 * the sums of what is empty.
 * @param type that it must have
 * @return 0, or -1: NP_DAMAGED; NP_FAILED for input errors and what is not known
 */
int np_record_at_header(const struct np_record_at *at, uint64_t pos, uint8_t type,
                        struct np_record_header *header, struct np_error *err);

/** As np_record_at_header, and it must be the record that the place names. */
int np_record_at_place(const struct np_record_at *at, const struct np_place *place, uint8_t type,
                       struct np_record_header *header, struct np_error *err);

/**
 * Read the table and verify table_sum.
 * @param disk  whose guest bytes a message names, or NULL
 * @param table room for header->table_len bytes
 */
int np_record_at_table(const struct np_record_at *at, const struct np_record_header *header,
                       const struct np_meta_disk *disk, void *table, struct np_error *err);

/** As np_record_at_table, the data and data_sum. @param data room for header->data_len bytes */
int np_record_at_data(const struct np_record_at *at, const struct np_record_header *header,
                      const struct np_meta_disk *disk, void *data, struct np_error *err);

/** np_record_at_table in new memory. @param table out, owned (free) */
int np_record_at_new_table(const struct np_record_at *at, const struct np_record_header *header,
                           uint8_t **table, struct np_error *err);

/** np_record_at_place, then np_record_at_new_table. */
int np_record_at_whole(const struct np_record_at *at, const struct np_place *place, uint8_t type,
                       struct np_record_header *header, uint8_t **table, struct np_error *err);

#endif
