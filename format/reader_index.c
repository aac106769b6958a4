#include "reader_index.h"

#include "damage.h"

#include <stdlib.h>
#include <string.h>

/* A full node's worth, and the one that makes the writer close it. */
#define WAITING_MAX (NP_INDEX_CHILDREN + 1)

void np_reader_index_clear(struct np_reader_index *index)
{
    np_hash_stream_free(index->entries);
    np_hash_stream_free(index->hashes);
    for (unsigned i = 0; i < NP_INDEX_LEVELS; i++)
        free(index->levels[i].children);
    *index = (struct np_reader_index){.entries = NULL};
}

/* ---- leaves ---- */

static int begin_leaf(struct np_reader_index *index, const char *name, struct np_error *err)
{
    if (index->entries == NULL)
        index->entries = np_hash_stream_new();
    if (index->hashes == NULL)
        index->hashes = np_hash_stream_new();
    if (index->entries == NULL || index->hashes == NULL)
        return np_fail(err, NP_FAILED, "%s: out of memory", name);
    np_hash_stream_reset(index->entries);
    np_hash_stream_reset(index->hashes);
    return 0;
}

int np_reader_index_add(struct np_reader_index *index, const struct np_meta_disk *disk,
                        const struct np_record *record, const char *name, struct np_error *err)
{
    const struct np_geometry *geometry = &disk->geometry;
    uint32_t map_bytes = np_map_bytes(geometry);
    bool is_data = record->header.type == NP_RECORD_DATA;
    uint32_t hash_bytes = is_data ? record->header.table_len - map_bytes : 0;

    index->hash_count += hash_bytes / NP_HASH128_SIZE;
    if (++index->entry_count > NP_INDEX_LEAF_ENTRIES || index->hash_count > NP_INDEX_LEAF_HASHES)
        return np_damage_record(name, &record->header, disk, err, "an INDEX is missing before it");
    if (index->entry_count == 1) {
        if (begin_leaf(index, name, err) < 0)
            return -1;
        index->first = record->header.offset;
    }
    index->end = record->header.offset +
                 (is_data ? np_window_length(geometry, record->header.offset) : record->header.length);

    uint8_t entry[NP_INDEX_ENTRY_FIXED + NP_MAP_BYTES_MAX];
    np_index_node_put_entry(entry, geometry, &record->header, record->table);
    np_hash_stream_add(index->entries, entry, np_index_node_entry_size(geometry));
    if (hash_bytes > 0)
        np_hash_stream_add(index->hashes, record->table + map_bytes, hash_bytes);
    return 0;
}

static bool leaf_fits(const struct np_reader_index *index, const struct np_index_node *node,
                      const struct np_record_header *header)
{
    if (index->entry_count == 0 || node->count != index->entry_count)
        return false;
    struct np_hash128 entries = np_hash128(node->entries, (size_t)node->count * node->entry_size);
    return np_hash128_equal(entries, np_hash_stream_get(index->entries)) &&
           node->hashes == index->hash_count &&
           np_hash128_equal(header->data_sum, np_hash_stream_get(index->hashes)) &&
           header->offset == index->first && header->length == index->end - index->first;
}

/* ---- inner nodes ---- */

/* The children are the oldest nodes of the level below that have no parent yet. */
static bool inner_fits(struct np_reader_index *index, const struct np_index_node *node)
{
    uint8_t *waiting = index->levels[node->level - 1].children;
    unsigned *count = &index->levels[node->level - 1].count;
    size_t size = (size_t)node->count * NP_INDEX_CHILD_SIZE;
    if (node->count > *count || memcmp(waiting, node->entries, size) != 0)
        return false;
    *count -= node->count;
    memmove(waiting, waiting + size, (size_t)*count * NP_INDEX_CHILD_SIZE);
    return true;
}

static int push_node(struct np_reader_index *index, const struct np_meta_disk *disk, unsigned level,
                     const struct np_record_header *header, const char *name, struct np_error *err)
{
    unsigned *count = &index->levels[level].count;
    if (*count == WAITING_MAX)
        return np_damage_record(name, header, disk, err, "an INDEX of the next level is missing before it");
    if (index->levels[level].children == NULL)
        index->levels[level].children = malloc((size_t)WAITING_MAX * NP_INDEX_CHILD_SIZE);
    if (index->levels[level].children == NULL)
        return np_fail(err, NP_FAILED, "%s: out of memory", name);

    struct np_index_child child = {
        .place = np_place_of(header), .first = header->offset, .end = header->offset + header->length};
    np_index_node_put_child(index->levels[level].children + (size_t)*count * NP_INDEX_CHILD_SIZE, &child);
    ++*count;
    return 0;
}

int np_reader_index_node(struct np_reader_index *index, const struct np_meta_disk *disk,
                         const struct np_record *record, uint64_t prev, const char *name,
                         struct np_error *err)
{
    struct np_index_node node;
    if (np_index_node_decode(&disk->geometry, record, name, &node, err) < 0)
        return np_error_where(err, disk->target, record->header.offset);
    if (node.prev != prev)
        return np_damage_record(name, &record->header, disk, err, "it names another INDEX as the one before");
    if (node.level > 0) {
        if (!inner_fits(index, &node))
            return np_damage_record(name, &record->header, disk, err,
                                    "the index disagrees with the nodes before it");
    } else {
        if (!leaf_fits(index, &node, &record->header))
            return np_damage_record(name, &record->header, disk, err,
                                    "the index disagrees with the records before it");
        index->entry_count = 0;
        index->hash_count = 0;
    }
    return push_node(index, disk, node.level, &record->header, name, err);
}

int np_reader_index_root(const struct np_reader_index *index, const struct np_meta_disk *disk,
                         const char *name, struct np_dir_disk *dir, struct np_error *err)
{
    unsigned roots = 0;
    dir->has_root = false;
    for (unsigned level = 0; level < NP_INDEX_LEVELS; level++) {
        if (index->levels[level].count == 0)
            continue;
        roots += index->levels[level].count;
        dir->has_root = true;
        dir->root_level = (uint8_t)level;
        np_index_node_get_child(index->levels[level].children, &dir->root);
    }
    if (index->entry_count > 0 || roots > 1)
        return np_fail(err, NP_DAMAGED,
                       "%s: disk %s: its index does not list all its records: the stream is damaged", name,
                       disk->target);
    return 0;
}
