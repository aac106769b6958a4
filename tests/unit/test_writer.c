#include "writer_kit.h"

#include <malloc.h>

/* The types of all records, one letter each. */
static void types(const struct parsed *parsed, char *text)
{
    for (size_t i = 0; i < parsed->count; i++)
        *text++ = "?MDZBIRE"[parsed->records[i].header.type];
    *text = '\0';
}

static void test_writer__full_of_one_disk(void **state)
{
    (void)state;
    struct kit kit;
    struct parsed parsed;
    char seen[32];
    kit_begin(&kit, kit_meta(1));
    kit_ok(&kit, kit_data(&kit, 0, 0, "dzdd", 1));
    kit_ok(&kit, kit_zero(&kit, 0, CHUNK, 3 * CHUNK));
    kit_ok(&kit, kit_data(&kit, 0, 4 * CHUNK, "zddz", 9));
    kit_ok(&kit, kit_zero(&kit, 0, 5 * CHUNK, 3 * CHUNK));
    kit_ok(&kit, kit_disk_end(&kit, 0));
    kit_ok(&kit, np_writer_finish(kit.writer, &kit.err));
    kit_check(&kit, &parsed);
    types(&parsed, seen);
    assert_string_equal(seen, "MDZDZIMRE");

    const struct np_record_header *data = &parsed.records[1].header;
    assert_int_equal(data->version, 1);
    assert_int_equal(data->codec, 0);
    assert_int_equal(data->cipher, 0);
    assert_int_equal(data->flags, 0);
    assert_int_equal(data->disk, 0);
    assert_int_equal(data->offset, 0);
    assert_int_equal(data->length, 3 * GRANULE);
    assert_int_equal(data->table_len, 8 + 3 * 16);
    assert_int_equal(data->number, 1);
    const struct np_record_header *zero = &parsed.records[2].header;
    assert_int_equal(zero->offset, CHUNK);
    assert_int_equal(zero->length, 3 * CHUNK);
    const struct np_record_header *index = &parsed.records[5].header;
    assert_int_equal(index->offset, 0);
    assert_int_equal(index->length, 8 * CHUNK);
    assert_int_equal(index->disk, 0);
    assert_int_equal(parsed.records[0].header.disk, NP_DISK_NONE);

    const struct np_totals *totals = np_writer_totals(kit.writer, 0);
    assert_int_equal(totals->records, 4);
    assert_int_equal(totals->data_bytes, 5 * GRANULE);
    assert_int_equal(totals->zero_bytes, 3 * GRANULE + 6 * CHUNK);
    assert_int_equal(totals->stored_bytes, 5 * GRANULE);
    assert_true(totals->digest_known);
    assert_null(np_writer_totals(kit.writer, 1));
    assert_null(np_writer_totals(kit.writer, NP_DISK_NONE));
    free(parsed.records);
    kit_end(&kit);
}

static void test_writer__end_bytes(void **state)
{
    (void)state;
    struct kit kit;
    struct parsed parsed;
    kit_begin(&kit, kit_meta(1));
    kit_ok(&kit, kit_zero(&kit, 0, 0, 8 * CHUNK));
    kit_ok(&kit, kit_disk_end(&kit, 0));
    kit_ok(&kit, np_writer_finish(kit.writer, &kit.err));
    kit_check(&kit, &parsed);
    const uint8_t *end = kit.memory.bytes + kit.memory.size - 256;
    assert_memory_equal(end, "\x89NBP\x01\x07\x00\x00\x48\x49\x4a\x4b\x4c\x4d\x4e\x4f", 16);
    assert_true(np_get_le64(end + 16) == kit.memory.size - 256);
    assert_true(np_get_le32(end + 40) == 160);
    assert_true(np_get_le64(end + 96) == kit.memory.size);
    assert_true(np_get_le64(end + 104) == parsed.count);
    assert_true(np_get_le64(end + 112) == parsed.records[parsed.count - 2].header.pos);
    assert_true(np_get_le64(end + 136) == parsed.records[parsed.count - 3].header.pos);
    assert_memory_equal(end + 192, kit.meta->stream.bytes, 16);
    assert_true(np_is_zero(end + 208, 48));
    free(parsed.records);
    kit_end(&kit);
}

