#include "test.h"

#include "memory.h"

#include "nbdpull/backup.h"
#include "nbdpull/restore.h"

#include <signal.h>
#include <stdio.h>

#define GRANULE 65536u
#define CHUNK (1u << 20)

struct run {
    struct np_geometry geometry;
    struct memory_disk disk;
    struct memory_file file;
    struct np_meta *meta;
    struct np_writer *writer;
    struct np_backup_counts counts;
};

/* Content that compresses in parts, with holes, zeroes that are allocated, and bytes that do not compress. */
static void fill(uint8_t *bytes, uint64_t size)
{
    uint64_t seed = 88172645463325252u;
    for (uint64_t g = 0; g * GRANULE < size; g++) {
        uint64_t from = g * GRANULE, to = np_min_u64(from + GRANULE, size);
        for (uint64_t i = from; i < to; i++) {
            seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
            bytes[i] = g % 5 == 0 ? 0 : g % 5 == 1 ? (uint8_t)seed : (uint8_t)(seed % 7);
        }
    }
}

static void setup(struct run *run, uint64_t size, struct np_error *err)
{
    *run = (struct run){.geometry = {size, CHUNK, GRANULE},
                        .disk = {.size = size, .fail_read = NP_NO_OFFSET, .fail_extents = NP_NO_OFFSET}};
    run->disk.bytes = malloc(size + 1);
    fill(run->disk.bytes, size);
    run->meta = memory_meta(&run->geometry, 1, err);
    assert_non_null(run->meta);
    struct np_sink sink = memory_sink(&run->file);
    if (np_writer_new(&sink, run->meta, &run->writer, err) < 0)
        fail_msg("%s", err->message);
}

static void teardown(struct run *run)
{
    np_writer_free(run->writer);
    np_meta_free(run->meta);
    free(run->file.bytes);
    free(run->disk.bytes);
}

static int back_up(struct run *run, unsigned workers, const char *codec, struct np_cancel *cancel,
                   struct np_error *err)
{
    struct np_source source = memory_source(&run->disk);
    struct np_backup_options options = {.workers = workers, .scope = NP_SCOPE_ALL, .cancel = cancel};
    options.codec = np_codec_parse(codec, &options.level, err);
    assert_non_null(options.codec);
    int result = np_backup_run(&options, &source, &run->geometry, 0, "vda", run->writer, &run->counts, err);
    assert_int_equal(run->disk.open_readers, 0);
    return result;
}

static void finish(struct run *run, struct np_error *err)
{
    if (np_writer_disk_end(run->writer, 0, NULL, err) < 0 || np_writer_finish(run->writer, err) < 0)
        fail_msg("%s", err->message);
}

/* Restore by the index and from a pipe; both must give the disk, and write each byte at most once. */
static void compare(const struct run *run, const struct memory_image *image)
{
    assert_int_equal(memcmp(run->disk.bytes, image->bytes, run->geometry.size), 0);
    for (uint64_t i = 0; i < run->geometry.size; i++)
        if (image->written[i] > 1)
            fail_msg("byte %ju was written %u times", (uintmax_t)i, image->written[i]);
}

static void check_by_index(struct run *run, struct np_error *err)
{
    struct memory_image image;
    struct np_stream *stream;
    struct np_chain *chain;
    struct np_restore_counts counts;
    struct np_restore_plan plan;
    uint16_t id = 0;
    struct np_input_at input = memory_input_at(&run->file);
    struct np_restore_options options = {.workers = 3};
    memory_image_init(&image, run->geometry.size);
    struct np_restore_disk disk = {
        .target_name = "vda", .geometry = run->geometry, .ops = &memory_target_ops, .target = &image};
    if (np_stream_open(&input, "s", &stream, err) < 0 ||
        np_chain_open(&stream, &id, 1, "vda", false, &chain, err) < 0 ||
        np_restore_survey(chain, NULL, &plan, err) < 0)
        fail_msg("%s", err->message);
    assert_true(plan.data_bytes + plan.zero_bytes == run->geometry.size);
    np_chain_close(chain);
    if (np_chain_open(&stream, &id, 1, "vda", false, &chain, err) < 0 ||
        np_restore_chain(&options, chain, &stream, &id, &disk, &counts, err) < 0)
        fail_msg("%s", err->message);
    assert_true(counts.written == plan.data_bytes);
    compare(run, &image);
    np_chain_close(chain);
    np_stream_close(stream);
    memory_image_clear(&image);
}

static void check_by_pipe(struct run *run, struct np_error *err)
{
    struct memory_image image;
    struct np_reader *reader;
    struct np_restore_counts counts;
    struct np_input input = memory_input(&run->file);
    struct np_restore_options options = {.workers = 3};
    memory_image_init(&image, run->geometry.size);
    struct np_restore_disk disk = {
        .target_name = "vda", .geometry = run->geometry, .ops = &memory_target_ops, .target = &image};
    if (np_reader_new(&input, "s", &reader, err) < 0 ||
        np_restore_reader(&options, reader, &disk, 1, NULL, NULL, &counts, err) < 0)
        fail_msg("%s", err->message);
    compare(run, &image);
    np_reader_free(reader);
    memory_image_clear(&image);
}

