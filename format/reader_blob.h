/**
 * @file reader_blob.h
 * The pipe reader's view of BLOB records: parts adjacent and complete, names unique, whole files right.
 * Source: FORMAT.md, "BLOB".
 */
#ifndef NBDPULL_FORMAT_READER_BLOB_H
#define NBDPULL_FORMAT_READER_BLOB_H

#include "blob_table.h"
#include "place.h"

/** Zeroed it is ready. */
struct np_reader_blobs {
    struct np_blob_table current; /**< the blob that the last part belongs to */
    uint64_t next;                /**< where its next part must begin */
    bool open;                    /**< parts are missing */
    struct np_hash_stream *hash;  /**< over its bytes so far */
    struct np_reader_blob {
        char *name;
        struct np_place place; /**< of the first part */
    } * list;                  /**< owned; so far */
    size_t count;
};

void np_reader_blobs_clear(struct np_reader_blobs *blobs); /**< takes a zeroed struct */

/** A part begins. @param record its table has been verified. NP_DAMAGED; NP_FAILED out of memory */
int np_reader_blobs_part(struct np_reader_blobs *blobs, const struct np_record *record, const char *name,
                         struct np_error *err);

/** The part's bytes have been added to `hash`: was it the last one, and is the file right? NP_DAMAGED */
int np_reader_blobs_part_end(struct np_reader_blobs *blobs, const struct np_record_header *header,
                             const char *name, struct np_error *err);

/** Without the part's bytes: was it the last one? Then no part is missing any more. */
bool np_reader_blobs_part_passed(struct np_reader_blobs *blobs);

#endif