static void test_writer__disk_of_no_bytes(void **state)
{
    (void)state;
    struct kit kit;
    struct np_meta *meta = kit_meta(1);
    meta->disks[0].geometry.size = 0;
    kit_begin(&kit, meta);
    kit_ok(&kit, kit_disk_end(&kit, 0));
    kit_finish(&kit);
    kit_end(&kit);
}

static void test_writer__odd_sizes(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {1, 512, GRANULE, GRANULE + 1, CHUNK - 1};
    for (size_t i = 0; i < NP_ARRAY_SIZE(sizes); i++) {
        struct kit kit;
        struct np_meta *meta = kit_meta(1);
        meta->disks[0].geometry.size = 2 * CHUNK + sizes[i];
        kit_begin(&kit, meta);
        kit_ok(&kit, kit_data(&kit, 0, 0, "dddd", 1));
        kit_ok(&kit, kit_zero(&kit, 0, CHUNK, CHUNK));
        kit_ok(&kit, kit_data(&kit, 0, 2 * CHUNK, &"dddd"[4 - np_div_up(sizes[i], GRANULE)], 1));
        kit_ok(&kit, kit_disk_end(&kit, 0));
        assert_true(np_writer_totals(kit.writer, 0)->data_bytes == CHUNK + sizes[i]);
        kit_finish(&kit);
        kit_end(&kit);
    }
}

/* ---- ZERO ---- */

static void test_writer__zero_runs_are_joined_across_calls(void **state)
{
    (void)state;
    struct kit kit;
    struct parsed parsed;
    char seen[32];
    struct np_meta *meta = kit_meta(1);
    kit_base(meta, 0, meta->disks[0].geometry.size);
    kit_begin(&kit, meta);
    kit_ok(&kit, kit_zero(&kit, 0, 0, CHUNK));
    kit_ok(&kit, kit_zero(&kit, 0, CHUNK, CHUNK));
    kit_ok(&kit, kit_zero(&kit, 0, 2 * CHUNK, CHUNK));
    kit_ok(&kit, kit_zero(&kit, 0, 4 * CHUNK, CHUNK)); /* a gap: another run */
    kit_ok(&kit, kit_data(&kit, 0, 5 * CHUNK, "d", 1));
    kit_ok(&kit, kit_zero(&kit, 0, 6 * CHUNK, CHUNK));
    kit_ok(&kit, kit_zero(&kit, 0, 7 * CHUNK, CHUNK));
    kit_ok(&kit, kit_disk_end(&kit, 0));
    kit_ok(&kit, np_writer_finish(kit.writer, &kit.err));
    kit_check(&kit, &parsed);
    types(&parsed, seen);
    assert_string_equal(seen, "MZZDZIMRE");
    assert_int_equal(parsed.records[1].header.length, 3 * CHUNK);
    assert_int_equal(parsed.records[2].header.offset, 4 * CHUNK);
    assert_int_equal(parsed.records[4].header.length, 2 * CHUNK);
    assert_int_equal(np_writer_totals(kit.writer, 0)->zero_bytes, 6 * CHUNK);
    free(parsed.records);
    kit_end(&kit);
}

static void test_writer__zero_run_waits_over_records_of_other_disks(void **state)
{
    (void)state;
    struct kit kit;
    struct parsed parsed;
    char seen[32];
    kit_begin(&kit, kit_meta(2));
    kit_ok(&kit, kit_zero(&kit, 0, 0, CHUNK));
    kit_ok(&kit, kit_data(&kit, 2, 0, "dddd", 1));
    kit_ok(&kit, kit_zero(&kit, 0, CHUNK, 7 * CHUNK));
    kit_ok(&kit, kit_zero(&kit, 2, CHUNK, 7 * CHUNK));
    kit_ok(&kit, kit_disk_end(&kit, 0));
    kit_ok(&kit, kit_disk_end(&kit, 2));
    kit_ok(&kit, np_writer_finish(kit.writer, &kit.err));
    kit_check(&kit, &parsed);
    types(&parsed, seen);
    assert_string_equal(seen, "MDZIZIMRE");
    assert_int_equal(parsed.records[2].header.length, 8 * CHUNK);
    free(parsed.records);
    kit_end(&kit);
}

