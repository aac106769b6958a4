/**
 * @file parent.h
 * The base of an increment, window by window beside the disk that is read: what each granule held.
 */
#ifndef NP_PARENT_H
#define NP_PARENT_H

#include "nbdpull/backup.h"

/** What the base held of one window. */
struct np_parent_window {
    uint8_t map[NP_MAP_BYTES_MAX]; /**< data, zero; absent beyond the base's end */
    struct np_hash128 *hashes;     /**< by granule, of those in state data; room for all of a window */
};

struct np_parent {
    const struct np_base *base;
    struct np_geometry geometry; /**< the base's */
    struct np_chain_step step;   /**< the next one not used up */
    int more;                    /**< what np_chain_next gave for it */
    bool begun;
};

/** @param base borrowed; @param geometry of the disk now */
void np_parent_init(struct np_parent *parent, const struct np_base *base, const struct np_geometry *geometry);

/**
 * Bytes from offset (a window's begin) on that are zero in the base for whole windows, as far as is known
 * without going on: 0 when the window holds data, or reaches beyond the base's end. Offsets must not fall.
 */
int np_parent_zero_run(struct np_parent *parent, uint64_t offset, uint64_t *run, struct np_error *err);

/** What the base held of the window at offset. Offsets must rise. @param window its hashes have room */
int np_parent_window(struct np_parent *parent, uint64_t offset, struct np_parent_window *window,
                     struct np_error *err);

#endif