static void test_pipeline__every_codec_and_odd_size_comes_back(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {
        0, 1, 512, GRANULE, GRANULE + 1, CHUNK, CHUNK + 512, 5 * CHUNK - 1, 9 * CHUNK + 3 * GRANULE + 512};
    static const char *const codecs[] = {"none", "lz4", "zstd:1"};
    for (size_t i = 0; i < NP_ARRAY_SIZE(sizes); i++)
        for (size_t c = 0; c < NP_ARRAY_SIZE(codecs); c++) {
            struct np_error err = NP_ERROR_INIT;
            struct run run;
            setup(&run, sizes[i], &err);
            ok(back_up(&run, 3, codecs[c], NULL, &err));
            assert_true(run.counts.covered == sizes[i]);
            assert_true(run.counts.data + run.counts.zero == sizes[i]);
            finish(&run, &err);
            check_by_index(&run, &err);
            check_by_pipe(&run, &err);
            teardown(&run);
        }
}

static void test_pipeline__any_number_of_workers_gives_the_same_file(void **state)
{
    (void)state;
    static const unsigned workers[] = {1, 2, 8};
    struct memory_file first = {0};
    for (size_t i = 0; i < NP_ARRAY_SIZE(workers); i++) {
        struct np_error err = NP_ERROR_INIT;
        struct run run;
        setup(&run, 40 * CHUNK + 512, &err);
        ok(back_up(&run, workers[i], "lz4", NULL, &err));
        finish(&run, &err);
        if (i == 0) {
            first = run.file;
            run.file.bytes = NULL;
        } else {
            assert_true(first.size == run.file.size);
            assert_int_equal(memcmp(first.bytes, run.file.bytes, first.size), 0);
        }
        teardown(&run);
    }
    free(first.bytes);
}

static void test_pipeline__holes_are_not_read(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct run run;
    setup(&run, 8 * CHUNK, &err);
    const struct np_extent extents[] = {{0, 3 * CHUNK + 4096, NP_EXTENT_ZERO},
                                        {3 * CHUNK + 4096, 4096, 0},
                                        {3 * CHUNK + 8192, 5 * CHUNK - 8192, NP_EXTENT_ZERO}};
    run.disk.extents = extents;
    run.disk.extent_count = 3;
    memset(run.disk.bytes, 0, run.geometry.size);
    run.disk.bytes[3 * CHUNK + 5000] = 1;
    ok(back_up(&run, 2, "lz4", NULL, &err));
    assert_true(run.counts.read == GRANULE);
    assert_true(run.counts.data == GRANULE);
    finish(&run, &err);
    check_by_index(&run, &err);
    check_by_pipe(&run, &err);
    teardown(&run);
}

/* A stored granule of zeroes would have a hash and a digest term, and equal disks would differ. */
static void test_pipeline__zeroes_that_block_status_calls_data_are_stored_as_zero(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct run run;
    setup(&run, 5 * CHUNK + 512, &err);
    memset(run.disk.bytes, 0, run.geometry.size);
    run.disk.bytes[2 * CHUNK + 3 * GRANULE - 1] = 1;
    ok(back_up(&run, 3, "lz4", NULL, &err));
    assert_true(run.counts.allocated == run.geometry.size);
    assert_true(run.counts.data == GRANULE);
    assert_true(run.counts.zero == run.geometry.size - GRANULE);
    finish(&run, &err);
    /* A run of zeroes, the window with the granule, a run of zeroes to the disk's end. */
    assert_true(np_writer_totals(run.writer, 0)->records == 3);
    check_by_index(&run, &err);
    check_by_pipe(&run, &err);
    teardown(&run);
}

static void change_all(void *ctx)
{
    struct memory_disk *disk = ctx;
    for (uint64_t i = 0; i < disk->size; i += 4096)
        disk->bytes[i] = (uint8_t)(disk->bytes[i] * 5 + 1);
}

/* Zero test, hash and codec see the same bytes, read once: else the stream would not read back. */
static void test_pipeline__disk_that_changes_at_every_read_gives_a_sound_stream(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct run run;
    setup(&run, 6 * CHUNK, &err);
    run.disk.on_read = change_all;
    run.disk.on_read_ctx = &run.disk;
    ok(back_up(&run, 1, "zstd:1", NULL, &err));
    assert_true(run.counts.read == run.geometry.size);
    assert_int_equal(run.disk.reads, 6);
    finish(&run, &err);

    struct np_reader *reader;
    struct np_restore_counts counts;
    struct np_input input = memory_input(&run.file);
    struct np_restore_options options = {.workers = 1};
    struct memory_image image;
    memory_image_init(&image, run.geometry.size);
    struct np_restore_disk disk = {
        .target_name = "vda", .geometry = run.geometry, .ops = &memory_target_ops, .target = &image};
    ok(np_reader_new(&input, "s", &reader, &err));
    ok(np_restore_reader(&options, reader, &disk, 1, NULL, NULL, &counts, &err));
    np_reader_free(reader);
    memory_image_clear(&image);
    teardown(&run);
}

