/* What the tests of the writer need: a sink in memory, bodies of records, and a reader that checks every
 * byte of what came out against the page, independent of format/reader.c. */
#ifndef NBDPULL_TEST_WRITER_KIT_H
#define NBDPULL_TEST_WRITER_KIT_H

#include "test.h"

#include "../../format/blob_table.h"
#include "../../format/results.h"
#include "../../format/trailer.h"
#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"

#include <stdio.h>
#include <stdlib.h>

enum { CHUNK = 64 << 10, GRANULE = 16 << 10 };

static const char kit_name[] = "test.nbp";

/* ---- where the bytes go ---- */

struct memory {
    uint8_t *bytes; /* NULL bytes and no room: only counted */
    size_t size, room;
    uint64_t counted;
    uint64_t fail_at; /* fail when this many bytes have come */
    bool discard;
};

static int memory_append(void *ctx, struct iovec *pieces, int count, struct np_error *err)
{
    struct memory *memory = ctx;
    for (int i = 0; i < count; i++) {
        memory->counted += pieces[i].iov_len;
        if (memory->counted > memory->fail_at)
            return np_fail(err, NP_FAILED, "no space left");
        if (memory->discard || pieces[i].iov_len == 0)
            continue;
        if (memory->size + pieces[i].iov_len > memory->room) {
            memory->room = 2 * (memory->size + pieces[i].iov_len);
            memory->bytes = realloc(memory->bytes, memory->room);
            assert_non_null(memory->bytes);
        }
        memcpy(memory->bytes + memory->size, pieces[i].iov_base, pieces[i].iov_len);
        memory->size += pieces[i].iov_len;
    }
    return 0;
}

/* ---- a stream under way ---- */

struct kit {
    struct memory memory;
    struct np_meta *meta;
    struct np_writer *writer;
    struct np_error err;
};

static struct np_meta *kit_meta(size_t disks)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_meta *meta = np_meta_new(disks, disks, &err);
    assert_non_null(meta);
    for (uint8_t i = 0; i < 16; i++)
        meta->stream.bytes[i] = (uint8_t)(0x40 + i);
    meta->domain.bytes[0] = 2;
    meta->point.bytes[0] = 3;
    snprintf(meta->created, sizeof(meta->created), "2026-11-20T03:00:00Z");
    snprintf(meta->domain_name, sizeof(meta->domain_name), "guest");
    snprintf(meta->level, sizeof(meta->level), "full");
    for (size_t i = 0; i < disks; i++) {
        struct np_meta_disk *disk = &meta->disks[i];
        disk->id = (uint16_t)(2 * i);
        snprintf(disk->target, sizeof(disk->target), "vd%c", (char)('a' + i % 26));
        disk->geometry = (struct np_geometry){8 * CHUNK, CHUNK, GRANULE};
        disk->state.bytes[0] = (uint8_t)(i + 1);
        snprintf(disk->level, sizeof(disk->level), "full");
        snprintf(disk->how, sizeof(disk->how), "all");
        memcpy(meta->point_disks[i].target, disk->target, sizeof(disk->target));
        meta->point_disks[i].state = disk->state;
        meta->point_disks[i].stream = meta->stream;
    }
    return meta;
}

/* Makes the disk an increment on a base of that size. */
static void kit_base(struct np_meta *meta, size_t i, uint64_t base_size)
{
    meta->disks[i].base_state.bytes[15] = 1;
    meta->disks[i].base_size = base_size;
}

static void kit_begin(struct kit *kit, struct np_meta *meta)
{
    *kit = (struct kit){.memory.fail_at = UINT64_MAX, .meta = meta};
    kit->err = (struct np_error)NP_ERROR_INIT;
    struct np_sink sink = {memory_append, &kit->memory};
    if (np_writer_new(&sink, meta, &kit->writer, &kit->err) < 0)
        fail_msg("%s", kit->err.message);
}

