#include "writer_kit.h"

/* Our own mistakes, handed to the writer: each is refused where it is made, and nothing can follow. */

/* A writer of one full disk, or of an increment on a base of base_size. */
static void begin_full(struct kit *kit)
{
    kit_begin(kit, kit_meta(1));
}

static void begin_inc(struct kit *kit, uint64_t base_size)
{
    struct np_meta *meta = kit_meta(1);
    kit_base(meta, 0, base_size);
    kit_begin(kit, meta);
}

/* After a refusal the stream can be neither written on nor finished. */
static void refused(struct kit *kit)
{
    uint64_t size = kit->memory.size;
    kit_refuses(kit, kit_zero(kit, 0, 0, CHUNK), "stream has ended");
    kit_refuses(kit, kit_data(kit, 0, 7 * CHUNK, "dddd", 1), "stream has ended");
    kit_refuses(kit, kit_disk_end(kit, 0), "stream has ended");
    kit_refuses(kit, np_writer_blob(kit->writer, "a", "", 0, &kit->err), "stream has ended");
    kit_refuses(kit, np_writer_finish(kit->writer, &kit->err), "stream has ended");
    assert_int_equal(kit->memory.size, size);
    kit_end(kit);
}

static void test_writer__window_before_the_last_one_is_refused(void **state)
{
    (void)state;
    struct kit kit;
    begin_inc(&kit, 8 * CHUNK);
    kit_ok(&kit, kit_data(&kit, 0, 3 * CHUNK, "d", 1));
    kit_refuses(&kit, kit_data(&kit, 0, 2 * CHUNK, "d", 1), "disk vda: internal error: refused to write");
    assert_string_equal(kit.err.disk, "vda");
    assert_int_equal(kit.err.offset, 2 * CHUNK);
    refused(&kit);
}

static void test_writer__window_inside_a_waiting_run_is_refused(void **state)
{
    (void)state;
    struct kit kit;
    begin_inc(&kit, 8 * CHUNK);
    kit_ok(&kit, kit_zero(&kit, 0, CHUNK, 3 * CHUNK));
    kit_refuses(&kit, kit_data(&kit, 0, 3 * CHUNK, "d", 1), "comes after");
    refused(&kit);
}

static void test_writer__run_over_a_waiting_run_is_refused(void **state)
{
    (void)state;
    struct kit kit;
    begin_inc(&kit, 8 * CHUNK);
    kit_ok(&kit, kit_zero(&kit, 0, CHUNK, 3 * CHUNK));
    kit_refuses(&kit, kit_zero(&kit, 0, 3 * CHUNK, CHUNK), "comes after");
    refused(&kit);
}

static void test_writer__run_over_a_window_is_refused_at_once(void **state)
{
    (void)state;
    struct kit kit;
    begin_inc(&kit, 8 * CHUNK);
    kit_ok(&kit, kit_data(&kit, 0, 3 * CHUNK, "d", 1));
    kit_refuses(&kit, kit_zero(&kit, 0, 3 * CHUNK, CHUNK), "comes after");
    refused(&kit);
}

static void test_writer__granule_twice_is_refused(void **state)
{
    (void)state;
    struct kit kit;
    begin_inc(&kit, 8 * CHUNK);
    kit_ok(&kit, kit_data(&kit, 0, 3 * CHUNK, "dx", 1));
    kit_ok(&kit, kit_data(&kit, 0, 3 * CHUNK, "-z", 1)); /* a merge may: the first one was dead */
    kit_refuses(&kit, kit_data(&kit, 0, 3 * CHUNK, "d", 1), "described before");
    refused(&kit);
}

static void test_writer__gap_in_a_full_is_refused(void **state)
{
    (void)state;
    struct kit kit;
    begin_full(&kit);
    kit_ok(&kit, kit_zero(&kit, 0, 0, CHUNK));
    kit_refuses(&kit, kit_data(&kit, 0, 2 * CHUNK, "dddd", 1), "nothing is stored for guest byte 65536");
    refused(&kit);
    begin_full(&kit);
    kit_ok(&kit, kit_zero(&kit, 0, 0, CHUNK));
    kit_refuses(&kit, kit_zero(&kit, 0, 2 * CHUNK, CHUNK), "nothing is stored for guest byte 65536");
    refused(&kit);
}

static void test_writer__full_that_ends_early_is_refused(void **state)
{
    (void)state;
    struct kit kit;
    begin_full(&kit);
    kit_ok(&kit, kit_zero(&kit, 0, 0, 7 * CHUNK));
    kit_refuses(&kit, kit_disk_end(&kit, 0), "nothing is stored for guest byte 458752");
    assert_int_equal(kit.err.offset, 7 * CHUNK);
    refused(&kit);
    begin_full(&kit);
    kit_refuses(&kit, kit_disk_end(&kit, 0), "nothing is stored for guest byte 0");
    refused(&kit);
}

static void test_writer__absent_granule_in_a_full_is_refused(void **state)
{
    (void)state;
    struct kit kit;
    begin_full(&kit);
    kit_ok(&kit, kit_data(&kit, 0, 0, "dd-d", 1));
    kit_refuses(&kit, kit_zero(&kit, 0, CHUNK, 7 * CHUNK), "nothing is stored for guest byte 32768");
    refused(&kit);
}

