/**
 * @file track.h
 * What the records of one disk must be to each other, and what they add up to: order, no overlap, no gap
 * where everything has to be described. The writer and the reader obey the same one. Source: FORMAT.md,
 * "DATA and ZERO", "Disk digest".
 */
#ifndef NBDPULL_FORMAT_TRACK_H
#define NBDPULL_FORMAT_TRACK_H

#include "nbdpull/meta.h"
#include "nbdpull/stream.h"

struct np_track {
    const struct np_geometry *geometry; /**< borrowed */
    uint64_t cover_from;                /**< np_geometry_cover_from */
    uint64_t end;                       /**< guest byte behind the last record */
    uint64_t window;                    /**< of the last record, when that was DATA */
    bool in_window;                     /**< the last record was DATA: its window may go on */
    uint8_t live[NP_GRANULES_MAX / 8];  /**< granules of that window that are data or zero so far */
    struct np_totals totals;            /**< digest: sum of the own terms; digest_known stays false */
};

void np_track_init(struct np_track *track, const struct np_meta_disk *disk);

/**
 * May this record come next? Changes nothing.
 * @param record a DATA that has passed np_window_check, or a ZERO
 * @param name   the stream's, for messages
 * @return 0, or -1: NP_DAMAGED with the guest offset
 */
int np_track_check(const struct np_track *track, const struct np_record *record, const char *name,
                   struct np_error *err);

/** Take it in. @param record has passed np_track_check just now */
void np_track_add(struct np_track *track, const struct np_record *record);

/** The disk has no more records: is all there that must be? NP_DAMAGED with the first guest offset missing.
 */
int np_track_end(const struct np_track *track, const char *name, struct np_error *err);

#endif
