/**
 * @file scan.h
 * Finding the records of one stream in what is left of it: bytes may be wrong, missing or inserted, and some
 * may be unreadable. Source: FORMAT.md, "By scanning".
 *
 * A scan belongs to one thread.
 */
#ifndef NBDPULL_FORMAT_SCAN_H
#define NBDPULL_FORMAT_SCAN_H

#include "nbdpull/cancel.h"
#include "nbdpull/stream.h"

/** Records that say to be at this position or behind are not taken, so there is room for positions of our
 * own.
 */
#define NP_SCAN_POS_LIMIT (UINT64_C(1) << 62)

/** A record whose header is good; table and data need not be. */
struct np_scan_found {
    struct np_record_header header;
    uint64_t place;    /**< where it was found; header.pos is where it was written */
    bool gap;          /**< records are missing before it */
    uint64_t gap_from; /**< the position at which the first of them must have been */
};

struct np_scan;

/**
 * @param input  copied
 * @param name   for messages; borrowed
 * @param cancel or NULL; borrowed
 */
int np_scan_open(const struct np_input_at *input, const char *name, uint64_t stream_id,
                 struct np_cancel *cancel, struct np_scan **scan, struct np_error *err);

/**
 * The next record, in the order of their positions and numbers. Bytes that cannot be read are passed over.
 * @return 1; 0 the end; -1 asked to stop
 */
int np_scan_next(struct np_scan *scan, struct np_scan_found *found, struct np_error *err);

/** Has END been found, with no record missing before it since the last one? */
bool np_scan_ended(const struct np_scan *scan);

/** Where the record after the last one found must have been written. */
uint64_t np_scan_expected(const struct np_scan *scan);

void np_scan_close(struct np_scan *scan); /**< takes NULL */

/**
 * The stream id whose records have the most bytes, by their headers; looks at every byte.
 * @return 1; 0 there is no header; -1 asked to stop, or no memory
 */
int np_scan_id(const struct np_input_at *input, struct np_cancel *cancel, uint64_t *stream_id,
               struct np_error *err);

#endif
