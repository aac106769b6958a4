/* Taking a stream apart and putting it together with all sums right, so that only the wanted fault is left.
 */
#ifndef NBDPULL_TEST_SURGERY_H
#define NBDPULL_TEST_SURGERY_H

#include "sample.h"

#include "../../format/index_node.h"
#include "../../format/results.h"
#include "../../format/track.h"
#include "../../format/trailer.h"

enum {
    FIX_SUMS = 0,            /* positions, numbers, sums, and END's size, count and digest: always */
    FIX_END = 1 << 0,        /* where END says that META and DIR are */
    FIX_DIR = 1 << 1,        /* where DIR says that roots and blobs are */
    FIX_NODES = 1 << 2,      /* where inner nodes say that their children are, and `prev` */
    FIX_LEAF_LINKS = 1 << 3, /* where leaves say that records are */
    FIX_LEAVES = 1 << 4,     /* leaves list the records before them */
    FIX_TOTALS = 1 << 5,     /* DIR and results add up the records */
    FIX_ABOVE = FIX_END | FIX_DIR | FIX_NODES,
    FIX_LINKS = FIX_ABOVE | FIX_LEAF_LINKS,
    FIX_ALL = FIX_LINKS | FIX_LEAVES | FIX_TOTALS,
};

struct part {
    struct np_record_header header;
    uint8_t *table, *data;
    uint64_t was; /* position in the stream it comes from */
    bool wrong_table_sum, wrong_data_sum;
};

#define PARTS_MAX 1200

struct parts {
    struct np_meta *meta;
    struct part list[PARTS_MAX];
    size_t count;
};

static inline uint8_t *copy_of(const void *bytes, size_t size)
{
    uint8_t *copy = malloc(size + 1);
    assert_non_null(copy);
    if (size > 0)
        memcpy(copy, bytes, size);
    copy[size] = '\0'; /* some look for a text in it */
    return copy;
}

static inline struct parts *cut_up(const struct memory *memory)
{
    struct np_error err = NP_ERROR_INIT;
    struct parts *parts = calloc(1, sizeof(*parts));
    for (size_t pos = 0; pos < memory->size;) {
        struct part *part = &parts->list[parts->count++];
        assert_true(parts->count < PARTS_MAX);
        const uint8_t *at = memory->bytes + pos;
        ok(np_record_decode(at, "cut", pos, &part->header, &err));
        part->table = copy_of(at + NP_RECORD_HEADER_SIZE, part->header.table_len);
        part->data = copy_of(at + NP_RECORD_HEADER_SIZE + part->header.table_len, part->header.data_len);
        part->was = pos;
        pos += np_record_size(&part->header);
    }
    const struct part *meta = &parts->list[0];
    ok(np_meta_parse((char *)meta->table, meta->header.table_len, "cut", &parts->meta, &err));
    return parts;
}

static inline void parts_free(struct parts *parts)
{
    for (size_t i = 0; i < parts->count; i++) {
        free(parts->list[i].table);
        free(parts->list[i].data);
    }
    np_meta_free(parts->meta);
    free(parts);
}

/* Number of the nth record of a type, from 0. */
static inline size_t part_of(const struct parts *parts, uint8_t type, size_t nth)
{
    for (size_t i = 0; i < parts->count; i++)
        if (parts->list[i].header.type == type && nth-- == 0)
            return i;
    fail_msg("no such record of type %u", type);
    return 0;
}

static inline void part_remove(struct parts *parts, size_t i)
{
    free(parts->list[i].table);
    free(parts->list[i].data);
    memmove(&parts->list[i], &parts->list[i + 1], (--parts->count - i) * sizeof(parts->list[0]));
}

/* Insert a copy of a part, which may be of another stream, before place i. */
static inline struct part *part_insert(struct parts *parts, size_t i, const struct part *from)
{
    struct part copy = *from;
    copy.table = copy_of(from->table, from->header.table_len);
    copy.data = copy_of(from->data, from->header.data_len);
    copy.was = UINT64_MAX; /* nothing refers to it */
    memmove(&parts->list[i + 1], &parts->list[i], (parts->count++ - i) * sizeof(parts->list[0]));
    parts->list[i] = copy;
    return &parts->list[i];
}

static inline void part_swap(struct parts *parts, size_t i, size_t k)
{
    struct part was = parts->list[i];
    parts->list[i] = parts->list[k];
    parts->list[k] = was;
}

/* ---- putting together ---- */

static inline const struct part *part_from(const struct parts *parts, uint64_t was)
{
    for (size_t i = 0; i < parts->count; i++)
        if (parts->list[i].was == was)
            return &parts->list[i];
    return NULL;
}

static inline void fix_place(const struct parts *parts, uint8_t at[NP_PLACE_SIZE])
{
    struct np_place place = np_place_get(at);
    const struct part *target = part_from(parts, place.pos);
    if (target == NULL)
        return;
    place = np_place_of(&target->header);
    np_place_put(at, &place);
}