static void test_writer__zero_of_2_to_the_52_is_one_record(void **state)
{
    (void)state;
    struct kit kit;
    struct parsed parsed;
    struct np_meta *meta = kit_meta(1);
    meta->disks[0].geometry.size = NP_OFFSET_LIMIT - 1;
    kit_begin(&kit, meta);
    kit_ok(&kit, kit_zero(&kit, 0, 0, UINT64_C(1) << 52));
    kit_ok(&kit, kit_zero(&kit, 0, UINT64_C(1) << 52, (UINT64_C(1) << 52) - CHUNK));
    kit_ok(&kit, kit_data(&kit, 0, NP_OFFSET_LIMIT - CHUNK, "zddd", 1)); /* granule numbers beyond 2^32 */
    kit_ok(&kit, kit_disk_end(&kit, 0));
    kit_ok(&kit, np_writer_finish(kit.writer, &kit.err));
    kit_check(&kit, &parsed);
    assert_int_equal(parsed.records[1].header.type, NP_RECORD_ZERO);
    assert_true(parsed.records[1].header.length == NP_OFFSET_LIMIT - CHUNK);
    assert_true(np_writer_totals(kit.writer, 0)->data_bytes == 3 * GRANULE - 1);

    struct np_hash128 want = {0, 0};
    uint64_t number = (NP_OFFSET_LIMIT - CHUNK) / GRANULE;
    const uint8_t *hash = parsed.records[2].table + 8;
    np_digest_add(&want, number + 1, GRANULE, np_hash128_get(hash));
    np_digest_add(&want, number + 2, GRANULE, np_hash128_get(hash + 16));
    np_digest_add(&want, number + 3, GRANULE - 1, np_hash128_get(hash + 32));
    assert_true(np_hash128_equal(np_writer_totals(kit.writer, 0)->digest, want));
    free(parsed.records);
    kit_end(&kit);
}

/* ---- the index ---- */

/* An increment of `count` runs of zeroes with gaps between them, so that none are joined. */
static void write_runs(struct kit *kit, uint64_t count)
{
    struct np_meta *meta = kit_meta(1);
    meta->disks[0].geometry.size = 2 * count * CHUNK;
    kit_base(meta, 0, meta->disks[0].geometry.size);
    kit_begin(kit, meta);
    for (uint64_t i = 0; i < count; i++)
        kit_ok(kit, kit_zero(kit, 0, 2 * i * CHUNK, CHUNK));
    kit_ok(kit, kit_disk_end(kit, 0));
    kit_ok(kit, np_writer_finish(kit->writer, &kit->err));
}

static void check_shape(uint64_t count, unsigned level, size_t nodes)
{
    struct kit kit;
    struct parsed parsed;
    struct np_dir_disk disk;
    write_runs(&kit, count);
    parse_records(&kit.memory, kit.meta, &parsed);
    size_t indexes = 0;
    for (size_t i = 0; i < parsed.count; i++)
        indexes += parsed.records[i].header.type == NP_RECORD_INDEX;
    assert_int_equal(indexes, nodes);
    free(parsed.records);
    if (count < 10000) { /* record_at is a linear search */
        kit_check(&kit, &parsed);
        np_trailer_dir_disk(&parsed.dir, 0, &disk);
        assert_int_equal(disk.root_level, level);
        free(parsed.records);
    }
    kit_end(&kit);
}

static void test_writer__leaf_holds_1024_records(void **state)
{
    (void)state;
    check_shape(1, 0, 1);
    check_shape(1024, 0, 1);
    check_shape(1025, 1, 3);
    check_shape(2048, 1, 3);
    check_shape(2049, 1, 4);
}

static void test_writer__inner_node_holds_256_children(void **state)
{
    (void)state;
    check_shape(256 * 1024, 1, 257);
    check_shape(256 * 1024 + 1, 2, 257 + 1 + 2); /* a second inner node and the root above both */
}

