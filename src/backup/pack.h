/**
 * @file pack.h
 * One window: its granules tested for zeroes, hashed, and compressed as one unit. One packer a thread.
 */
#ifndef NP_PACK_H
#define NP_PACK_H

#include "nbdpull/codec.h"
#include "nbdpull/window.h"
#include "parent.h"

struct np_packer {
    const struct np_codec *codec;
    void *state; /**< of the codec */
    const struct np_geometry *geometry;
};

/** @param geometry borrowed until np_packer_clear */
int np_packer_init(struct np_packer *packer, const struct np_codec *codec, int level,
                   const struct np_geometry *geometry, struct np_error *err);
void np_packer_clear(struct np_packer *packer); /**< takes a zeroed struct */

/** What granules are compared with: the base's window, for a scan. */
struct np_pack_base {
    const struct np_geometry *geometry; /**< of the base: the granule that held its end was shorter */
    const struct np_parent_window *window;
};

/**
 * Make a DATA record's body. Zero test, hash and codec all read the one private buffer `payload`, so that
 * they speak of the same bytes.
 * @param offset  of the window
 * @param map     in: granules in state data lie in payload in order; out: those that are all zero have become
 *                state zero; with a base those that are as they were have become absent
 * @param payload in: the granules' bytes; changed (granules that are zero are closed up)
 * @param spare   as much room as the payload
 * @param table   room for NP_DATA_TABLE_MAX
 * @param base    NULL: nothing is compared
 * @param packed  out; data points into payload or spare, table into table
 */
void np_pack_window(struct np_packer *packer, uint64_t offset, uint8_t *map, uint8_t *payload, uint8_t *spare,
                    uint8_t *table, const struct np_pack_base *base, struct np_packed *packed);

#endif
