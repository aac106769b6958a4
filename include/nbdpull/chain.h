/**
 * @file chain.h
 * What a disk holds at a restore point: a cursor over a chain of streams, from the newest back to the full
 * that it rests on. Restore, scan increments, verify and dump all read chains through it.
 *
 * It is a k-way merge of the streams' indexes in guest order, and the newest stream that describes a granule
 * wins. It reads indexes only, never payloads, and keeps one index node per level and stream in memory,
 * whatever the disk's size. Source: FORMAT.md, "Chains".
 *
 * A chain belongs to one thread. The streams may be read by others meanwhile (np_stream_read).
 */
#ifndef NBDPULL_CHAIN_H
#define NBDPULL_CHAIN_H

#include "nbdpull/salvage.h"
#include "nbdpull/stream.h"

struct np_chain;

enum np_chain_kind {
    NP_CHAIN_ZERO, /**< the range reads as zeroes */
    NP_CHAIN_DATA, /**< some granules of a window come from one record */
    NP_CHAIN_LOST, /**< of a damaged chain only: what other steps say of the range is not what the disk held,
                      or may not be */
};

/** One step of the way through the disk. It may be kept; it must not be copied, because entry.map points into
 * it. */
struct np_chain_step {
    enum np_chain_kind kind;
    uint64_t offset; /**< guest bytes. ZERO: begins with a granule. DATA: of the window */
    uint64_t length; /**< ZERO: ends with a granule. DATA: of the window, by the newest stream's size */

    /* Of DATA only: */
    size_t stream;                  /**< whose record it is: index into the streams of np_chain_open */
    struct np_entry entry;          /**< the record, for np_stream_read; hashes are borrowed until the next
                                       np_chain_next          or np_chain_seek, and NULL unless they were asked for */
    unsigned taken;                 /**< granules to take, at least 1 */
    uint8_t take[NP_MAP_BYTES_MAX]; /**< a map: NP_GRANULE_DATA for each granule to take, absent for others */
    uint8_t map[NP_MAP_BYTES_MAX];  /**< where entry.map points */

    /* Of LOST only: */
    struct np_loss loss; /**< kind and record of it; the range is the step's */
    size_t lost_in;      /**< the newest stream that lost it; the count of streams: what they build on */
    size_t instead;      /**< whose older version other steps give instead; the count: zeroes */
};

/**
 * Begin at the disk's first byte. Checks that the streams are a chain: each one's base names the next one's
 * state, size and digest (when both are known), chunk and granule sizes are equal, and the last has no base.
 * @param streams  newest first; borrowed until np_chain_close, the array is not
 * @param disk_ids the disk's id in each of them
 * @param count    at least 1
 * @param target   the disk's name for messages; copied
 * @param hashes   also read the granule hashes
 * @return 0, or -1: NP_DAMAGED names the stream that does not fit the one it should build on
 */
int np_chain_open(struct np_stream *const *streams, const uint16_t *disk_ids, size_t count,
                  const char *target, bool hashes, struct np_chain **chain, struct np_error *err);

/** A stream of a chain that may be damaged. */
struct np_chain_part {
    struct np_stream *stream; /**< borrowed until np_chain_close; NULL: nothing is left of it */
    uint16_t disk_id;         /**< in the stream */
    struct np_losses *losses; /**< borrowed, at their start; without a stream: of all (np_losses_of_all) */
    uint64_t size;            /**< without a stream: bytes of the disk in it */
};

/**
 * As np_chain_open, of what is left: streams may be missing, the last may have a base, and digests are not
 * compared. Then no granule is an error: those that are lost are given as zeroes, or as the newest older
 * version that the chain has, and besides as LOST.
 * @param parts newest first; at least one has a stream
 * @param older give older versions, not zeroes
 */
int np_chain_open_damaged(const struct np_chain_part *parts, size_t count, const char *target, bool older,
                          struct np_chain **chain, struct np_error *err);

/** The disk at the point: the newest stream's size, and the grid of all of them. Borrowed. */
const struct np_geometry *np_chain_geometry(const struct np_chain *chain);

/**
 * The next step. Steps come by rising window, and each granule of the disk occurs in exactly one:
 *
 * - one DATA for each record that a window's granules come from, newest stream first; then one ZERO for each
 *   run of zero granules in the window;
 * - neighbouring windows of zeroes are one ZERO, of any length, which may begin with the zero granules at the
 *   end of the window before.
 *
 * A damaged chain gives LOST steps too, each before the other steps of the last window that it touches, by
 * rising offset.
 *
 * A granule that is taken has the same length in its stream as in the newest one. Dead granules are never
 * taken, and a record that newer ones replace in whole gives no step.
 * @param step out
 * @return 1; 0 at the disk's end; -1: NP_DAMAGED when an index is damaged or when nobody stored a granule
 *         (after shrinking, what lay beyond the end is gone for all later points)
 */
int np_chain_next(struct np_chain *chain, struct np_chain_step *step, struct np_error *err);

/** Go to the window that holds a guest offset; at or beyond the disk's end, the next step is the end. */
int np_chain_seek(struct np_chain *chain, uint64_t offset, struct np_error *err);

/**
 * Hash of one granule in a step's record, as the index has it.
 * @param step    DATA, of a chain opened with hashes, not older than its last np_chain_next
 * @param granule index in the window, one that is taken
 */
struct np_hash128 np_chain_step_hash(const struct np_chain_step *step, unsigned granule);

void np_chain_close(struct np_chain *chain); /**< takes NULL */

#endif
