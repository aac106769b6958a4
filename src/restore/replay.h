/**
 * @file replay.h
 * The workers of a restore: each takes an item (one DATA record and which granules to take from it), reads
 * it if need be, checks and expands it, and writes the granules to the disk's target.
 */
#ifndef NP_REPLAY_H
#define NP_REPLAY_H

#include "nbdpull/restore.h"

/** One DATA record on its way. A fixed number of these exists; each has one owner at a time. */
struct np_replay_item {
    const struct np_restore_disk *disk;
    const struct np_geometry *geometry; /**< of the record's stream: an older one may be smaller */
    uint8_t take[NP_MAP_BYTES_MAX];     /**< granules in state data here are written, all others ignored */

    /* A record to be read by its entry ... */
    struct np_stream *stream; /**< NULL: the record is here already */
    uint16_t stream_disk;     /**< the disk's id in that stream */
    struct np_entry entry;    /**< its map points to `map` */
    uint8_t map[NP_MAP_BYTES_MAX];
    /* ... or already read from a pipe. */
    struct np_record_header header;

    const char *name; /**< of the stream, for messages */
    uint8_t table[NP_DATA_TABLE_MAX];
    uint8_t *data; /**< one chunk */
};

struct np_replay;

/**
 * Start the workers.
 * @param options   borrowed
 * @param disks     borrowed; all disks that items will name
 * @param chunk     largest chunk size of them
 */
int np_replay_start(const struct np_restore_options *options, const struct np_restore_disk *disks,
                    size_t disk_count, uint32_t chunk, struct np_replay **replay, struct np_error *err);

/** A free item, owned until np_replay_put; NULL when a worker failed (np_replay_finish says why). */
struct np_replay_item *np_replay_get(struct np_replay *replay);

/** Hand an item to the workers, as soon as the rate allows. @param item taken @param bytes that it writes */
void np_replay_put(struct np_replay *replay, struct np_replay_item *item, uint64_t bytes);

/** Give an item back unused. @param item taken */
void np_replay_return(struct np_replay *replay, struct np_replay_item *item);

/** Stop because the feeding side failed; the first error counts. */
void np_replay_fail(struct np_replay *replay, const struct np_error *err);

/**
 * Wait until all items are written, end the workers, free.
 * @param digest out: the disk digest of what was written, of all disks together; NULL: nobody asks
 * @return the first error of anyone
 */
int np_replay_finish(struct np_replay *replay, struct np_hash128 *digest, struct np_error *err);

#endif