static void kit_end(struct kit *kit)
{
    np_writer_free(kit->writer);
    np_meta_free(kit->meta);
    free(kit->memory.bytes);
}

/* A DATA body from the states of its granules: d data, z zero, x dead, - absent; content follows seed. */
static int kit_data(struct kit *kit, uint16_t disk, uint64_t offset, const char *states, uint8_t seed)
{
    static uint8_t table[NP_DATA_TABLE_MAX], payload[CHUNK];
    const struct np_geometry *geometry = &np_meta_disk_by_id(kit->meta, disk)->geometry;
    struct np_packed packed = {.offset = offset, .table = table, .data = payload};
    packed.table_len = np_map_bytes(geometry);
    memset(table, 0, sizeof(table));
    for (unsigned i = 0; states[i] != '\0'; i++) {
        enum np_granule_state state = (enum np_granule_state)(strchr("-dzx", states[i]) - "-dzx");
        np_map_set(table, i, state);
        if (state != NP_GRANULE_DATA && state != NP_GRANULE_DEAD)
            continue;
        uint32_t length = np_granule_length(geometry, offset, i);
        memset(payload + packed.length, seed + (int)i, length);
        np_hash128_put(table + packed.table_len, np_hash128(payload + packed.length, length));
        packed.table_len += NP_HASH128_SIZE;
        packed.length += length;
    }
    packed.data_len = packed.length;
    packed.data_sum = np_hash128(payload, packed.length);
    return np_writer_data(kit->writer, disk, &packed, &kit->err);
}

static int kit_zero(struct kit *kit, uint16_t disk, uint64_t offset, uint64_t length)
{
    return np_writer_zero(kit->writer, disk, offset, length, &kit->err);
}

static int kit_disk_end(struct kit *kit, uint16_t disk)
{
    return np_writer_disk_end(kit->writer, disk, NULL, &kit->err);
}

