/**
 * @file emitter.h
 * Appends records to a sink: stream id, positions, numbers, checksums, padding, and the digest of all
 * headers. Source: FORMAT.md, "Record", "END".
 */
#ifndef NBDPULL_FORMAT_EMITTER_H
#define NBDPULL_FORMAT_EMITTER_H

#include "nbdpull/stream.h"

struct np_emitter {
    struct np_sink sink;
    struct np_hash_stream *headers; /**< over the headers so far */
    uint64_t stream_id;
    uint64_t pos, number; /**< of the next record */
    uint64_t last_index;  /**< position of the last INDEX; 0: none */
};

/** @param sink copied */
int np_emitter_init(struct np_emitter *emitter, const struct np_sink *sink, const struct np_uuid *stream,
                    struct np_error *err);
void np_emitter_clear(struct np_emitter *emitter); /**< takes a zeroed struct */

/** A header of that type with the next position and number. @param disk or NP_DISK_NONE */
struct np_record_header np_emitter_begin(const struct np_emitter *emitter, uint8_t type, uint16_t disk);

/**
 * Append one record. After an error the sink may hold a part of it.
 * @param header from the caller: type, codec, disk, flags, offset, length, table_len, data_len, and data_sum
 *               for DATA; the rest is filled in
 * @return 0, or -1: the sink's error; NP_FAILED for a header that no reader would take
 */
int np_emitter_put(struct np_emitter *emitter, struct np_record_header *header, const void *table,
                   const void *data, struct np_error *err);

#endif
