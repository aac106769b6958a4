#include "test.h"

#include "../../format/track.h"
#include "nbdpull/bytes.h"

static const char name[] = "0001.vda.nbp";

enum { CHUNK = 64 << 10, GRANULE = 16 << 10 };

static struct np_meta_disk disk_of(uint64_t size)
{
    return (struct np_meta_disk){.geometry = {size, CHUNK, GRANULE}};
}

static struct np_meta_disk based_disk(uint64_t size, uint64_t base_size)
{
    struct np_meta_disk disk = disk_of(size);
    disk.base_state.bytes[0] = 1;
    disk.base_size = base_size;
    return disk;
}

static int put(struct np_track *track, const struct np_record *record, struct np_error *err)
{
    if (np_track_check(track, record, name, err) < 0)
        return -1;
    np_track_add(track, record);
    return 0;
}

static int put_data(struct np_track *track, uint64_t offset, const char *states, struct np_error *err)
{
    uint8_t table[8 + 4 * 16] = {0};
    struct np_record record = {.header = {.type = NP_RECORD_DATA, .offset = offset, .data_len = 10},
                               .table = table};
    record.header.table_len = 8;
    for (unsigned i = 0; states[i] != '\0'; i++) {
        enum np_granule_state state = (enum np_granule_state)(strchr("-dzx", states[i]) - "-dzx");
        np_map_set(table, i, state);
        if (state == NP_GRANULE_DATA || state == NP_GRANULE_DEAD) {
            np_hash128_put(table + record.header.table_len, (struct np_hash128){offset + i, 7});
            record.header.table_len += 16;
        }
    }
    return put(track, &record, err);
}

static int put_zero(struct np_track *track, uint64_t offset, uint64_t length, struct np_error *err)
{
    struct np_record record = {.header = {.type = NP_RECORD_ZERO, .offset = offset, .length = length}};
    return put(track, &record, err);
}

static void test_track__full_without_gap(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_meta_disk disk = disk_of(4 * CHUNK + GRANULE + 1);
    struct np_track track;
    np_track_init(&track, &disk);
    ok(put_data(&track, 0, "dzdd", &err));
    ok(put_zero(&track, CHUNK, 2 * CHUNK, &err));
    ok(put_data(&track, 3 * CHUNK, "zdxx", &err));
    ok(put_data(&track, 3 * CHUNK, "--dz", &err));
    ok(put_data(&track, 4 * CHUNK, "dd", &err));
    ok(np_track_end(&track, name, &err));
    assert_int_equal(track.totals.records, 5);
    assert_int_equal(track.totals.data_bytes, 6 * GRANULE + 1);
    assert_int_equal(track.totals.zero_bytes, 3 * GRANULE + 2 * CHUNK);
    assert_int_equal(track.totals.dead_bytes, 2 * GRANULE);
    assert_int_equal(track.totals.stored_bytes, 40);
    assert_false(track.totals.digest_known);
}

static void test_track__digest_is_that_of_the_data_granules(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_meta_disk disk = based_disk(CHUNK + GRANULE + 1, CHUNK + GRANULE + 1);
    struct np_track track;
    struct np_hash128 want = {0, 0};
    np_track_init(&track, &disk);
    ok(put_data(&track, 0, "zxd-", &err));
    ok(put_data(&track, CHUNK, "zd", &err));
    np_digest_add(&want, 2, GRANULE, (struct np_hash128){2, 7});
    np_digest_add(&want, 5, 1, (struct np_hash128){CHUNK + 1, 7});
    assert_true(np_hash128_equal(track.totals.digest, want));
}

static void test_track__empty_disk_is_complete(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_meta_disk disk = disk_of(0);
    struct np_track track;
    np_track_init(&track, &disk);
    ok(np_track_end(&track, name, &err));
    fails(NP_DAMAGED, put_zero(&track, 0, CHUNK, &err));
}