/* The tree of 257 leaves, by the places that it names. */
static void test_writer__two_inner_nodes_hang_under_one_root(void **state)
{
    (void)state;
    struct kit kit;
    struct np_error err = NP_ERROR_INIT;
    struct parsed parsed = {0};
    write_runs(&kit, 256 * 1024 + 1);
    const uint8_t *bytes = kit.memory.bytes;
    struct np_record record;
    struct np_end end;
    struct np_dir_disk disk;
    uint64_t pos = kit.memory.size - 256;
    ok(np_record_decode(bytes + pos, kit_name, pos, &record.header, &err));
    record.table = bytes + pos + 96;
    ok(np_trailer_end_decode(&record, kit_name, &end, &err));
    ok(np_record_decode(bytes + end.dir.pos, kit_name, end.dir.pos, &record.header, &err));
    record.table = bytes + end.dir.pos + 96;
    ok(np_trailer_dir_decode(&record, kit_name, &parsed.dir, &err));
    np_trailer_dir_disk(&parsed.dir, 0, &disk);
    assert_int_equal(disk.root_level, 2);
    assert_int_equal(disk.totals.records, 256 * 1024 + 1);

    struct np_index_node root, inner;
    struct np_index_child child;
    static const unsigned children[2] = {256, 1};
    pos = disk.root.place.pos;
    ok(np_record_decode(bytes + pos, kit_name, pos, &record.header, &err));
    record.table = bytes + pos + 96;
    ok(np_index_node_decode(&kit.meta->disks[0].geometry, &record, kit_name, &root, &err));
    ok(np_index_node_expect(&root, &record.header, &disk.root, 2, kit_name, &err));
    assert_int_equal(root.count, 2);
    for (unsigned i = 0; i < 2; i++) {
        np_index_node_child(&root, i, &child);
        pos = child.place.pos;
        ok(np_record_decode(bytes + pos, kit_name, pos, &record.header, &err));
        record.table = bytes + pos + 96;
        ok(np_index_node_decode(&kit.meta->disks[0].geometry, &record, kit_name, &inner, &err));
        ok(np_index_node_expect(&inner, &record.header, &child, 1, kit_name, &err));
        assert_int_equal(inner.count, children[i]);
    }
    kit_end(&kit);
}

/* Windows of 1024 granules: 8 of them fill a leaf's hashes. */
static void test_writer__leaf_holds_8192_hashes(void **state)
{
    (void)state;
    struct kit kit;
    struct parsed parsed;
    char seen[64];
    struct np_meta *meta = kit_meta(1);
    uint32_t chunk = 4 << 20;
    meta->disks[0].geometry = (struct np_geometry){20 * (uint64_t)chunk, chunk, 4096};
    kit_begin(&kit, meta);
    static uint8_t table[NP_DATA_TABLE_MAX];
    struct np_packed packed = {.length = chunk,
                               .codec = 1,
                               .table = table,
                               .table_len = sizeof(table),
                               .data = table,
                               .data_len = 1};
    memset(table, 0x55, NP_MAP_BYTES_MAX); /* all data */
    packed.data_sum = np_hash128(table, 1);
    for (unsigned i = 0; i < 8; i++, packed.offset += chunk)
        kit_ok(&kit, np_writer_data(kit.writer, 0, &packed, &kit.err));
    kit_ok(&kit, kit_zero(&kit, 0, packed.offset, chunk)); /* no hashes: still in the first leaf */
    packed.offset += chunk;
    for (unsigned i = 0; i < 11; i++, packed.offset += chunk)
        kit_ok(&kit, np_writer_data(kit.writer, 0, &packed, &kit.err));
    kit_ok(&kit, kit_disk_end(&kit, 0));
    kit_ok(&kit, np_writer_finish(kit.writer, &kit.err));
    kit_check(&kit, &parsed);
    types(&parsed, seen);
    assert_string_equal(seen, "MDDDDDDDDZIDDDDDDDDIDDDIIMRE");
    assert_int_equal(parsed.records[10].header.data_len, 8192 * 16);
    free(parsed.records);
    kit_end(&kit);
}

/* ---- determinism, memory, sizes ---- */

