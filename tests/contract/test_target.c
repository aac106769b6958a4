/* What every restore target promises, run over the whole table. */
#include "contract/target_bench.h"

#include <signal.h>
#include <sys/mount.h>
#include <time.h>

/* The image's bytes as the guest would see them. */
static uint8_t *read_back(const struct bench *bench, uint64_t *size)
{
    struct np_error err = NP_ERROR_INIT;
    char *bytes;
    size_t got;
    const char *raw = strcmp(bench->ops->name, "raw") == 0 ? bench->name : "as.raw";
    char copy[128];
    snprintf(copy, sizeof(copy), "%s/%s", bench->directory, raw);
    const char *argv[] = {"qemu-img",     "convert", "-f", bench->ops->name, "-O", "raw",
                          path_of(bench), copy,      NULL};
    if (raw != bench->name)
        ok(np_subprocess_run(argv, &err));
    ok(np_file_read_whole(bench->options.dir, copy, raw, 256 * MIB, &bytes, &got, &err));
    *size = got;
    return (uint8_t *)bytes;
}

/* Writes and commits, and compares all bytes with what was written where. */
static void write_and_compare(struct bench *bench, uint64_t begin, uint64_t step, size_t length)
{
    struct np_error err = NP_ERROR_INIT;
    struct writing writings[2];
    void *target;
    uint64_t end = bench->options.size, size;
    ok(bench->ops->create(&bench->options, &target, &err));
    write_by_two(bench, target, writings, begin, step, length, end);
    for (size_t i = 0; i < 2; i++)
        if (writings[i].status != 0)
            fail_msg("%s", writings[i].err.message);
    ok(bench->ops->commit(target, &err));
    bench->ops->close(target);
    assert_nothing_left(bench, 1);

    NP_AUTO_FREE uint8_t *bytes = read_back(bench, &size);
    bool rounds = strcmp(bench->ops->name, "qcow2") == 0;
    assert_int_equal(size, rounds ? np_align_up(end, 512) : end);
    for (uint64_t at = 0; at < size; at++) {
        bool written = at < end && at >= begin && (at - begin) % step < length;
        if (bytes[at] != (written ? pattern(at) : 0))
            fail_msg("%s: byte %ju is %u", bench->ops->name, (uintmax_t)at, bytes[at]);
    }
}

#define for_each_target(ops)                                                                                 \
    for (const struct np_target_ops *const *each = np_target_all(), *ops; (ops = *each) != NULL; each++)