static void test_track__gap_between_windows_is_damage(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_meta_disk disk = disk_of(4 * CHUNK);
    struct np_track track;
    np_track_init(&track, &disk);
    fails(NP_DAMAGED, put_zero(&track, CHUNK, CHUNK, &err));
    assert_int_equal(err.offset, 0);
    ok(put_zero(&track, 0, CHUNK, &err));
    fails(NP_DAMAGED, put_data(&track, 2 * CHUNK, "dddd", &err));
    assert_int_equal(err.offset, CHUNK);
    ok(put_zero(&track, CHUNK, 2 * CHUNK, &err));
    fails(NP_DAMAGED, np_track_end(&track, name, &err));
    assert_int_equal(err.offset, 3 * CHUNK);
}

static void test_track__missing_granule_is_damage_once_its_window_is_left(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_meta_disk disk = disk_of(2 * CHUNK);
    struct np_track track;
    np_track_init(&track, &disk);
    ok(put_data(&track, 0, "dd-x", &err));
    fails(NP_DAMAGED, put_zero(&track, CHUNK, CHUNK, &err));
    assert_int_equal(err.offset, 2 * GRANULE);
    ok(put_data(&track, 0, "--z", &err));
    fails(NP_DAMAGED, put_data(&track, CHUNK, "dddd", &err));
    assert_int_equal(err.offset, 3 * GRANULE); /* a dead granule is none */
    ok(put_data(&track, 0, "---d", &err));
    ok(put_data(&track, CHUNK, "ddd", &err));
    fails(NP_DAMAGED, np_track_end(&track, name, &err));
    assert_int_equal(err.offset, CHUNK + 3 * GRANULE);
}

static void test_track__short_last_window_needs_only_its_granules(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_meta_disk disk = disk_of(512);
    struct np_track track;
    np_track_init(&track, &disk);
    ok(put_data(&track, 0, "d", &err));
    ok(np_track_end(&track, name, &err));
    assert_int_equal(track.totals.data_bytes, 512);
}

static void test_track__backwards_is_damage(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_meta_disk disk = based_disk(8 * CHUNK, 8 * CHUNK);
    struct np_track track;
    np_track_init(&track, &disk);
    ok(put_data(&track, 3 * CHUNK, "d", &err));
    fails(NP_DAMAGED, put_data(&track, 2 * CHUNK, "d", &err));
    fails(NP_DAMAGED, put_zero(&track, 2 * CHUNK, CHUNK, &err));
    ok(put_zero(&track, 5 * CHUNK, CHUNK, &err));
    fails(NP_DAMAGED, put_data(&track, 3 * CHUNK, "-d", &err));
    fails(NP_DAMAGED, put_data(&track, 5 * CHUNK, "d", &err));
    ok(put_data(&track, 6 * CHUNK, "d", &err));
}

static void test_track__granule_described_twice_is_damage(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_meta_disk disk = based_disk(8 * CHUNK, 8 * CHUNK);
    struct np_track track;
    np_track_init(&track, &disk);
    ok(put_data(&track, 3 * CHUNK, "dz-x", &err));
    fails(NP_DAMAGED, put_data(&track, 3 * CHUNK, "d", &err));
    fails(NP_DAMAGED, put_data(&track, 3 * CHUNK, "-d", &err));
    fails(NP_DAMAGED, put_data(&track, 3 * CHUNK, "z", &err));
    ok(put_data(&track, 3 * CHUNK, "--dz", &err));
    fails(NP_DAMAGED, put_data(&track, 3 * CHUNK, "---d", &err));
    ok(put_data(&track, 4 * CHUNK, "dddd", &err)); /* the next window begins clean */
}

static void test_track__zero_shares_no_window(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_meta_disk disk = based_disk(8 * CHUNK, 8 * CHUNK);
    struct np_track track;
    np_track_init(&track, &disk);
    ok(put_data(&track, CHUNK, "d", &err));
    fails(NP_DAMAGED, put_zero(&track, CHUNK, CHUNK, &err));
    ok(put_zero(&track, 2 * CHUNK, CHUNK, &err));
    fails(NP_DAMAGED, put_zero(&track, 2 * CHUNK, CHUNK, &err));
}