static void write_two_disks(struct kit *kit, bool in_pieces)
{
    kit_begin(kit, kit_meta(2));
    for (uint16_t disk = 0; disk <= 2; disk += 2) {
        kit_ok(kit, kit_data(kit, disk, 0, "dzdd", 5));
        for (uint64_t at = CHUNK; in_pieces && at < 6 * CHUNK; at += CHUNK)
            kit_ok(kit, kit_zero(kit, disk, at, CHUNK));
        if (!in_pieces)
            kit_ok(kit, kit_zero(kit, disk, CHUNK, 5 * CHUNK));
        kit_ok(kit, kit_data(kit, disk, 6 * CHUNK, "dddd", 7));
        kit_ok(kit, kit_data(kit, disk, 7 * CHUNK, "zzzd", 7));
        kit_ok(kit, kit_disk_end(kit, disk));
    }
    kit_ok(kit, np_writer_blob(kit->writer, "domain.xml", "<domain/>", 9, &kit->err));
    kit_finish(kit);
}

static void test_writer__same_input_gives_the_same_bytes(void **state)
{
    (void)state;
    struct kit a, b;
    write_two_disks(&a, false);
    write_two_disks(&b, true); /* how zeroes are cut into calls must not show */
    assert_int_equal(a.memory.size, b.memory.size);
    assert_memory_equal(a.memory.bytes, b.memory.bytes, a.memory.size);
    kit_end(&a);
    kit_end(&b);
}

static void test_writer__memory_does_not_grow_with_the_disk(void **state)
{
    (void)state;
    struct kit kit;
    struct np_meta *meta = kit_meta(1);
    meta->disks[0].geometry.size = UINT64_C(1) << 40;
    kit_base(meta, 0, meta->disks[0].geometry.size);
    kit_begin(&kit, meta);
    kit.memory.discard = true;
    size_t before = 0;
    for (uint64_t i = 0; i < 300000; i++) {
        if (i == 3000)
            before = mallinfo2().uordblks; /* a leaf and one inner level are open */
        kit_ok(&kit, kit_zero(&kit, 0, 2 * i * CHUNK, CHUNK));
    }
    size_t inner = NP_INDEX_HEAD_SIZE + NP_INDEX_CHILDREN * NP_INDEX_CHILD_SIZE;
    assert_true(mallinfo2().uordblks <= before + inner + 1024); /* one more level, and no more */
    kit_end(&kit);
}

static void test_writer__positions_beyond_4_gib(void **state)
{
    (void)state;
    struct kit kit;
    struct np_meta *meta = kit_meta(1);
    meta->disks[0].geometry =
        (struct np_geometry){130 * (uint64_t)NP_CHUNK_MAX, NP_CHUNK_MAX, NP_GRANULE_MAX};
    kit_begin(&kit, meta);
    kit.memory.discard = true;
    uint8_t table[8 + 32 * 16] = {0};
    memset(table, 0x55, 8);
    struct np_packed packed = {.length = NP_CHUNK_MAX,
                               .table = table,
                               .table_len = sizeof(table),
                               .data = table,
                               .data_len = NP_CHUNK_MAX}; /* the sink reads nothing */
    for (; packed.offset < meta->disks[0].geometry.size; packed.offset += NP_CHUNK_MAX)
        kit_ok(&kit, np_writer_data(kit.writer, 0, &packed, &kit.err));
    kit_ok(&kit, kit_disk_end(&kit, 0));
    kit_ok(&kit, np_writer_finish(kit.writer, &kit.err));
    assert_true(np_writer_size(kit.writer) > UINT64_C(1) << 32);
    assert_true(np_writer_size(kit.writer) == kit.memory.counted);
    assert_true(np_writer_totals(kit.writer, 0)->stored_bytes == 130 * (uint64_t)NP_CHUNK_MAX);
    kit_end(&kit);
}

/* ---- digest ---- */

static struct np_hash128 digest_with(const struct np_hash128 *replaced, bool *known)
{
    struct kit kit;
    struct np_meta *meta = kit_meta(1);
    kit_base(meta, 0, meta->disks[0].geometry.size);
    kit_begin(&kit, meta);
    kit_ok(&kit, kit_data(&kit, 0, 2 * CHUNK, "-d", 1));
    kit_ok(&kit, np_writer_disk_end(kit.writer, 0, replaced, &kit.err));
    struct np_totals totals = *np_writer_totals(kit.writer, 0);
    kit_finish(&kit);
    kit_end(&kit);
    *known = totals.digest_known;
    return totals.digest;
}