static void test_pipeline__failing_read_names_the_disk_and_the_byte(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct run run;
    setup(&run, 20 * CHUNK, &err);
    run.disk.fail_read = 7 * CHUNK + 3 * GRANULE;
    fails(NP_FAILED, back_up(&run, 4, "lz4", NULL, &err));
    assert_string_equal(err.disk, "vda");
    assert_true(err.offset == 7 * CHUNK);
    assert_non_null(strstr(err.message, "injected: read"));
    teardown(&run);
}

static void test_pipeline__failing_block_status_ends_the_run(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct run run;
    setup(&run, 20 * CHUNK, &err);
    run.disk.cut = 2 * CHUNK;
    run.disk.fail_extents = 9 * CHUNK;
    fails(NP_FAILED, back_up(&run, 4, "lz4", NULL, &err));
    assert_non_null(strstr(err.message, "injected: block status"));
    teardown(&run);
}

static void test_pipeline__full_target_ends_the_run(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct run run;
    setup(&run, 20 * CHUNK, &err);
    run.file.limit = 3 * CHUNK;
    fails(NP_FAILED, back_up(&run, 4, "none", NULL, &err));
    assert_non_null(strstr(err.message, "no space left"));
    teardown(&run);
}

static void cancel_at_ten(void *ctx)
{
    static atomic_uint calls;
    if (++calls == 10)
        np_cancel_request(ctx, SIGTERM);
}

static void test_pipeline__signal_ends_the_run(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_cancel cancel;
    struct run run;
    np_cancel_init(&cancel);
    setup(&run, 60 * CHUNK, &err);
    run.disk.on_read = cancel_at_ten;
    run.disk.on_read_ctx = &cancel;
    fails(NP_INTERRUPTED, back_up(&run, 4, "lz4", &cancel, &err));
    assert_int_equal(err.signal, SIGTERM);
    teardown(&run);
    np_cancel_clear(&cancel);
}

static void test_pipeline__failing_write_of_a_restore_names_the_disk_and_the_byte(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct run run;
    struct memory_image image;
    struct np_reader *reader;
    struct np_restore_counts counts;
    struct np_restore_options options = {.workers = 2};
    setup(&run, 20 * CHUNK, &err);
    ok(back_up(&run, 2, "lz4", NULL, &err));
    finish(&run, &err);
    memory_image_init(&image, run.geometry.size);
    image.fail_write = 5 * CHUNK + GRANULE;
    struct np_restore_disk disk = {
        .target_name = "vda", .geometry = run.geometry, .ops = &memory_target_ops, .target = &image};
    struct np_input input = memory_input(&run.file);
    ok(np_reader_new(&input, "s", &reader, &err));
    fails(NP_FAILED, np_restore_reader(&options, reader, &disk, 1, NULL, NULL, &counts, &err));
    assert_string_equal(err.disk, "vda");
    assert_true(err.offset <= image.fail_write && err.offset >= 5 * CHUNK);
    np_reader_free(reader);
    memory_image_clear(&image);
    teardown(&run);
}

/* Buffers have the size of the disk's chunk: what the chain brings must be that disk. */
static void test_pipeline__chain_of_another_geometry_is_refused(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct run run;
    struct np_stream *stream;
    struct np_chain *chain;
    struct np_restore_counts counts;
    struct np_restore_options options = {.workers = 1};
    struct memory_image image;
    uint16_t id = 0;
    setup(&run, 3 * CHUNK, &err);
    ok(back_up(&run, 2, "lz4", NULL, &err));
    finish(&run, &err);
    memory_image_init(&image, run.geometry.size);
    struct np_restore_disk disk = {
        .target_name = "vda", .geometry = run.geometry, .ops = &memory_target_ops, .target = &image};
    disk.geometry.chunk /= 2;
    struct np_input_at input = memory_input_at(&run.file);
    ok(np_stream_open(&input, "s", &stream, &err));
    ok(np_chain_open(&stream, &id, 1, "vda", false, &chain, &err));
    fails(NP_DAMAGED, np_restore_chain(&options, chain, &stream, &id, &disk, &counts, &err));
    np_chain_close(chain);
    np_stream_close(stream);
    memory_image_clear(&image);
    teardown(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pipeline__every_codec_and_odd_size_comes_back),
        cmocka_unit_test(test_pipeline__any_number_of_workers_gives_the_same_file),
        cmocka_unit_test(test_pipeline__holes_are_not_read),
        cmocka_unit_test(test_pipeline__zeroes_that_block_status_calls_data_are_stored_as_zero),
        cmocka_unit_test(test_pipeline__disk_that_changes_at_every_read_gives_a_sound_stream),
        cmocka_unit_test(test_pipeline__failing_read_names_the_disk_and_the_byte),
        cmocka_unit_test(test_pipeline__failing_block_status_ends_the_run),
        cmocka_unit_test(test_pipeline__full_target_ends_the_run),
        cmocka_unit_test(test_pipeline__signal_ends_the_run),
        cmocka_unit_test(test_pipeline__failing_write_of_a_restore_names_the_disk_and_the_byte),
        cmocka_unit_test(test_pipeline__chain_of_another_geometry_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