static inline void fix_child(const struct parts *parts, uint8_t at[NP_INDEX_CHILD_SIZE])
{
    const struct part *target = part_from(parts, np_get_le64(at));
    if (target == NULL)
        return;
    struct np_index_child child = {.place = np_place_of(&target->header),
                                   .first = target->header.offset,
                                   .end = target->header.offset + target->header.length};
    np_index_node_put_child(at, &child);
}

static inline void fix_leaf_links(const struct parts *parts, struct part *leaf)
{
    uint32_t size = leaf->table[1] * 8u;
    for (unsigned i = 0; i < np_get_le16(leaf->table + 2); i++) {
        uint8_t *entry = leaf->table + NP_INDEX_HEAD_SIZE + (size_t)i * size;
        const struct part *target = part_from(parts, np_get_le64(entry));
        if (target == NULL)
            continue;
        np_put_le64(entry, target->header.pos);
        np_put_le64(entry + 8, target->header.head_sum);
    }
}

/* As the writer would have made it of the disk's records since its leaf before. */
static inline void rebuild_leaf(struct parts *parts, size_t number)
{
    struct part *leaf = &parts->list[number];
    const struct np_geometry *geometry = &np_meta_disk_by_id(parts->meta, leaf->header.disk)->geometry;
    uint32_t size = np_index_node_entry_size(geometry), map = np_map_bytes(geometry);
    struct memory table = {0}, data = {0};
    uint8_t entry[NP_INDEX_ENTRY_FIXED + NP_MAP_BYTES_MAX];
    uint64_t end = 0;
    size_t from = number;
    unsigned count = 0;
    while (from > 0 && !(parts->list[from - 1].header.type == NP_RECORD_INDEX &&
                         parts->list[from - 1].header.disk == leaf->header.disk))
        from--;

    memory_add(&table, leaf->table, NP_INDEX_HEAD_SIZE);
    for (size_t i = from; i < number; i++) {
        const struct part *part = &parts->list[i];
        bool is_data = part->header.type == NP_RECORD_DATA;
        if ((!is_data && part->header.type != NP_RECORD_ZERO) || part->header.disk != leaf->header.disk)
            continue;
        if (count++ == 0)
            leaf->header.offset = part->header.offset;
        end = part->header.offset +
              (is_data ? np_window_length(geometry, part->header.offset) : part->header.length);
        np_index_node_put_entry(entry, geometry, &part->header, part->table);
        memory_add(&table, entry, size);
        if (is_data)
            memory_add(&data, part->table + map, part->header.table_len - map);
    }
    free(leaf->table);
    free(leaf->data);
    leaf->table = table.bytes;
    leaf->data = data.bytes;
    np_put_le16(leaf->table + 2, (uint16_t)count);
    leaf->header.length = end - leaf->header.offset;
    leaf->header.table_len = (uint32_t)table.size;
    leaf->header.data_len = (uint32_t)data.size;
}

static inline void add_up(const struct parts *parts, struct np_totals *totals)
{
    for (size_t i = 0; i < parts->meta->disk_count; i++) {
        struct np_track track;
        np_track_init(&track, &parts->meta->disks[i]);
        for (size_t k = 0; k < parts->count; k++) {
            const struct part *part = &parts->list[k];
            struct np_record record = {.header = part->header, .table = part->table, .data = part->data};
            bool counts = part->header.type == NP_RECORD_DATA || part->header.type == NP_RECORD_ZERO;
            if (counts && part->header.disk == parts->meta->disks[i].id)
                np_track_add(&track, &record);
        }
        totals[i] = track.totals;
        totals[i].digest_known = np_uuid_is_nil(&parts->meta->disks[i].base_state);
        if (!totals[i].digest_known)
            totals[i].digest = (struct np_hash128){0, 0};
    }
}

static inline void fix_totals(const struct parts *parts, struct part *part)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_totals totals[SAMPLE_DISKS];
    add_up(parts, totals);
    if (part->header.type == NP_RECORD_META) {
        size_t blobs = 0;
        for (size_t i = 0; i < parts->count; i++)
            blobs += parts->list[i].header.type == NP_RECORD_BLOB && parts->list[i].header.offset == 0;
        free(part->data);
        ok(np_results_format(parts->meta, totals, blobs, (char **)&part->data, &err));
        part->header.data_len = (uint32_t)strlen((char *)part->data);
        return;
    }
    for (size_t i = 0; i < parts->meta->disk_count; i++) {
        uint8_t *at = part->table + NP_DIR_HEAD_SIZE + i * NP_DIR_DISK_SIZE;
        struct np_dir_disk disk = {
            .id = np_get_le16(at), .has_root = at[3] & 1, .root_level = at[2], .totals = totals[i]};
        np_index_node_get_child(at + 8, &disk.root);
        np_trailer_put_dir_disk(at, &disk);
    }
}