static void test_track__zero_lies_on_the_grid(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_meta_disk disk = disk_of(2 * CHUNK + 512);
    struct np_track track;
    np_track_init(&track, &disk);
    fails(NP_DAMAGED, put_zero(&track, GRANULE, CHUNK, &err));
    fails(NP_DAMAGED, put_zero(&track, 0, GRANULE, &err));
    fails(NP_DAMAGED, put_zero(&track, 0, 0, &err));
    fails(NP_DAMAGED, put_zero(&track, 0, 2 * CHUNK + 513, &err));
    fails(NP_DAMAGED, put_zero(&track, 0, 3 * CHUNK, &err));
    fails(NP_DAMAGED, put_zero(&track, 0, UINT64_MAX - CHUNK + 1, &err));
    ok(put_zero(&track, 0, 2 * CHUNK + 512, &err));
    ok(np_track_end(&track, name, &err));
}

static void test_track__increment_may_have_gaps(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_meta_disk disk = based_disk(8 * CHUNK, 8 * CHUNK);
    struct np_track track;
    np_track_init(&track, &disk);
    ok(np_track_end(&track, name, &err));
    ok(put_data(&track, 3 * CHUNK, "-d", &err));
    ok(put_zero(&track, 5 * CHUNK, CHUNK, &err));
    ok(np_track_end(&track, name, &err));
}

static void test_track__grown_part_of_an_increment_has_no_gap(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_meta_disk disk = based_disk(4 * CHUNK, 2 * CHUNK + GRANULE + 1);
    struct np_track track;
    np_track_init(&track, &disk);
    ok(put_data(&track, 0, "-d", &err));
    fails(NP_DAMAGED, put_zero(&track, 3 * CHUNK, CHUNK, &err));
    assert_int_equal(err.offset, 2 * CHUNK + GRANULE); /* the granule that holds the old end */
    ok(put_data(&track, 2 * CHUNK, "--dd", &err));
    fails(NP_DAMAGED, put_zero(&track, 3 * CHUNK, CHUNK, &err));
    assert_int_equal(err.offset, 2 * CHUNK + GRANULE);
    ok(put_data(&track, 2 * CHUNK, "-z", &err));
    fails(NP_DAMAGED, np_track_end(&track, name, &err));
    assert_int_equal(err.offset, 3 * CHUNK);
    ok(put_zero(&track, 3 * CHUNK, CHUNK, &err));
    ok(np_track_end(&track, name, &err));
}

static void test_track__granule_cut_by_shrinking_must_be_stored(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_meta_disk disk = based_disk(2 * CHUNK + GRANULE + 1, 8 * CHUNK);
    struct np_track track;
    np_track_init(&track, &disk);
    fails(NP_DAMAGED, np_track_end(&track, name, &err));
    assert_int_equal(err.offset, 2 * CHUNK + GRANULE);
    ok(put_data(&track, 2 * CHUNK, "-d", &err));
    ok(np_track_end(&track, name, &err));
}

static void test_track__run_of_2_to_the_52_is_one_step(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_meta_disk disk = disk_of(NP_OFFSET_LIMIT - 1);
    struct np_track track;
    np_track_init(&track, &disk);
    ok(put_zero(&track, 0, UINT64_C(1) << 52, &err));
    ok(put_zero(&track, UINT64_C(1) << 52, (UINT64_C(1) << 52) - 1, &err));
    ok(np_track_end(&track, name, &err));
    assert_true(track.totals.zero_bytes == NP_OFFSET_LIMIT - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_track__full_without_gap),
        cmocka_unit_test(test_track__digest_is_that_of_the_data_granules),
        cmocka_unit_test(test_track__empty_disk_is_complete),
        cmocka_unit_test(test_track__gap_between_windows_is_damage),
        cmocka_unit_test(test_track__missing_granule_is_damage_once_its_window_is_left),
        cmocka_unit_test(test_track__short_last_window_needs_only_its_granules),
        cmocka_unit_test(test_track__backwards_is_damage),
        cmocka_unit_test(test_track__granule_described_twice_is_damage),
        cmocka_unit_test(test_track__zero_shares_no_window),
        cmocka_unit_test(test_track__zero_lies_on_the_grid),
        cmocka_unit_test(test_track__increment_may_have_gaps),
        cmocka_unit_test(test_track__grown_part_of_an_increment_has_no_gap),
        cmocka_unit_test(test_track__granule_cut_by_shrinking_must_be_stored),
        cmocka_unit_test(test_track__run_of_2_to_the_52_is_one_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
