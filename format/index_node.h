/**
 * @file index_node.h
 * The bytes of INDEX records, both ways. Source: FORMAT.md, "INDEX".
 *
 *     table: level u8, entry size / 8 u8, count u16, reserved u32, prev u64, entries
 *     leaf entry:  pos u64, head_sum u64, offset u64, length u64, data_len u32, hashes u16, type u8,
 *                  codec u8, map
 *     inner entry: pos u64, head_sum u64, first u64, end u64, table_len u32, data_len u32, reserved u64
 *     data of a leaf: the hashes of its entries in order; of an inner node: nothing
 *
 * Level 0 is a leaf. Two neighbours may share one window, since a merge may write several DATA for it.
 */
#ifndef NBDPULL_FORMAT_INDEX_NODE_H
#define NBDPULL_FORMAT_INDEX_NODE_H

#include "nbdpull/stream.h"
#include "place.h"

#define NP_INDEX_HEAD_SIZE 16
#define NP_INDEX_ENTRY_FIXED 40 /**< bytes of a leaf entry before its map */
#define NP_INDEX_CHILD_SIZE 48
#define NP_INDEX_LEAF_ENTRIES 1024 /**< of a leaf, at most */
#define NP_INDEX_LEAF_HASHES 8192  /**< of a leaf, at most */
#define NP_INDEX_CHILDREN 256      /**< of an inner node, at most */
#define NP_INDEX_LEVELS 8          /**< more than any disk needs: 2^10 * 256^7 records */

struct np_index_child {
    struct np_place place;
    uint64_t first, end; /**< guest bytes it covers, from the first window to behind the last */
};

/** A node whose table has passed np_index_node_decode. Borrows the table and the geometry. */
struct np_index_node {
    const struct np_geometry *geometry;
    const uint8_t *entries;
    uint8_t level;
    unsigned count;
    uint32_t entry_size;
    uint32_t hashes; /**< of a leaf: hashes in its data */
    uint64_t prev;   /**< position of the INDEX record before this one, any disk; 0: none */
};

/** Bytes of a leaf entry on this grid. */
uint32_t np_index_node_entry_size(const struct np_geometry *geometry);

void np_index_node_put_head(uint8_t to[NP_INDEX_HEAD_SIZE], uint8_t level, uint32_t entry_size,
                            unsigned count, uint64_t prev);

/** The leaf entry of a DATA or ZERO record; np_index_node_entry_size bytes. @param map ignored for ZERO */
void np_index_node_put_entry(uint8_t *to, const struct np_geometry *geometry,
                             const struct np_record_header *header, const uint8_t *map);

/** An inner entry; DIR holds the root as one. */
void np_index_node_put_child(uint8_t to[NP_INDEX_CHILD_SIZE], const struct np_index_child *child);

/** The reverse, unchecked but for reserved bytes: false when they are not zero. */
bool np_index_node_get_child(const uint8_t from[NP_INDEX_CHILD_SIZE], struct np_index_child *child);

/**
 * Check a whole INDEX record against the grid: sizes and counts, reserved bytes, every entry by itself and in
 * order, all referred records before this one, and that the header covers what the entries cover.
 * @param record its table has been verified, its data need not be there
 * @return 0, or -1: NP_DAMAGED
 */
int np_index_node_decode(const struct np_geometry *geometry, const struct np_record *record, const char *name,
                         struct np_index_node *node, struct np_error *err);

/** Is the node what its parent, or DIR, says? NP_DAMAGED. @param level that the node must have */
int np_index_node_expect(const struct np_index_node *node, const struct np_record_header *header,
                         const struct np_index_child *child, unsigned level, const char *name,
                         struct np_error *err);

/** Entry i of a leaf, with hashes NULL. */
void np_index_node_entry(const struct np_index_node *node, unsigned i, struct np_entry *entry);

/** Child i of an inner node. */
void np_index_node_child(const struct np_index_node *node, unsigned i, struct np_index_child *child);

#endif
