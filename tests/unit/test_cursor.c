#include "surgery.h"

/* Opening, or reading all of it by the index, must fail for this reason. Takes the memory. */
static void refused(struct memory memory, const char *why)
{
    struct np_error err = NP_ERROR_INIT;
    if (restore_index(&memory, NULL, &err) != -1)
        fail_msg("accepted what must be refused with \"%s\"", why);
    if (strstr(err.message, why) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err.message, why);
    assert_int_equal(err.class, NP_DAMAGED);
    free(memory.bytes);
}

struct found {
    size_t pos;
    struct np_record_header header;
};

static struct found index_of(const struct memory *memory, size_t nth)
{
    struct np_error err = NP_ERROR_INIT;
    struct found found;
    for (found.pos = 0;; found.pos += np_record_size(&found.header)) {
        ok(np_record_decode(memory->bytes + found.pos, "sample", found.pos, &found.header, &err));
        if (found.header.type == NP_RECORD_INDEX && nth-- == 0)
            return found;
    }
}

/* ---- cursors ---- */

static bool is_hash_of(const uint8_t *hash, uint64_t i)
{
    uint8_t bytes[SAMPLE_GRANULE] = {0}, expected[NP_HASH128_SIZE];
    np_put_le64(bytes, i);
    np_hash128_put(expected, np_hash128(bytes, sizeof(bytes)));
    return memcmp(hash, expected, sizeof(expected)) == 0;
}

static void test_cursor__a_cursor_walks_all_levels_in_order(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    enum { WINDOWS = 8 * 257 + 3 };
    struct guest guest;
    struct memory memory = many_records(&guest, WINDOWS, NP_GRANULES_MAX);
    struct np_stream *stream = opened(&memory);
    struct np_cursor *cursor = NULL;
    struct np_entry entry;
    ok(np_cursor_open(stream, 0, true, &cursor, &err));
    uint64_t i = 0;
    for (; np_cursor_next(cursor, &entry, &err) == 1; i++) {
        assert_true(entry.offset == 3 * i * NP_GRANULES_MAX * SAMPLE_GRANULE);
        assert_int_equal(entry.hash_count, NP_GRANULES_MAX);
        assert_int_equal(np_map_get(entry.map, i % 16), NP_GRANULE_DATA);
        assert_true(is_hash_of(entry.hashes + i % 16 * NP_HASH128_SIZE, i));
    }
    assert_int_equal(err.class, NP_OK);
    assert_int_equal(i, WINDOWS);
    assert_int_equal(np_cursor_next(cursor, &entry, &err), 0);
    np_cursor_close(cursor);
    np_stream_close(stream);
    guest_free(&guest);
    free(memory.bytes);
}

static void test_cursor__a_cursor_seeks_to_what_covers_or_follows(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    enum { WINDOWS = 3000 };
    struct guest guest;
    struct memory memory = many_records(&guest, WINDOWS, 16);
    struct np_stream *stream = opened(&memory);
    struct np_cursor *cursor = NULL;
    struct np_entry entry;
    uint64_t seed = 5;
    ok(np_cursor_open(stream, 0, true, &cursor, &err));
    for (unsigned n = 0; n < 500; n++) {
        uint64_t window = sample_random(&seed) % (3 * WINDOWS + 2), expected = (window + 2) / 3;
        ok(np_cursor_seek(cursor, window * SAMPLE_CHUNK + (n % 2 ? 0 : SAMPLE_CHUNK - 1), &err));
        for (unsigned k = 0; k <= n % 3; k++, expected++) {
            int status = np_cursor_next(cursor, &entry, &err);
            assert_int_equal(status, expected < WINDOWS);
            if (status == 0)
                break;
            assert_true(entry.offset == 3 * expected * SAMPLE_CHUNK);
            assert_true(is_hash_of(entry.hashes, expected));
        }
    }
    np_cursor_close(cursor);
    np_stream_close(stream);
    guest_free(&guest);
    free(memory.bytes);
}

/* Counts the reads of a stream, and remembers the largest. */
struct counted {
    struct memory *memory;
    size_t reads, bytes;
};

