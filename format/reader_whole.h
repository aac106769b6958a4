/**
 * @file reader_whole.h
 * What the records of a whole stream must be to each other: their order, each disk's, its index, the parts of
 * files. The pipe reader and the walk obey the same one, so that both refuse the same streams. Source:
 * FORMAT.md, "Order of the records".
 */
#ifndef NBDPULL_FORMAT_READER_WHOLE_H
#define NBDPULL_FORMAT_READER_WHOLE_H

#include "reader_trailer.h"

/** META { DATA | ZERO | INDEX } { BLOB } META DIR END: how far along that line a stream has come. */
enum np_reader_phase { NP_READER_DISKS, NP_READER_BLOBS, NP_READER_META, NP_READER_DIR, NP_READER_END };

struct np_reader_whole {
    struct np_reader_seen seen; /**< its disks are owned */
    struct np_reader_disk *disk_by_id[NP_DISKS_MAX];
    struct np_reader_blobs blobs;
    enum np_reader_phase phase;
};

/**
 * The first META went by.
 * @param whole zeroed; does not move afterwards
 * @param name  the stream's; borrowed, as is meta
 */
int np_reader_whole_init(struct np_reader_whole *whole, const struct np_meta *meta, const char *name,
                         struct np_error *err);
void np_reader_whole_clear(struct np_reader_whole *whole); /**< takes a zeroed struct */

/**
 * A record behind the first META went by. Of META, DIR and END only their place is looked at, and whether all
 * is there that each disk must have is the caller's to ask (np_track_end).
 * @param record its table has been verified; not used of META, DIR, END and of types that nobody knows
 * @return 0, or -1: NP_DAMAGED; NP_FAILED out of memory. A disk's track has not taken the record then, but
 *         its index may have: nothing is to follow
 */
int np_reader_whole_take(struct np_reader_whole *whole, const struct np_record *record, struct np_error *err);

#endif
