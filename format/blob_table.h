/**
 * @file blob_table.h
 * The table of BLOB records, both ways. Source: FORMAT.md, "BLOB".
 *
 *     total u64, XXH3-128 of the whole blob 16, name_len u16, name
 *
 * The parts of a blob are adjacent records, in order, without a gap; an empty blob is one empty part.
 */
#ifndef NBDPULL_FORMAT_BLOB_TABLE_H
#define NBDPULL_FORMAT_BLOB_TABLE_H

#include "nbdpull/record.h"

#define NP_BLOB_NAME_MAX 255 /**< bytes, without NUL */
#define NP_BLOB_TABLE_MAX (26 + NP_BLOB_NAME_MAX)

struct np_blob_table {
    uint64_t total;
    struct np_hash128 sum;
    char name[NP_BLOB_NAME_MAX + 1];
};

/** 1 to 255 of [A-Za-z0-9._-], no leading dot. */
bool np_blob_table_name_is_good(const char *name);

/** @return bytes written, at most NP_BLOB_TABLE_MAX */
uint32_t np_blob_table_put(uint8_t to[NP_BLOB_TABLE_MAX], const struct np_blob_table *table);

/** Check the table, and that the part lies in the blob. @param name the stream's. NP_DAMAGED */
int np_blob_table_decode(const struct np_record *record, const char *name, struct np_blob_table *table,
                         struct np_error *err);

#endif