static void test_writer__digest_of_an_increment_builds_on_what_it_keeps(void **state)
{
    (void)state;
    bool known;
    struct np_hash128 none = {0, 0}, most = {UINT64_MAX, UINT64_MAX}, keeps = {5, 7};
    struct np_hash128 own = digest_with(&none, &known);
    assert_true(known);
    struct np_hash128 sum = digest_with(&keeps, &known);
    np_digest_join(&own, keeps);
    assert_true(np_hash128_equal(sum, own));
    sum = digest_with(&most, &known); /* minus 1, with the carry */
    np_digest_join(&sum, (struct np_hash128){6, 7});
    assert_true(np_hash128_equal(sum, own));
}

static void test_writer__digest_without_that_of_the_base_is_unknown(void **state)
{
    (void)state;
    bool known;
    struct np_hash128 digest = digest_with(NULL, &known);
    assert_false(known);
    assert_true(np_hash128_equal(digest, (struct np_hash128){0, 0}));
}

/* ---- BLOBs ---- */

static void test_writer__blobs_are_cut_into_parts_of_a_mib(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 1 << 20, (1 << 20) + 1, 3 << 20};
    static const size_t parts[] = {1, 1, 1, 2, 3};
    static uint8_t bytes[3 << 20];
    struct kit kit;
    struct parsed parsed;
    struct np_error err = NP_ERROR_INIT;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7 + i / 4099);
    kit_begin(&kit, kit_meta(1));
    kit_ok(&kit, kit_zero(&kit, 0, 0, 8 * CHUNK));
    kit_ok(&kit, kit_disk_end(&kit, 0));
    for (size_t i = 0; i < NP_ARRAY_SIZE(sizes); i++) {
        char name[16];
        snprintf(name, sizeof(name), "blob%zu", i);
        kit_ok(&kit, np_writer_blob(kit.writer, name, sizes[i] > 0 ? bytes : NULL, sizes[i], &kit.err));
    }
    kit_ok(&kit, np_writer_finish(kit.writer, &kit.err));
    kit_check(&kit, &parsed);
    assert_int_equal(parsed.dir.blobs, NP_ARRAY_SIZE(sizes));

    for (uint32_t i = 0; i < parsed.dir.blobs; i++) {
        struct np_place place;
        np_trailer_dir_blob(&parsed.dir, i, &place);
        const struct np_record *part = record_at(&parsed, &place);
        uint64_t at = 0;
        for (size_t p = 0; p < parts[i]; p++, part++) {
            struct np_blob_table table;
            assert_int_equal(part->header.type, NP_RECORD_BLOB);
            ok(np_blob_table_decode(part, kit_name, &table, &err));
            assert_int_equal(table.name[4], '0' + i);
            assert_int_equal(table.total, sizes[i]);
            assert_true(np_hash128_equal(table.sum, np_hash128(bytes, sizes[i])));
            assert_int_equal(part->header.offset, at);
            assert_memory_equal(part->data, bytes + at, part->header.length);
            at += part->header.length;
        }
        assert_int_equal(at, sizes[i]);
    }
    free(parsed.records);
    kit_end(&kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_writer__full_of_one_disk),
        cmocka_unit_test(test_writer__end_bytes),
        cmocka_unit_test(test_writer__disk_of_no_bytes),
        cmocka_unit_test(test_writer__odd_sizes),
        cmocka_unit_test(test_writer__zero_runs_are_joined_across_calls),
        cmocka_unit_test(test_writer__zero_run_waits_over_records_of_other_disks),
        cmocka_unit_test(test_writer__zero_of_2_to_the_52_is_one_record),
        cmocka_unit_test(test_writer__leaf_holds_1024_records),
        cmocka_unit_test(test_writer__inner_node_holds_256_children),
        cmocka_unit_test(test_writer__two_inner_nodes_hang_under_one_root),
        cmocka_unit_test(test_writer__leaf_holds_8192_hashes),
        cmocka_unit_test(test_writer__same_input_gives_the_same_bytes),
        cmocka_unit_test(test_writer__memory_does_not_grow_with_the_disk),
        cmocka_unit_test(test_writer__positions_beyond_4_gib),
        cmocka_unit_test(test_writer__digest_of_an_increment_builds_on_what_it_keeps),
        cmocka_unit_test(test_writer__digest_without_that_of_the_base_is_unknown),
        cmocka_unit_test(test_writer__blobs_are_cut_into_parts_of_a_mib),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