static int counted_read_at(void *ctx, void *buffer, size_t size, uint64_t pos, struct np_error *err)
{
    struct counted *counted = ctx;
    counted->reads++;
    counted->bytes += size;
    return memory_read_at(counted->memory, buffer, size, pos, err);
}

static void test_cursor__seeking_reads_one_node_a_level_and_no_more(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct guest guest;
    struct memory memory = many_records(&guest, 5000, 16);
    struct counted counted = {.memory = &memory};
    struct np_input_at input = {.read_at = counted_read_at, .ctx = &counted, .size = memory.size};
    struct np_stream *stream = NULL;
    struct np_cursor *cursor = NULL;
    struct np_entry entry;
    ok(np_stream_open(&input, "sample", &stream, &err));
    ok(np_cursor_open(stream, 0, false, &cursor, &err));
    counted.reads = 0;
    ok(np_cursor_seek(cursor, UINT64_C(3) * 4000 * SAMPLE_CHUNK, &err));
    assert_int_equal(counted.reads, 4); /* header and table of root and leaf */
    ok(np_cursor_seek(cursor, UINT64_C(3) * 4001 * SAMPLE_CHUNK, &err));
    assert_int_equal(np_cursor_next(cursor, &entry, &err), 1);
    assert_int_equal(counted.reads, 4);
    assert_null(entry.hashes);
    np_cursor_close(cursor);
    np_stream_close(stream);
    guest_free(&guest);
    free(memory.bytes);
}

/* One window in 17 records, so that more than one leaf has a part of it: 17 times 512 hashes, most of them
 * dead. */
static void test_cursor__two_leaves_may_share_a_window(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    enum { GRANULE = 4096, CHUNK = 1024 * GRANULE, RECORDS = 40 };
    static const uint64_t sizes[] = {CHUNK};
    struct np_meta *meta = sample_meta(sizes, 1, 0x11);
    meta->disks[0].geometry.chunk = CHUNK;
    meta->disks[0].base_state = sample_uuid(0x40);
    meta->disks[0].base_size = CHUNK;
    struct memory memory = {0};
    struct np_writer *writer = writer_to(&memory, meta);
    static uint8_t table[NP_DATA_TABLE_MAX];
    for (unsigned i = 0; i < RECORDS; i++) {
        memset(table, 0xff, NP_MAP_BYTES_MAX); /* all dead, but one */
        np_map_set(table, 10 * i, NP_GRANULE_DATA);
        struct np_packed packed = {.length = CHUNK, .codec = 1, .table = table, .table_len = sizeof(table)};
        packed.data = table;
        packed.data_len = 100;
        packed.data_sum = np_hash128(table, 100);
        ok(np_writer_data(writer, 0, &packed, &err));
    }
    ok(np_writer_disk_end(writer, 0, NULL, &err));
    ok(np_writer_finish(writer, &err));
    np_writer_free(writer);

    struct np_stream *stream = opened(&memory);
    struct np_cursor *cursor = NULL;
    struct np_entry entry;
    ok(np_cursor_open(stream, 0, true, &cursor, &err));
    for (unsigned turn = 0; turn < 3; turn++) {
        for (unsigned i = 0; i < RECORDS; i++) {
            assert_int_equal(np_cursor_next(cursor, &entry, &err), 1);
            assert_int_equal(np_map_get(entry.map, 10 * i), NP_GRANULE_DATA);
        }
        assert_int_equal(np_cursor_next(cursor, &entry, &err), 0);
        ok(np_cursor_seek(cursor, turn * (CHUNK / 2), &err));
    }
    np_cursor_close(cursor);
    np_stream_close(stream);
    np_meta_free(meta);
    free(memory.bytes);
}

