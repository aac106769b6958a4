/*
 * What a backup would come to, before it: block status added up, and a bounded sample. That both agree with
 * what np_backup_run then does, with and without a base, is checked on each step of test_increment.
 */
#include "test.h"

#include "memory.h"

#include "nbdpull/backup.h"

#define CHUNK NP_CHUNK_MIN
#define GRANULE NP_GRANULE_MIN
#define WINDOWS 64
#define SIZE (WINDOWS * CHUNK + 512)

static uint8_t content[SIZE];
static const struct np_geometry geometry = {SIZE, CHUNK, GRANULE};

static struct memory_disk disk_of(const struct np_extent *extents, size_t count)
{
    return (struct memory_disk){.bytes = content,
                                .size = SIZE,
                                .extents = extents,
                                .extent_count = count,
                                .fail_read = NP_NO_OFFSET,
                                .fail_extents = NP_NO_OFFSET};
}

/* Data, a hole, dirty data, a dirty hole, and clean data to the odd end. */
static const struct np_extent mixed[] = {
    {0, CHUNK + 512, 0},
    {CHUNK + 512, 3 * CHUNK - 512, NP_EXTENT_ZERO},
    {4 * CHUNK, 2 * GRANULE + 1024, NP_EXTENT_DIRTY},
    {4 * CHUNK + 2 * GRANULE + 1024, 4 * CHUNK - 2 * GRANULE - 1024, NP_EXTENT_ZERO | NP_EXTENT_DIRTY},
    {8 * CHUNK, SIZE - 8 * CHUNK, 0},
};

static struct np_backup_sums measure(enum np_scope scope)
{
    struct np_error err = NP_ERROR_INIT;
    struct memory_disk disk = disk_of(mixed, NP_ARRAY_SIZE(mixed));
    struct np_source source = memory_source(&disk);
    struct np_backup_sums sums;
    ok(np_backup_measure(&source, &geometry, scope, NULL, NULL, &sums, &err));
    assert_int_equal(disk.reads, 0);
    assert_int_equal(disk.open_readers, 0);
    return sums;
}

static void test_measure__a_full_is_all_data_and_all_zero(void **state)
{
    (void)state;
    struct np_backup_sums sums = measure(NP_SCOPE_ALL);
    assert_int_equal(sums.data, CHUNK + GRANULE + 3 * GRANULE + SIZE - 8 * CHUNK);
    assert_int_equal(sums.data + sums.zero, SIZE);
}

static void test_measure__an_increment_tells_dirty_data_from_dirty_zero(void **state)
{
    (void)state;
    struct np_backup_sums sums = measure(NP_SCOPE_DIRTY);
    assert_int_equal(sums.data, 3 * GRANULE);
    assert_int_equal(sums.zero, 4 * CHUNK - 3 * GRANULE);
}

static void test_measure__a_failing_block_status_is_an_error(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct memory_disk disk = disk_of(mixed, NP_ARRAY_SIZE(mixed));
    struct np_source source = memory_source(&disk);
    struct np_backup_sums sums;
    disk.cut = CHUNK;
    disk.fail_extents = 9 * CHUNK;
    fails(NP_FAILED, np_backup_measure(&source, &geometry, NP_SCOPE_ALL, NULL, NULL, &sums, &err));
    assert_int_equal(disk.open_readers, 0);
}

/* ---- samples ---- */

static struct np_backup_sample take_sample(struct memory_disk *disk, const char *codec, uint64_t limit)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_source source = memory_source(disk);
    struct np_backup_sample sample;
    struct np_backup_sums sums;
    struct np_backup_options options = {.scope = NP_SCOPE_ALL};
    options.codec = np_codec_parse(codec, &options.level, &err);
    ok(np_backup_measure(&source, &geometry, NP_SCOPE_ALL, NULL, NULL, &sums, &err));
    ok(np_backup_sample(&options, &source, &geometry, sums.data, limit, &sample, &err));
    assert_int_equal(disk->open_readers, 0);
    return sample;
}

static void fill(uint64_t offset, uint64_t length, bool compressible)
{
    uint32_t random = 1;
    for (uint64_t i = offset; i < offset + length; i++) {
        random = random * 1664525 + 1013904223;
        content[i] = compressible ? 0x5a : (uint8_t)(random >> 24);
    }
}

static void test_sample__a_limit_beyond_the_data_reads_all_of_it(void **state)
{
    (void)state;
    struct memory_disk disk = disk_of(NULL, 0);
    fill(0, SIZE, false);
    memset(content + 3 * CHUNK, 0, 2 * CHUNK + GRANULE);
    struct np_backup_sample sample = take_sample(&disk, "none", SIZE);
    assert_int_equal(sample.read, SIZE);
    assert_int_equal(sample.data, SIZE - 2 * CHUNK - GRANULE);
    assert_int_equal(sample.stored, sample.data);
}

/* The first half compresses to nothing, the second not at all: a sample from one end would be far off. */
static void test_sample__a_bounded_one_is_spread_evenly(void **state)
{
    (void)state;
    struct memory_disk disk = disk_of(NULL, 0);
    fill(0, WINDOWS / 2 * CHUNK, true);
    fill(WINDOWS / 2 * CHUNK, SIZE - WINDOWS / 2 * CHUNK, false);
    struct np_backup_sample sample = take_sample(&disk, "lz4", 8 * CHUNK);
    assert_in_range(sample.read, 8 * CHUNK, 9 * CHUNK);
    assert_in_range(sample.stored * 100 / sample.read, 45, 55);
}

static void test_sample__nothing_to_read_is_no_sample(void **state)
{
    (void)state;
    const struct np_extent hole = {0, SIZE, NP_EXTENT_ZERO};
    struct memory_disk disk = disk_of(&hole, 1);
    struct np_backup_sample sample = take_sample(&disk, "lz4", 0);
    assert_int_equal(sample.read + sample.data + sample.stored, 0);
    assert_int_equal(disk.reads, 0);
}

static void test_sample__a_failing_read_and_a_request_to_stop_are_errors(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct memory_disk disk = disk_of(NULL, 0);
    struct np_source source = memory_source(&disk);
    struct np_backup_sample sample;
    struct np_cancel cancel;
    struct np_backup_options options = {.codec = np_codec_find(0), .cancel = &cancel};
    np_cancel_init(&cancel);
    disk.fail_read = 5 * CHUNK;
    fails(NP_FAILED, np_backup_sample(&options, &source, &geometry, SIZE, SIZE, &sample, &err));
    np_cancel_request(&cancel, 15);
    fails(NP_INTERRUPTED, np_backup_sample(&options, &source, &geometry, SIZE, SIZE, &sample, &err));
    assert_int_equal(disk.open_readers, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_measure__a_full_is_all_data_and_all_zero),
        cmocka_unit_test(test_measure__an_increment_tells_dirty_data_from_dirty_zero),
        cmocka_unit_test(test_measure__a_failing_block_status_is_an_error),
        cmocka_unit_test(test_sample__a_limit_beyond_the_data_reads_all_of_it),
        cmocka_unit_test(test_sample__a_bounded_one_is_spread_evenly),
        cmocka_unit_test(test_sample__nothing_to_read_is_no_sample),
        cmocka_unit_test(test_sample__a_failing_read_and_a_request_to_stop_are_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