static void test_writer__grown_part_without_its_first_granule_is_refused(void **state)
{
    (void)state;
    struct kit kit;
    begin_inc(&kit, 6 * CHUNK + 512);
    kit_ok(&kit, kit_data(&kit, 0, 6 * CHUNK, "-ddd", 1));
    kit_refuses(&kit, kit_zero(&kit, 0, 7 * CHUNK, CHUNK), "nothing is stored for guest byte 393216");
    refused(&kit);
}

static void test_writer__bad_grid_is_refused(void **state)
{
    (void)state;
    static const uint64_t bad[][2] = {{GRANULE, CHUNK},   {0, GRANULE},   {0, 0},
                                      {8 * CHUNK, CHUNK}, {0, 9 * CHUNK}, {CHUNK, UINT64_MAX - CHUNK + 1},
                                      {0, UINT64_MAX}};
    for (size_t i = 0; i < NP_ARRAY_SIZE(bad); i++) {
        struct kit kit;
        begin_full(&kit);
        kit_ok(&kit, kit_zero(&kit, 0, 0, CHUNK)); /* so that joining is in the way */
        uint64_t offset = bad[i][0] == 0 ? CHUNK : bad[i][0];
        kit_refuses(&kit, kit_zero(&kit, 0, offset, bad[i][1]), "internal error: refused to write");
        refused(&kit);
    }
}

/* A body that is right but for one thing. */
static struct np_packed good_body(uint8_t table[24])
{
    memset(table, 0, 24);
    np_map_set(table, 0, NP_GRANULE_DATA);
    return (struct np_packed){
        .length = GRANULE, .codec = 1, .table = table, .table_len = 24, .data = table, .data_len = 10};
}

static void test_writer__body_that_no_reader_would_take_is_refused(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        struct kit kit;
        uint8_t table[24];
        struct np_packed body = good_body(table);
        body.offset += i == 0 ? GRANULE : 0;
        body.offset += i == 1 ? 8 * CHUNK : 0;
        body.length += i == 2;
        body.table_len -= i == 3 ? 16 : 0;
        body.data_len += i == 4 ? GRANULE : 0;
        body.codec = i == 5 ? 0 : i == 6 ? 99 : 1;
        if (i == 7)
            np_map_set(table, 4, NP_GRANULE_ZERO); /* a fifth granule in a window of four */
        begin_inc(&kit, 8 * CHUNK);
        kit_refuses(&kit, np_writer_data(kit.writer, 0, &body, &kit.err), "internal error");
        refused(&kit);
    }
    struct kit kit;
    uint8_t table[24];
    struct np_packed body = good_body(table);
    begin_inc(&kit, 8 * CHUNK);
    kit_ok(&kit, np_writer_data(kit.writer, 0, &body, &kit.err));
    kit_end(&kit);
}

static void test_writer__unknown_disk_is_refused(void **state)
{
    (void)state;
    static const uint16_t bad[] = {1, 2, NP_DISKS_MAX, NP_DISK_NONE};
    for (size_t i = 0; i < NP_ARRAY_SIZE(bad); i++) {
        struct kit kit;
        begin_full(&kit);
        kit_refuses(&kit, kit_zero(&kit, bad[i], 0, CHUNK), "no disk");
        refused(&kit);
    }
}

static void test_writer__disk_that_has_ended_is_refused(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct kit kit;
        begin_full(&kit);
        kit_ok(&kit, kit_zero(&kit, 0, 0, 8 * CHUNK));
        kit_ok(&kit, kit_disk_end(&kit, 0));
        int result = i == 0   ? kit_disk_end(&kit, 0)
                     : i == 1 ? kit_zero(&kit, 0, 0, CHUNK)
                              : kit_data(&kit, 0, 7 * CHUNK, "dddd", 1);
        assert_int_equal(result, -1);
        assert_non_null(strstr(kit.err.message, "after its end"));
        refused(&kit);
    }
}

static void test_writer__digest_to_build_on_without_a_base_is_refused(void **state)
{
    (void)state;
    struct kit kit;
    struct np_hash128 replaced = {1, 1};
    begin_full(&kit);
    kit_ok(&kit, kit_zero(&kit, 0, 0, 8 * CHUNK));
    kit_refuses(&kit, np_writer_disk_end(kit.writer, 0, &replaced, &kit.err), "no base");
    refused(&kit);
}

static void test_writer__end_before_all_disks_have_ended_is_refused(void **state)
{
    (void)state;
    struct kit kit;
    kit_begin(&kit, kit_meta(2));
    kit_ok(&kit, kit_zero(&kit, 0, 0, 8 * CHUNK));
    kit_ok(&kit, kit_disk_end(&kit, 0));
    kit_refuses(&kit, np_writer_blob(kit.writer, "a", "b", 1, &kit.err), "disk vdb");
    refused(&kit);
    kit_begin(&kit, kit_meta(1));
    kit_refuses(&kit, np_writer_finish(kit.writer, &kit.err), "disk vda");
    refused(&kit);
}

