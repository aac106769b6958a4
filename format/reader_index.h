/**
 * @file reader_index.h
 * What the index of one disk must say, kept while the records go by: sums of the open leaf's bytes, and for
 * each level the nodes that no parent has named yet. Its size depends on neither records nor bytes.
 * Source: FORMAT.md, "INDEX", "Rules".
 */
#ifndef NBDPULL_FORMAT_READER_INDEX_H
#define NBDPULL_FORMAT_READER_INDEX_H

#include "index_node.h"
#include "trailer.h"

#include "nbdpull/meta.h"

/** Zeroed it is ready. */
struct np_reader_index {
    struct np_hash_stream *entries; /**< over the entries that the next leaf must have */
    struct np_hash_stream *hashes;  /**< over its data */
    unsigned entry_count;
    uint32_t hash_count;
    uint64_t first, end; /**< guest bytes that it must cover */
    struct {
        uint8_t *children; /**< entries of the nodes without a parent, in order; owned */
        unsigned count;
    } levels[NP_INDEX_LEVELS];
};

void np_reader_index_clear(struct np_reader_index *index); /**< takes a zeroed struct */

/**
 * A DATA or ZERO went by: the next leaf must list it.
 * @return 0, or -1: NP_DAMAGED when a leaf should have stood before it; NP_FAILED out of memory
 */
int np_reader_index_add(struct np_reader_index *index, const struct np_meta_disk *disk,
                        const struct np_record *record, const char *name, struct np_error *err);

/**
 * An INDEX record of the disk went by: compare it.
 * @param record its table has been verified; data_sum stands for its data
 * @param prev   position of the INDEX record before it, of any disk; 0: none
 */
int np_reader_index_node(struct np_reader_index *index, const struct np_meta_disk *disk,
                         const struct np_record *record, uint64_t prev, const char *name,
                         struct np_error *err);

/** The disk's root as DIR must give it: has_root, root_level, root. NP_DAMAGED when the tree is not whole. */
int np_reader_index_root(const struct np_reader_index *index, const struct np_meta_disk *disk,
                         const char *name, struct np_dir_disk *dir, struct np_error *err);

#endif
