/**
 * @file reader_trailer.h
 * The pipe reader's comparison of second META, DIR and END with what went by. Source: FORMAT.md, "META",
 * "DIR", "END".
 */
#ifndef NBDPULL_FORMAT_READER_TRAILER_H
#define NBDPULL_FORMAT_READER_TRAILER_H

#include "reader_blob.h"
#include "reader_index.h"
#include "track.h"

/** What the pipe reader keeps of one disk. */
struct np_reader_disk {
    const struct np_meta_disk *meta; /**< borrowed */
    struct np_track track;
    struct np_reader_index index;
};

/** All that went by, for comparison. Borrowed. */
struct np_reader_seen {
    const char *name;
    const struct np_meta *meta;
    struct np_reader_disk *disks; /**< meta->disk_count */
    const struct np_reader_blobs *blobs;
    uint64_t last_index;
    struct np_place meta_place, dir_place; /**< of the second META, and of DIR */
};

/**
 * Compare DIR with what was counted. Afterwards the totals of disks with a base hold DIR's digest, which
 * cannot be recomputed from this stream alone.
 * @param record its table has been verified. NP_DAMAGED
 */
int np_reader_trailer_dir(const struct np_reader_seen *seen, const struct np_record *record,
                          struct np_error *err);

/** Compare the results with the totals; after DIR. NP_DAMAGED; NP_FAILED out of memory */
int np_reader_trailer_results(const struct np_reader_seen *seen, const uint8_t *text, size_t size,
                              struct np_error *err);

/** Compare END. @param header its own, for the message. @param headers digest of all headers before it */
int np_reader_trailer_end(const struct np_reader_seen *seen, const struct np_record_header *header,
                          const struct np_end *end, struct np_hash128 headers, struct np_error *err);

#endif