static void test_target__what_two_threads_wrote_is_there(void **state)
{
    (void)state;
    for_each_target(ops)
    {
        struct bench bench;
        bench_init(&bench, ops, 33 * MIB + 512);
        write_and_compare(&bench, 0, 3 * GRANULE, GRANULE); /* the last granule has 512 bytes */
        struct stat st;
        assert_int_equal(stat(path_of(&bench), &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
        bench_clear(&bench);
    }
}

static void test_target__odd_offsets_and_an_odd_size(void **state)
{
    (void)state;
    for_each_target(ops)
    {
        struct bench bench;
        bench_init(&bench, ops, 3 * MIB + 12345);
        write_and_compare(&bench, 7, 40961, 30011);
        bench_clear(&bench);
    }
}

static void test_target__a_disk_of_no_bytes(void **state)
{
    (void)state;
    for_each_target(ops)
    {
        struct bench bench;
        bench_init(&bench, ops, 0);
        write_and_compare(&bench, 0, 1, 1);
        bench_clear(&bench);
    }
}

static void test_target__writes_of_32_mib(void **state)
{
    (void)state;
    for_each_target(ops)
    {
        struct bench bench;
        bench_init(&bench, ops, 65 * MIB);
        write_and_compare(&bench, MIB, 32 * MIB, 32 * MIB);
        bench_clear(&bench);
    }
}

static void test_target__what_was_not_written_takes_no_room(void **state)
{
    (void)state;
    for_each_target(ops)
    {
        struct np_error err = NP_ERROR_INIT;
        struct bench bench;
        struct writing writings[2];
        struct stat st;
        void *target;
        bench_init(&bench, ops, 4096 * MIB + 512);
        ok(ops->create(&bench.options, &target, &err));
        write_by_two(&bench, target, writings, 0, 1024 * MIB, GRANULE, bench.options.size);
        ok(ops->commit(target, &err));
        ops->close(target);
        assert_int_equal(stat(path_of(&bench), &st), 0);
        assert_in_range(st.st_blocks * 512, 4 * GRANULE, 4 * MIB);
        bench_clear(&bench);
    }
}

static void test_target__preallocations_are_kept_or_refused(void **state)
{
    (void)state;
    static const char *const known[] = {"off", "metadata", "falloc", "full"};
    for_each_target(ops) for (size_t i = 0; i < NP_ARRAY_SIZE(known); i++)
    {
        struct np_error err = NP_ERROR_INIT;
        struct bench bench;
        void *target;
        bench_init(&bench, ops, 8 * MIB + 512);
        bench.options.preallocation = known[i];
        if (ops->create(&bench.options, &target, &err) == 0) {
            ops->close(target);
            assert_int_equal(entries_in(bench.directory), 0);
            write_and_compare(&bench, GRANULE, 2 * MIB, GRANULE);
            struct stat st;
            assert_int_equal(stat(path_of(&bench), &st), 0);
            assert_true(i < 2 || (uint64_t)st.st_blocks * 512 >= 8 * MIB);
        } else {
            assert_int_equal(err.class, NP_USAGE);
            assert_string_equal(known[i], "metadata");
            assert_string_equal(ops->name, "raw");
        }
        bench_clear(&bench);
    }
}

static void test_target__an_unknown_preallocation_is_refused(void **state)
{
    (void)state;
    for_each_target(ops)
    {
        struct np_error err = NP_ERROR_INIT;
        struct bench bench;
        void *target;
        bench_init(&bench, ops, MIB);
        bench.options.preallocation = "off,cluster_size=512";
        fails(NP_USAGE, ops->create(&bench.options, &target, &err));
        bench_clear(&bench);
    }
}

static void test_target__an_existing_name_is_never_replaced(void **state)
{
    (void)state;
    for_each_target(ops)
    {
        struct np_error err = NP_ERROR_INIT;
        struct bench bench;
        void *target;
        uint8_t kept[5] = "";
        bench_init(&bench, ops, MIB);
        ok(np_file_replace(bench.options.dir, "x", bench.name, "kept", 4, &err));
        fails(NP_FAILED, ops->create(&bench.options, &target, &err));
        assert_non_null(strstr(err.message, bench.name));
        assert_int_equal(entries_in(bench.directory), 1);

        /* and not when it comes up in the meantime */
        assert_int_equal(unlinkat(bench.options.dir, bench.name, 0), 0);
        err = (struct np_error)NP_ERROR_INIT;
        ok(ops->create(&bench.options, &target, &err));
        ok(np_file_replace(bench.options.dir, "x", bench.name, "kept", 4, &err));
        fails(NP_FAILED, ops->commit(target, &err));
        ops->close(target);
        assert_int_equal(entries_in(bench.directory), 1);
        NP_AUTO_FD int fd = openat(bench.options.dir, bench.name, O_RDONLY | O_CLOEXEC);
        assert_int_equal(read(fd, kept, 5), 4);
        assert_string_equal(kept, "kept");
        bench_clear(&bench);
    }
}

static void test_target__nothing_is_left_without_commit(void **state)
{
    (void)state;
    for_each_target(ops)
    {
        struct np_error err = NP_ERROR_INIT;
        struct bench bench;
        struct writing writings[2];
        void *target;
        bench_init(&bench, ops, 4 * MIB);
        ok(ops->create(&bench.options, &target, &err));
        assert_int_equal(faccessat(bench.options.dir, bench.name, F_OK, AT_SYMLINK_NOFOLLOW), -1);
        write_by_two(&bench, target, writings, 0, GRANULE, GRANULE, 4 * MIB);
        ops->close(target);
        assert_nothing_left(&bench, 0);
        ops->close(NULL);
        ops->writer_close(NULL);
        bench_clear(&bench);
    }
}

static void test_target__writes_beyond_the_end_are_refused(void **state)
{
    (void)state;
    for_each_target(ops)
    {
        struct np_error err = NP_ERROR_INIT;
        struct bench bench;
        void *target, *writer;
        bench_init(&bench, ops, MIB);
        ok(ops->create(&bench.options, &target, &err));
        ok(ops->writer_open(target, &writer, &err));
        fails(NP_FAILED, ops->write(writer, "0123456789", MIB - 9, 10, &err));
        fails(NP_FAILED, ops->write(writer, "0123456789", UINT64_MAX - 4, 10, &err));
        ops->writer_close(writer);
        ops->close(target);
        bench_clear(&bench);
    }
}

/* ---- what goes wrong ---- */

/* Puts a file system of its own below the bench, or skips the test. */
static void mount_on(struct bench *bench, const char *type, const char *options)
{
    if (mount("none", bench->directory, type, 0, options) < 0) {
        print_message("[  SKIP    ] mounting a %s is not allowed here\n", type);
        bench_clear(bench);
        skip();
    }
    close(bench->options.dir);
    bench->options.dir = open(bench->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(bench->options.dir >= 0);
}

static void unmount(struct bench *bench)
{
    assert_int_equal(umount2(bench->directory, MNT_DETACH), 0);
}

static void test_target__a_file_system_without_direct_io(void **state)
{
    (void)state;
    for_each_target(ops)
    {
        struct bench bench;
        bench_init(&bench, ops, MIB + 512);
        mount_on(&bench, "ramfs", NULL);
        NP_AUTO_FD int fd = openat(bench.options.dir, "x", O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
        assert_int_equal(fd, -1);
        unlinkat(bench.options.dir, "x", 0);
        write_and_compare(&bench, GRANULE, 2 * GRANULE, GRANULE);
        unmount(&bench);
        bench_clear(&bench);
    }
}

static void test_target__a_full_disk_is_an_error_that_names_the_image(void **state)
{
    (void)state;
    for_each_target(ops)
    {
        struct np_error err = NP_ERROR_INIT;
        struct bench bench;
        struct writing writings[2];
        void *target;
        bench_init(&bench, ops, 64 * MIB);
        mount_on(&bench, "tmpfs", "size=8m");
        ok(ops->create(&bench.options, &target, &err));
        write_by_two(&bench, target, writings, 0, MIB, MIB, 64 * MIB);
        for (size_t i = 0; i < 2; i++) {
            assert_int_equal(writings[i].status, -1);
            assert_int_equal(writings[i].err.class, NP_FAILED);
            assert_non_null(strstr(writings[i].err.message, path_of(&bench)));
            assert_non_null(strstr(writings[i].err.message, "No space left"));
        }
        ops->close(target);
        assert_int_equal(entries_in(bench.directory), 0);
        unmount(&bench);
        bench_clear(&bench);
    }
}

static void *cancel_later(void *ctx)
{
    nanosleep(&(struct timespec){.tv_nsec = 50 * 1000 * 1000}, NULL);
    np_cancel_request(ctx, SIGINT);
    return NULL;
}

static void test_target__a_request_to_stop_ends_writers_and_commit(void **state)
{
    (void)state;
    for_each_target(ops)
    {
        struct np_error err = NP_ERROR_INIT;
        struct bench bench;
        struct writing writings[2];
        pthread_t thread;
        void *target;
        bench_init(&bench, ops, 1 << 20);
        ok(ops->create(&bench.options, &target, &err));
        assert_int_equal(pthread_create(&thread, NULL, cancel_later, &bench.cancel), 0);
        do /* for ever, were it not asked to stop */
            write_by_two(&bench, target, writings, 0, GRANULE, GRANULE, 1 << 20);
        while (writings[0].status == 0 && writings[1].status == 0);
        pthread_join(thread, NULL);
        for (size_t i = 0; i < 2; i++)
            assert_true(writings[i].status == 0 || writings[i].err.class == NP_INTERRUPTED);
        fails(NP_INTERRUPTED, ops->commit(target, &err));
        ops->close(target);
        assert_nothing_left(&bench, 0);

        fails(NP_INTERRUPTED, ops->create(&bench.options, &target, &err));
        assert_nothing_left(&bench, 0);
        bench_clear(&bench);
    }
}

static void test_target__names_are_found_exactly(void **state)
{
    (void)state;
    for_each_target(ops) assert_ptr_equal(np_target_find(ops->name), ops);
    assert_null(np_target_find("qcow"));
    assert_null(np_target_find("RAW"));
    assert_null(np_target_find(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_target__what_two_threads_wrote_is_there),
        cmocka_unit_test(test_target__odd_offsets_and_an_odd_size),
        cmocka_unit_test(test_target__a_disk_of_no_bytes),
        cmocka_unit_test(test_target__writes_of_32_mib),
        cmocka_unit_test(test_target__what_was_not_written_takes_no_room),
        cmocka_unit_test(test_target__preallocations_are_kept_or_refused),
        cmocka_unit_test(test_target__an_unknown_preallocation_is_refused),
        cmocka_unit_test(test_target__an_existing_name_is_never_replaced),
        cmocka_unit_test(test_target__nothing_is_left_without_commit),
        cmocka_unit_test(test_target__writes_beyond_the_end_are_refused),
        cmocka_unit_test(test_target__a_file_system_without_direct_io),
        cmocka_unit_test(test_target__a_full_disk_is_an_error_that_names_the_image),
        cmocka_unit_test(test_target__a_request_to_stop_ends_writers_and_commit),
        cmocka_unit_test(test_target__names_are_found_exactly),
    };
    return cmocka_run_group_tests(tests, make_runtime, remove_runtime);
}
