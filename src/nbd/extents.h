/*
 * Block status replies as compact lists, and the walk over several of them at once. Knows no server: the
 * bytes come from outside, and all that is wrong with them is found here.
 */
#ifndef NBD_EXTENTS_H
#define NBD_EXTENTS_H

#include "nbdpull/error.h"
#include "nbdpull/extent.h"

/* Runs kept of one reply: as many as QEMU sends. A longer reply is cut; the rest is asked for again. */
#define NP_NBD_EXTENTS_KEPT (128u << 10)

struct np_nbd_run {
    uint32_t length; /* > 0 */
    uint32_t flags;  /* NP_EXTENT_... */
};

/* What one metadata context says of the bytes from `offset` on, up to `end`. Zeroed, it is empty. */
struct np_nbd_extents {
    uint64_t offset, end;
    struct np_nbd_run *runs; /* owned; flags of neighbours differ */
    size_t count, capacity;
    size_t at;          /* where the last walk stopped: this run */
    uint64_t at_offset; /* and its first byte */
};

/* Forget the runs and begin anew at offset; the memory is kept. */
void np_nbd_extents_begin(struct np_nbd_extents *list, uint64_t offset);
void np_nbd_extents_clear(struct np_nbd_extents *list);

/*
 * Append one reply.
 * words:     pairs (length, state) as in NBD_REPLY_TYPE_BLOCK_STATUS, word_count of them in all
 * limit:     first byte that was not asked for; what the reply says beyond it is dropped
 * bit, flag: `flag` is set where the state has all of `bit`
 * NP_FAILED: an extent of no bytes (the walk would not get on), half a pair, or no memory.
 */
int np_nbd_extents_append(struct np_nbd_extents *list, const uint32_t *words, size_t word_count,
                          uint64_t limit, uint32_t bit, uint32_t flag, struct np_error *err);

/*
 * Walk all lists in lock-step from offset: each extent is as long as all lists agree, with the flags of all.
 * Stops at `limit`, where the first list ends, or when `room` extents do not suffice; neighbours with equal
 * flags are one extent. NP_FAILED when a list says nothing of the byte at offset.
 */
int np_nbd_extents_walk(struct np_nbd_extents lists[], size_t list_count, uint64_t offset, uint64_t limit,
                        struct np_extent *extents, size_t room, size_t *count, struct np_error *err);

#endif