static void test_cursor__after_an_error_only_seeking_helps(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct guest guest;
    struct memory memory = many_records(&guest, 1030, 16);
    struct np_stream *stream = opened(&memory);
    struct np_cursor *cursor = NULL;
    struct np_entry entry;
    size_t second_leaf = index_of(&memory, 1).pos;
    int status;
    memory.bytes[second_leaf + NP_RECORD_HEADER_SIZE + 100] ^= 1;
    ok(np_cursor_open(stream, 0, true, &cursor, &err));
    while ((status = np_cursor_next(cursor, &entry, &err)) == 1)
        ;
    assert_int_equal(status, -1);
    assert_int_equal(err.class, NP_DAMAGED);
    assert_string_equal(err.disk, "vda");
    fails(NP_FAILED, np_cursor_next(cursor, &entry, &err));
    ok(np_cursor_seek(cursor, 0, &err));
    assert_int_equal(np_cursor_next(cursor, &entry, &err), 1);
    fails(NP_DAMAGED, np_cursor_seek(cursor, UINT64_C(3) * 1029 * SAMPLE_CHUNK, &err));
    fails(NP_FAILED, np_cursor_next(cursor, &entry, &err));
    np_cursor_close(cursor);
    np_stream_close(stream);
    guest_free(&guest);
    free(memory.bytes);
}

/* ---- hostile trees ---- */

/* A tree of two levels: an increment of 1030 records; the root is the third INDEX. */
static struct memory two_levels(struct guest *guest)
{
    return many_records(guest, 1030, 16);
}

/* After a change of its table: sums of the node, and of DIR's root, which it is; END's sums do not matter
 * here. */
static void reseal_root(struct memory *memory, struct found root)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_record_header dir, end;
    uint8_t *at = memory->bytes + root.pos;
    root.header.table_sum = np_hash64(at + NP_RECORD_HEADER_SIZE, root.header.table_len);
    np_record_encode(&root.header, at);

    uint8_t *last = memory->bytes + memory->size - NP_END_SIZE;
    uint64_t dir_pos = np_get_le64(last + NP_RECORD_HEADER_SIZE + 16);
    uint8_t *d = memory->bytes + dir_pos;
    ok(np_record_decode(d, "sample", dir_pos, &dir, &err));
    np_put_le64(d + NP_RECORD_HEADER_SIZE + NP_DIR_HEAD_SIZE + 8 + 8, root.header.head_sum);
    dir.table_sum = np_hash64(d + NP_RECORD_HEADER_SIZE, dir.table_len);
    np_record_encode(&dir, d);

    ok(np_record_decode(last, "sample", memory->size - NP_END_SIZE, &end, &err));
    np_put_le64(last + NP_RECORD_HEADER_SIZE + 16 + 8, dir.head_sum);
    end.table_sum = np_hash64(last + NP_RECORD_HEADER_SIZE, end.table_len);
    np_record_encode(&end, last);
}

static uint8_t *child_of(struct memory *memory, struct found root, unsigned i)
{
    return memory->bytes + root.pos + NP_RECORD_HEADER_SIZE + NP_INDEX_HEAD_SIZE +
           (size_t)i * NP_INDEX_CHILD_SIZE;
}

/* Change 8 bytes of the second child in the root; reading by index must fail and say so. */
static void child_refused(size_t at, uint64_t value, const char *why)
{
    struct guest guest;
    struct memory memory = two_levels(&guest);
    struct found root = index_of(&memory, 2);
    np_put_le64(child_of(&memory, root, 1) + at, value);
    reseal_root(&memory, root);
    refused(memory, why);
    guest_free(&guest);
}

static void test_cursor__resealing_alone_changes_nothing(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct guest guest;
    struct memory memory = two_levels(&guest);
    reseal_root(&memory, index_of(&memory, 2));
    ok(restore_index(&memory, NULL, &err));
    guest_free(&guest);
    free(memory.bytes);
}

static void test_cursor__a_node_that_names_itself_is_refused(void **state)
{
    (void)state;
    struct guest guest;
    struct memory memory = two_levels(&guest);
    struct found root = index_of(&memory, 2);
    guest_free(&guest);
    free(memory.bytes);
    child_refused(0, root.pos, "a child of it lies at no place before it");
    child_refused(0, root.pos + 16, "a child of it lies at no place before it");
    child_refused(0, UINT64_MAX - 15, "a child of it lies at no place before it");
}