/* ok() and fails() for calls that have their error in the kit. */
#define kit_ok(kit, call)                                                                                    \
    do {                                                                                                     \
        if ((call) < 0)                                                                                      \
            fail_msg("%s: %s", #call, (kit)->err.message);                                                   \
    } while (0)

#define kit_refuses(kit, call, says)                                                                         \
    do {                                                                                                     \
        (kit)->err = (struct np_error)NP_ERROR_INIT;                                                         \
        assert_int_equal((call), -1);                                                                        \
        assert_int_equal((kit)->err.class, NP_FAILED);                                                       \
        if (strstr((kit)->err.message, (says)) == NULL)                                                      \
            fail_msg("%s: does not say \"%s\": %s", #call, (says), (kit)->err.message);                      \
    } while (0)

/* ---- what came out ---- */

struct parsed {
    struct np_record *records; /* borrow the stream's bytes */
    size_t count;
    struct np_dir dir;
    struct np_end end;
};

/* Walk front to back: every header, sum, position, number and padding byte. */
static void parse_records(const struct memory *memory, const struct np_meta *meta, struct parsed *parsed)
{
    struct np_error err = NP_ERROR_INIT;
    size_t room = 0;
    *parsed = (struct parsed){0};
    for (uint64_t pos = 0; pos < memory->size;) {
        if (parsed->count == room) {
            room = 2 * room + 64;
            parsed->records = realloc(parsed->records, room * sizeof(*parsed->records));
            assert_non_null(parsed->records);
        }
        struct np_record *record = &parsed->records[parsed->count];
        assert_true(memory->size - pos >= NP_RECORD_HEADER_SIZE);
        ok(np_record_decode(memory->bytes + pos, kit_name, pos, &record->header, &err));
        ok(np_record_expect(&record->header, kit_name, np_stream_id(&meta->stream), pos, parsed->count,
                            &err));
        uint64_t size = np_record_size(&record->header);
        assert_true(size <= memory->size - pos);
        record->table = memory->bytes + pos + NP_RECORD_HEADER_SIZE;
        record->data = record->table + record->header.table_len;
        assert_true(np_hash64(record->table, record->header.table_len) == record->header.table_sum);
        assert_true(
            np_hash128_equal(np_hash128(record->data, record->header.data_len), record->header.data_sum));
        const uint8_t *padding = record->data + record->header.data_len;
        assert_true(np_is_zero(padding, (size_t)(memory->bytes + pos + size - padding)));
        pos += size;
        parsed->count++;
    }
}

static const struct np_record *record_at(const struct parsed *parsed, const struct np_place *place)
{
    for (size_t i = 0; i < parsed->count; i++)
        if (parsed->records[i].header.pos == place->pos) {
            assert_true(np_place_is_of(place, &parsed->records[i].header));
            return &parsed->records[i];
        }
    fail_msg("no record begins at byte %ju", (uintmax_t)place->pos);
    return NULL;
}

/* Compare a leaf with the disk's records from *next on. */
static void check_leaf(const struct parsed *parsed, const struct np_record *leaf,
                       const struct np_index_node *node, uint16_t disk, size_t *next)
{
    const uint8_t *hashes = leaf->data;
    for (unsigned i = 0; i < node->count; i++) {
        struct np_entry entry;
        np_index_node_entry(node, i, &entry);
        const struct np_record *record;
        do {
            assert_true(*next < parsed->count);
            record = &parsed->records[(*next)++];
        } while (record->header.disk != disk || record->header.type == NP_RECORD_INDEX);
        assert_true(entry.pos == record->header.pos);
        assert_true(entry.head_sum == record->header.head_sum);
        assert_true(entry.offset == record->header.offset);
        assert_true(entry.length == record->header.length);
        assert_int_equal(entry.data_len, record->header.data_len);
        assert_int_equal(entry.type, record->header.type);
        assert_int_equal(entry.codec, record->header.codec);
        if (entry.type == NP_RECORD_ZERO)
            continue;
        uint32_t map_bytes = np_map_bytes(node->geometry);
        assert_memory_equal(entry.map, record->table, map_bytes);
        assert_int_equal(record->header.table_len, map_bytes + 16u * entry.hash_count);
        assert_memory_equal(hashes, record->table + map_bytes, 16u * entry.hash_count);
        hashes += 16u * entry.hash_count;
    }
}

static size_t check_node(const struct parsed *parsed, const struct np_geometry *geometry, uint16_t disk,
                         const struct np_index_child *child, unsigned level, size_t *next)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_index_node node;
    const struct np_record *record = record_at(parsed, &child->place);
    assert_int_equal(record->header.type, NP_RECORD_INDEX);
    assert_int_equal(record->header.disk, disk);
    ok(np_index_node_decode(geometry, record, kit_name, &node, &err));
    ok(np_index_node_expect(&node, &record->header, child, level, kit_name, &err));
    if (level == 0) {
        check_leaf(parsed, record, &node, disk, next);
        return 1;
    }
    size_t nodes = 1;
    for (unsigned i = 0; i < node.count; i++) {
        struct np_index_child below;
        np_index_node_child(&node, i, &below);
        nodes += check_node(parsed, geometry, disk, &below, level - 1, next);
    }
    return nodes;
}

/* The whole tree against the whole disk: nothing is missing on either side. */
static void check_index(const struct parsed *parsed, const struct np_meta *meta, uint32_t i)
{
    struct np_dir_disk disk;
    np_trailer_dir_disk(&parsed->dir, i, &disk);
    assert_int_equal(disk.id, meta->disks[i].id);
    size_t indexes = 0, others = 0, next = 0;
    for (size_t r = 0; r < parsed->count; r++)
        if (parsed->records[r].header.disk == disk.id)
            parsed->records[r].header.type == NP_RECORD_INDEX ? indexes++ : others++;
    assert_int_equal(disk.totals.records, others);
    assert_int_equal(disk.has_root, others > 0);
    if (!disk.has_root) {
        assert_int_equal(indexes, 0);
        return;
    }
    assert_int_equal(
        check_node(parsed, &meta->disks[i].geometry, disk.id, &disk.root, disk.root_level, &next), indexes);
    for (; next < parsed->count; next++)
        assert_true(parsed->records[next].header.disk != disk.id ||
                    parsed->records[next].header.type == NP_RECORD_INDEX);
}

/* INDEX records name the one before them; DIR names the last. */
static void check_index_chain(const struct parsed *parsed)
{
    uint64_t last = 0;
    for (size_t r = 0; r < parsed->count; r++)
        if (parsed->records[r].header.type == NP_RECORD_INDEX) {
            assert_true(np_get_le64(parsed->records[r].table + 8) == last);
            last = parsed->records[r].header.pos;
        }
    assert_true(parsed->dir.last_index == last);
}

static void check_digest_of_headers(const struct memory *memory, const struct parsed *parsed)
{
    uint8_t *headers = malloc((parsed->count - 1) * NP_RECORD_HEADER_SIZE);
    for (size_t r = 0; r + 1 < parsed->count; r++)
        memcpy(headers + r * NP_RECORD_HEADER_SIZE, memory->bytes + parsed->records[r].header.pos,
               NP_RECORD_HEADER_SIZE);
    assert_true(np_hash128_equal(parsed->end.digest,
                                 np_hash128(headers, (parsed->count - 1) * NP_RECORD_HEADER_SIZE)));
    free(headers);
}

static void check_metas(const struct parsed *parsed, const struct np_meta *meta)
{
    struct np_error err = NP_ERROR_INIT;
    const struct np_record *first = &parsed->records[0], *second = record_at(parsed, &parsed->end.meta);
    assert_int_equal(first->header.type, NP_RECORD_META);
    assert_int_equal(first->header.data_len, 0);
    assert_int_equal(second->header.type, NP_RECORD_META);
    assert_int_equal(first->header.table_len, second->header.table_len);
    assert_memory_equal(first->table, second->table, first->header.table_len);

    struct np_totals totals[NP_DISKS_MAX];
    for (uint32_t i = 0; i < parsed->dir.disks; i++) {
        struct np_dir_disk disk;
        np_trailer_dir_disk(&parsed->dir, i, &disk);
        totals[i] = disk.totals;
    }
    NP_AUTO_FREE char *text = strndup((const char *)second->data, second->header.data_len);
    ok(np_results_check(text, second->header.data_len, kit_name, meta, totals, parsed->dir.blobs, &err));
}

/* Check every byte of a finished stream. The caller frees parsed->records. */
static void kit_check(const struct kit *kit, struct parsed *parsed)
{
    struct np_error err = NP_ERROR_INIT;
    parse_records(&kit->memory, kit->meta, parsed);
    assert_true(np_writer_size(kit->writer) == kit->memory.size);
    const struct np_record *last = &parsed->records[parsed->count - 1];
    assert_int_equal(last->header.type, NP_RECORD_END);
    assert_true(last->header.pos + 256 == kit->memory.size);
    ok(np_trailer_end_decode(last, kit_name, &parsed->end, &err));
    const struct np_record *dir = record_at(parsed, &parsed->end.dir);
    assert_int_equal(dir->header.type, NP_RECORD_DIR);
    ok(np_trailer_dir_decode(dir, kit_name, &parsed->dir, &err));
    assert_int_equal(parsed->dir.disks, kit->meta->disk_count);
    check_digest_of_headers(&kit->memory, parsed);
    check_metas(parsed, kit->meta);
    check_index_chain(parsed);
    for (uint32_t i = 0; i < parsed->dir.disks; i++)
        check_index(parsed, kit->meta, i);
}

/* Finish, check and free what was parsed; for tests that look at nothing else. */
static void kit_finish(struct kit *kit)
{
    struct parsed parsed;
    kit_ok(kit, np_writer_finish(kit->writer, &kit->err));
    kit_check(kit, &parsed);
    free(parsed.records);
}

#endif