static void test_writer__bad_and_doubled_names_of_blobs_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"", ".hidden", "../x", "a/b", "a b", "same"};
    for (size_t i = 0; i < NP_ARRAY_SIZE(bad); i++) {
        struct kit kit;
        begin_full(&kit);
        kit_ok(&kit, kit_zero(&kit, 0, 0, 8 * CHUNK));
        kit_ok(&kit, kit_disk_end(&kit, 0));
        kit_ok(&kit, np_writer_blob(kit.writer, "same", "b", 1, &kit.err));
        kit_refuses(&kit, np_writer_blob(kit.writer, bad[i], "b", 1, &kit.err), "name");
        refused(&kit);
    }
}

static void test_writer__finished_stream_takes_nothing_more(void **state)
{
    (void)state;
    struct kit kit;
    begin_full(&kit);
    kit_ok(&kit, kit_zero(&kit, 0, 0, 8 * CHUNK));
    kit_ok(&kit, kit_disk_end(&kit, 0));
    kit_finish(&kit);
    refused(&kit);
}

/* Wherever the sink fails, its error comes out and the stream stays without END. */
static void test_writer__sink_that_fails_anywhere_ends_the_stream(void **state)
{
    (void)state;
    struct kit kit;
    for (uint64_t more = 0, failures = 0;; more += 40, failures++) {
        begin_full(&kit);
        kit.memory.fail_at = kit.memory.counted + more;
        if (kit_zero(&kit, 0, 0, 7 * CHUNK) == 0 && kit_data(&kit, 0, 7 * CHUNK, "zzzd", 1) == 0 &&
            kit_disk_end(&kit, 0) == 0 && np_writer_blob(kit.writer, "a", "b", 1, &kit.err) == 0 &&
            np_writer_finish(kit.writer, &kit.err) == 0) {
            assert_true(failures > 400); /* one granule of 16 KiB and the rest, by steps of 40 */
            break;
        }
        assert_int_equal(kit.err.class, NP_FAILED);
        assert_non_null(strstr(kit.err.message, "no space left"));
        refused(&kit);
    }
    kit_end(&kit);
}

static void test_writer__first_meta_that_fails_leaves_nothing(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_meta *meta = kit_meta(1);
    struct memory memory = {.fail_at = 100};
    struct np_sink sink = {memory_append, &memory};
    struct np_writer *writer = NULL;
    fails(NP_FAILED, np_writer_new(&sink, meta, &writer, &err));
    assert_null(writer);
    np_writer_free(writer);
    np_meta_free(meta);
    free(memory.bytes);
}

static void test_writer__disks_that_the_format_cannot_hold_are_refused(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct np_error err = NP_ERROR_INIT;
        struct np_meta *meta = kit_meta(2);
        struct memory memory = {.fail_at = UINT64_MAX};
        struct np_sink sink = {memory_append, &memory};
        struct np_writer *writer = NULL;
        if (i == 0)
            meta->disks[1].id = 0;
        if (i == 1)
            meta->disks[1].id = NP_DISKS_MAX;
        if (i == 2)
            meta->disks[0].geometry.granule = 5000;
        if (i == 3)
            meta->disks[0].geometry.size = NP_OFFSET_LIMIT;
        fails(NP_FAILED, np_writer_new(&sink, meta, &writer, &err));
        assert_int_equal(memory.size, 0);
        np_meta_free(meta);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_writer__window_before_the_last_one_is_refused),
        cmocka_unit_test(test_writer__window_inside_a_waiting_run_is_refused),
        cmocka_unit_test(test_writer__run_over_a_waiting_run_is_refused),
        cmocka_unit_test(test_writer__run_over_a_window_is_refused_at_once),
        cmocka_unit_test(test_writer__granule_twice_is_refused),
        cmocka_unit_test(test_writer__gap_in_a_full_is_refused),
        cmocka_unit_test(test_writer__full_that_ends_early_is_refused),
        cmocka_unit_test(test_writer__absent_granule_in_a_full_is_refused),
        cmocka_unit_test(test_writer__grown_part_without_its_first_granule_is_refused),
        cmocka_unit_test(test_writer__bad_grid_is_refused),
        cmocka_unit_test(test_writer__body_that_no_reader_would_take_is_refused),
        cmocka_unit_test(test_writer__unknown_disk_is_refused),
        cmocka_unit_test(test_writer__disk_that_has_ended_is_refused),
        cmocka_unit_test(test_writer__digest_to_build_on_without_a_base_is_refused),
        cmocka_unit_test(test_writer__end_before_all_disks_have_ended_is_refused),
        cmocka_unit_test(test_writer__bad_and_doubled_names_of_blobs_are_refused),
        cmocka_unit_test(test_writer__finished_stream_takes_nothing_more),
        cmocka_unit_test(test_writer__sink_that_fails_anywhere_ends_the_stream),
        cmocka_unit_test(test_writer__first_meta_that_fails_leaves_nothing),
        cmocka_unit_test(test_writer__disks_that_the_format_cannot_hold_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