static void test_cursor__the_same_child_twice_is_refused(void **state)
{
    (void)state;
    struct guest guest;
    struct memory memory = two_levels(&guest);
    struct found root = index_of(&memory, 2);
    memcpy(child_of(&memory, root, 1), child_of(&memory, root, 0), NP_INDEX_CHILD_SIZE);
    reseal_root(&memory, root);
    refused(memory, "out of order");
    guest_free(&guest);
}

static void test_cursor__children_out_of_order_are_refused(void **state)
{
    (void)state;
    struct guest guest;
    struct memory memory = two_levels(&guest);
    struct found root = index_of(&memory, 2);
    uint8_t swap[NP_INDEX_CHILD_SIZE];
    memcpy(swap, child_of(&memory, root, 0), sizeof(swap));
    memcpy(child_of(&memory, root, 0), child_of(&memory, root, 1), sizeof(swap));
    memcpy(child_of(&memory, root, 1), swap, sizeof(swap));
    reseal_root(&memory, root);
    refused(memory, "out of order");
    guest_free(&guest);
}

static void test_cursor__a_child_is_what_its_parent_says(void **state)
{
    (void)state;
    child_refused(8, 12345, "another record must be there");
    child_refused(40, 1, "reserved bytes are not zero");
    child_refused(16, UINT64_C(3) * 1025 * SAMPLE_CHUNK, "it covers other guest bytes");
    child_refused(16, 0, "its children are not in the order of the disk");
    child_refused(24, UINT64_C(1) << 53, "covers what is no run of windows");
    child_refused(24, UINT64_C(3) * 1030 * SAMPLE_CHUNK, "does not cover what its header says");
}

static void test_cursor__a_leaf_as_an_inner_node_is_refused(void **state)
{
    (void)state;
    struct guest guest;
    struct memory memory = two_levels(&guest);
    struct found root = index_of(&memory, 2);
    memory.bytes[root.pos + NP_RECORD_HEADER_SIZE] = 2; /* its children are of level 0 */
    reseal_root(&memory, root);
    refused(memory, "it stands on another level");
    guest_free(&guest);
}

static void test_cursor__leaves_that_list_a_window_twice_are_refused(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct guest guest;
    static const uint64_t sizes[] = {SAMPLE_CHUNK};
    guest = sample_guest(sizes, 1, 0x11);
    memset(guest.image[0], 3, sizes[0]);
    struct memory memory = write_guest(&guest, 0);
    struct parts *parts = cut_up(&memory);
    size_t data = part_of(parts, NP_RECORD_DATA, 0);
    part_insert(parts, data, &parts->list[data]);
    free(memory.bytes);
    memory = put_together(parts, FIX_ALL);
    fails(NP_DAMAGED, restore_index(&memory, NULL, &err));
    assert_non_null(strstr(err.message, "it lists what was listed before"));
    free(memory.bytes);
    parts_free(parts);
    guest_free(&guest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cursor__a_cursor_walks_all_levels_in_order),
        cmocka_unit_test(test_cursor__a_cursor_seeks_to_what_covers_or_follows),
        cmocka_unit_test(test_cursor__seeking_reads_one_node_a_level_and_no_more),
        cmocka_unit_test(test_cursor__two_leaves_may_share_a_window),
        cmocka_unit_test(test_cursor__after_an_error_only_seeking_helps),
        cmocka_unit_test(test_cursor__resealing_alone_changes_nothing),
        cmocka_unit_test(test_cursor__a_node_that_names_itself_is_refused),
        cmocka_unit_test(test_cursor__the_same_child_twice_is_refused),
        cmocka_unit_test(test_cursor__children_out_of_order_are_refused),
        cmocka_unit_test(test_cursor__a_child_is_what_its_parent_says),
        cmocka_unit_test(test_cursor__a_leaf_as_an_inner_node_is_refused),
        cmocka_unit_test(test_cursor__leaves_that_list_a_window_twice_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
