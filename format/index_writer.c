#include "index_writer.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"

#include <errno.h>

/* The open node of one level. */
struct level {
    uint8_t *table; /* head, then entries; NULL until the first one comes */
    unsigned count;
    uint64_t first, end; /* guest bytes covered */
};

struct np_index_writer {
    struct np_emitter *emitter;
    const struct np_geometry *geometry;
    uint16_t disk;
    uint8_t *hashes; /* of the open leaf, in order */
    uint32_t hash_count;
    struct level levels[NP_INDEX_LEVELS];
};

static uint32_t entry_size(const struct np_index_writer *writer, unsigned level)
{
    return level == 0 ? np_index_node_entry_size(writer->geometry) : NP_INDEX_CHILD_SIZE;
}

static int open_level(struct np_index_writer *writer, unsigned level, struct np_error *err)
{
    if (level >= NP_INDEX_LEVELS)
        return np_fail(err, NP_FAILED, "internal error: an index of more than %d levels", NP_INDEX_LEVELS);
    if (writer->levels[level].table != NULL)
        return 0;
    size_t entries = level == 0 ? NP_INDEX_LEAF_ENTRIES : NP_INDEX_CHILDREN;
    writer->levels[level].table = malloc(NP_INDEX_HEAD_SIZE + entries * entry_size(writer, level));
    return writer->levels[level].table != NULL
               ? 0
               : np_fail_errno(err, NP_FAILED, ENOMEM, "cannot build an index");
}

static void cleanup(struct np_index_writer **writer)
{
    np_index_writer_free(*writer);
}

int np_index_writer_new(struct np_emitter *emitter, uint16_t disk, const struct np_geometry *geometry,
                        struct np_index_writer **writer, struct np_error *err)
{
    NP_CLEANUP(cleanup) struct np_index_writer *made = calloc(1, sizeof(*made));
    if (made == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot build an index");
    made->emitter = emitter;
    made->geometry = geometry;
    made->disk = disk;
    made->hashes = malloc((size_t)NP_INDEX_LEAF_HASHES * NP_HASH128_SIZE);
    if (made->hashes == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot build an index");
    if (open_level(made, 0, err) < 0)
        return -1;
    *writer = NP_STEAL(made);
    return 0;
}

void np_index_writer_free(struct np_index_writer *writer)
{
    if (writer == NULL)
        return;
    for (unsigned i = 0; i < NP_INDEX_LEVELS; i++)
        free(writer->levels[i].table);
    free(writer->hashes);
    free(writer);
}

/* Room for one entry at the end of an open node that has room. */
static uint8_t *next_entry(struct np_index_writer *writer, unsigned level, uint64_t first, uint64_t end)
{
    struct level *node = &writer->levels[level];
    if (node->count == 0)
        node->first = first;
    node->end = end;
    return node->table + NP_INDEX_HEAD_SIZE + (size_t)node->count++ * entry_size(writer, level);
}

/* Write the open node of a level and begin an empty one. */
static int flush(struct np_index_writer *writer, unsigned level, struct np_index_child *child,
                 struct np_error *err)
{
    struct level *node = &writer->levels[level];
    uint32_t size = entry_size(writer, level);
    np_index_node_put_head(node->table, (uint8_t)level, size, node->count, writer->emitter->last_index);

    struct np_record_header header = np_emitter_begin(writer->emitter, NP_RECORD_INDEX, writer->disk);
    header.offset = node->first;
    header.length = node->end - node->first;
    header.table_len = NP_INDEX_HEAD_SIZE + node->count * size;
    header.data_len = level == 0 ? writer->hash_count * NP_HASH128_SIZE : 0;
    if (np_emitter_put(writer->emitter, &header, node->table, writer->hashes, err) < 0)
        return -1;

    *child = (struct np_index_child){.place = np_place_of(&header), .first = node->first, .end = node->end};
    node->count = 0;
    if (level == 0)
        writer->hash_count = 0;
    return 0;
}

/* A full node is written only when one more child comes, so the root never has a single child. */
static int add_child(struct np_index_writer *writer, unsigned level, const struct np_index_child *child,
                     struct np_error *err)
{
    if (open_level(writer, level, err) < 0)
        return -1;
    if (writer->levels[level].count == NP_INDEX_CHILDREN) {
        struct np_index_child full;
        if (flush(writer, level, &full, err) < 0 || add_child(writer, level + 1, &full, err) < 0)
            return -1;
    }
    np_index_node_put_child(next_entry(writer, level, child->first, child->end), child);
    return 0;
}

int np_index_writer_reserve(struct np_index_writer *writer, unsigned hashes, struct np_error *err)
{
    if (writer->levels[0].count < NP_INDEX_LEAF_ENTRIES &&
        writer->hash_count + hashes <= NP_INDEX_LEAF_HASHES)
        return 0;
    struct np_index_child leaf;
    return flush(writer, 0, &leaf, err) < 0 ? -1 : add_child(writer, 1, &leaf, err);
}

void np_index_writer_add(struct np_index_writer *writer, const struct np_record_header *header,
                         const uint8_t *table)
{
    const struct np_geometry *geometry = writer->geometry;
    bool is_data = header->type == NP_RECORD_DATA;
    uint64_t length = is_data ? np_window_length(geometry, header->offset) : header->length;
    uint8_t *entry = next_entry(writer, 0, header->offset, header->offset + length);
    np_index_node_put_entry(entry, geometry, header, table);
    if (!is_data)
        return;
    uint32_t map_bytes = np_map_bytes(geometry), hash_bytes = header->table_len - map_bytes;
    memcpy(writer->hashes + (size_t)writer->hash_count * NP_HASH128_SIZE, table + map_bytes, hash_bytes);
    writer->hash_count += hash_bytes / NP_HASH128_SIZE;
}

int np_index_writer_finish(struct np_index_writer *writer, struct np_dir_disk *dir, struct np_error *err)
{
    dir->has_root = writer->levels[0].count > 0;
    if (!dir->has_root)
        return 0;
    for (unsigned level = 0;; level++) {
        if (flush(writer, level, &dir->root, err) < 0)
            return -1;
        dir->root_level = (uint8_t)level;
        if (level + 1 == NP_INDEX_LEVELS || writer->levels[level + 1].count == 0)
            return 0;
        if (add_child(writer, level + 1, &dir->root, err) < 0)
            return -1;
    }
}