static inline void fix_index(const struct parts *parts, struct part *part, uint64_t last_index, unsigned fix)
{
    uint8_t *table = part->table;
    bool leaf = table[0] == 0;
    if (fix & FIX_NODES)
        np_put_le64(table + 8, last_index);
    if (leaf && (fix & FIX_LEAF_LINKS) && !(fix & FIX_LEAVES)) /* else its entries are new already */
        fix_leaf_links(parts, part);
    if (leaf || !(fix & FIX_NODES))
        return;
    uint8_t *last = table;
    for (unsigned i = 0; i < np_get_le16(table + 2); i++) {
        last = table + NP_INDEX_HEAD_SIZE + (size_t)i * NP_INDEX_CHILD_SIZE;
        fix_child(parts, last);
    }
    part->header.offset = np_get_le64(table + NP_INDEX_HEAD_SIZE + 16);
    part->header.length = np_get_le64(last + 24) - part->header.offset;
}

static inline void fix_dir(const struct parts *parts, struct part *part, uint64_t last_index)
{
    uint8_t *table = part->table;
    np_put_le64(table + 8, last_index);
    for (uint32_t i = 0; i < np_get_le32(table); i++)
        if (table[NP_DIR_HEAD_SIZE + i * NP_DIR_DISK_SIZE + 3] & 1) /* it has a root */
            fix_child(parts, table + NP_DIR_HEAD_SIZE + i * NP_DIR_DISK_SIZE + 8);
    for (uint32_t i = 0; i < np_get_le32(table + 4); i++)
        fix_place(parts, table + np_trailer_dir_size(np_get_le32(table), i));
}

static inline void fix_links(const struct parts *parts, struct part *part, uint64_t last_index, unsigned fix)
{
    if (part->header.type == NP_RECORD_INDEX)
        fix_index(parts, part, last_index, fix);
    if (part->header.type == NP_RECORD_DIR && (fix & FIX_DIR))
        fix_dir(parts, part, last_index);
    if (part->header.type == NP_RECORD_END && (fix & FIX_END)) {
        fix_place(parts, part->table + 16);
        fix_place(parts, part->table + 40);
    }
}

static inline struct memory put_together(struct parts *parts, unsigned fix)
{
    static const uint8_t zeroes[NP_RECORD_ALIGN];
    struct memory memory = {0};
    struct np_hash_stream *headers = np_hash_stream_new();
    uint64_t last_index = 0;
    for (size_t i = 0; i < parts->count; i++) {
        struct part *part = &parts->list[i];
        struct np_record_header *header = &part->header;
        bool totals = (header->type == NP_RECORD_META && i > 0) || header->type == NP_RECORD_DIR;
        if (header->type == NP_RECORD_INDEX && part->table[0] == 0 && (fix & FIX_LEAVES))
            rebuild_leaf(parts, i);
        if (totals && (fix & FIX_TOTALS))
            fix_totals(parts, part);
        fix_links(parts, part, last_index, fix);
        if (header->type == NP_RECORD_END) {
            np_put_le64(part->table, memory.size + NP_END_SIZE);
            np_put_le64(part->table + 8, i + 1);
            np_hash128_put(part->table + 64, np_hash_stream_get(headers));
        }

        uint8_t bytes[NP_RECORD_HEADER_SIZE];
        header->pos = memory.size;
        header->number = i;
        header->stream_id = np_stream_id(&parts->meta->stream);
        header->table_sum = np_hash64(part->table, header->table_len);
        header->data_sum = np_hash128(part->data, header->data_len);
        header->table_sum ^= part->wrong_table_sum;
        header->data_sum.low ^= part->wrong_data_sum;
        np_record_encode(header, bytes);
        np_hash_stream_add(headers, bytes, sizeof(bytes));
        memory_add(&memory, bytes, sizeof(bytes));
        memory_add(&memory, part->table, header->table_len);
        memory_add(&memory, part->data, header->data_len);
        memory_add(&memory, zeroes, np_align_up(memory.size, NP_RECORD_ALIGN) - memory.size);
        if (header->type == NP_RECORD_INDEX)
            last_index = header->pos;
    }
    np_hash_stream_free(headers);
    return memory;
}

/* A stream of the guest, to be operated on. Takes the guest. */
static inline struct parts *parts_of(struct guest guest)
{
    struct memory memory = write_guest(&guest, 0);
    struct parts *parts = cut_up(&memory);
    free(memory.bytes);
    guest_free(&guest);
    return parts;
}

/* A record of a type that nobody knows and anybody may skip. */
static inline struct part optional_part(struct parts *parts)
{
    struct part part = {.header = parts->list[0].header, .was = UINT64_MAX};
    part.header.type = 0x80 | 42;
    part.header.codec = 9;
    part.header.cipher = 9;
    part.header.flags = 0xff00;
    part.header.table_len = 5;
    part.header.data_len = 70000;
    part.table = calloc(1, 5);
    part.data = calloc(1, 70000);
    return part;
}

#endif
