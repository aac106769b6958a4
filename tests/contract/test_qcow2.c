/* What is particular to qcow2 targets: the programs behind them, and what becomes of us when they fail. */
#include "contract/target_bench.h"

#include "nbdpull/log.h"

#include <signal.h>

static void test_qcow2__qemu_nbd_killed_in_the_middle(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct bench bench;
    struct writing writings[2];
    void *target, *writer;
    bench_init(&bench, np_target_find("qcow2"), 16 * MIB);
    ok(bench.ops->create(&bench.options, &target, &err));
    ok(bench.ops->writer_open(target, &writer, &err));
    ok(bench.ops->write(writer, "data", 0, 4, &err));
    bench.ops->writer_close(writer);
    pid_t server = any_child();
    assert_true(server > 0);
    kill(server, SIGKILL);
    write_by_two(&bench, target, writings, 0, GRANULE, GRANULE, 16 * MIB);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(writings[i].status, -1);
        assert_int_equal(writings[i].err.class, NP_FAILED);
        assert_non_null(strstr(writings[i].err.message, "qemu-nbd was ended by signal 9"));
        assert_non_null(strstr(writings[i].err.message, path_of(&bench)));
    }
    fails(NP_FAILED, bench.ops->commit(target, &err));
    bench.ops->close(target);
    assert_nothing_left(&bench, 0);
    bench_clear(&bench);
}

static void test_qcow2__qemu_nbd_killed_before_commit(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct bench bench;
    void *target;
    bench_init(&bench, np_target_find("qcow2"), 16 * MIB);
    ok(bench.ops->create(&bench.options, &target, &err));
    kill(any_child(), SIGKILL);
    fails(NP_FAILED, bench.ops->commit(target, &err));
    assert_non_null(strstr(err.message, "qemu-nbd was ended by signal 9"));
    bench.ops->close(target);
    assert_nothing_left(&bench, 0);
    bench_clear(&bench);
}

static void test_qcow2__more_writers_than_agreed_are_refused(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct bench bench;
    void *target, *first, *second, *third;
    bench_init(&bench, np_target_find("qcow2"), MIB);
    ok(bench.ops->create(&bench.options, &target, &err));
    ok(bench.ops->writer_open(target, &first, &err));
    ok(bench.ops->writer_open(target, &second, &err));
    fails(NP_FAILED, bench.ops->writer_open(target, &third, &err));
    bench.ops->writer_close(first);
    err = (struct np_error)NP_ERROR_INIT;
    ok(bench.ops->writer_open(target, &third, &err));
    bench.ops->writer_close(second);
    bench.ops->writer_close(third);
    bench.ops->close(target);
    bench_clear(&bench);
}

/* ---- programs that are not what they should be ---- */

/* Programs for one test, found before the real ones. */
struct programs {
    char directory[32];
    char *path; /* as it was */
};

static void programs_init(struct programs *programs, const char *name, const char *script)
{
    char file[64], path[512];
    *programs = (struct programs){.directory = "/tmp/nbdpull-test-XXXXXX", .path = strdup(getenv("PATH"))};
    assert_non_null(mkdtemp(programs->directory));
    snprintf(file, sizeof(file), "%s/%s", programs->directory, name);
    FILE *out = fopen(file, "we");
    assert_non_null(out);
    fprintf(out, "#!/bin/sh\n%s\n", script);
    fclose(out);
    assert_int_equal(chmod(file, 0755), 0);
    snprintf(path, sizeof(path), "%s:%s", programs->directory, programs->path);
    setenv("PATH", path, 1);
}

static void programs_clear(struct programs *programs)
{
    struct np_error err = NP_ERROR_INIT;
    setenv("PATH", programs->path, 1);
    free(programs->path);
    ok(np_dir_remove(AT_FDCWD, programs->directory, programs->directory, &err));
}

/* A whole restore with that program must fail in the way given, and leave nothing. */
static void fails_with(const char *name, const char *script, bool in_create, const char *message)
{
    struct np_error err = NP_ERROR_INIT;
    struct bench bench;
    struct programs programs;
    struct writing writings[2];
    void *target = NULL;
    bench_init(&bench, np_target_find("qcow2"), 4 * MIB);
    programs_init(&programs, name, script);
    if (in_create) {
        fails(NP_FAILED, bench.ops->create(&bench.options, &target, &err));
    } else {
        ok(bench.ops->create(&bench.options, &target, &err));
        write_by_two(&bench, target, writings, 0, GRANULE, GRANULE, 4 * MIB);
        assert_int_equal(writings[0].status + writings[1].status, 0);
        fails(NP_FAILED, bench.ops->commit(target, &err));
    }
    if (strstr(err.message, message) == NULL || strstr(err.message, path_of(&bench)) == NULL)
        fail_msg("%s", err.message);
    bench.ops->close(target);
    programs_clear(&programs);
    assert_nothing_left(&bench, 0);
    bench_clear(&bench);
}

static void test_qcow2__a_bad_end_of_qemu_nbd_fails_the_commit(void **state)
{
    (void)state;
    fails_with("qemu-nbd",
               "sh -c 'export LISTEN_PID=$$; PATH=${PATH#*:}; exec qemu-nbd \"$@\"' sh \"$@\"\n"
               "echo it ended badly >&2; exit 7",
               false, "qemu-nbd failed with status 7: it ended badly");
}

static void test_qcow2__a_flush_that_fails_fails_the_commit(void **state)
{
    (void)state;
    fails_with("qemu-nbd",
               "exec nbdkit -f --filter=exitlast eval get_size='echo 4M' pread='head -c $3 /dev/zero' "
               "pwrite='cat >/dev/null' flush='echo ENOSPC >&2; exit 1'",
               false, "No space left on device");
}

static void test_qcow2__an_image_that_is_not_clean_is_not_committed(void **state)
{
    (void)state;
    fails_with("qemu-img",
               "PATH=${PATH#*:}\n"
               "case $1 in check) echo 3 leaked clusters; exit 3;; *) exec qemu-img \"$@\";; esac",
               false, "the finished image is not clean: qemu-img failed with status 3: 3 leaked clusters");
}

static void test_qcow2__programs_that_do_not_work_are_told_at_once(void **state)
{
    (void)state;
    fails_with("qemu-img", "echo no room >&2; exit 1", true, "qemu-img failed with status 1: no room");
    fails_with("qemu-nbd", "echo no image >&2; exit 1", true, "qemu-nbd failed with status 1: no image");
    fails_with("qemu-nbd", "kill -9 $$", true, "qemu-nbd was ended by signal 9");
}

/* A server that hangs in the handshake and a program that takes for ever are left when somebody asks. */
static void *cancel_soon(void *ctx)
{
    nanosleep(&(struct timespec){.tv_nsec = 100 * 1000 * 1000}, NULL);
    np_cancel_request(ctx, SIGTERM);
    return NULL;
}

static void hangs_until_asked(const char *name)
{
    struct np_error err = NP_ERROR_INIT;
    struct bench bench;
    struct programs programs;
    pthread_t thread;
    void *target = NULL;
    bench_init(&bench, np_target_find("qcow2"), 4 * MIB);
    programs_init(&programs, name, "exec sleep 60");
    assert_int_equal(pthread_create(&thread, NULL, cancel_soon, &bench.cancel), 0);
    fails(NP_INTERRUPTED, bench.ops->create(&bench.options, &target, &err));
    assert_int_equal(err.signal, SIGTERM);
    pthread_join(thread, NULL);
    programs_clear(&programs);
    assert_nothing_left(&bench, 0);
    bench_clear(&bench);
}

static void test_qcow2__programs_that_hang_are_left_when_asked(void **state)
{
    (void)state;
    hangs_until_asked("qemu-img");
    hangs_until_asked("qemu-nbd");
}

/* Names that QEMU would take for a protocol or an option. */
static void test_qcow2__directories_with_odd_names(void **state)
{
    (void)state;
    static const char *const odd[] = {"nbd:x", "-o", "a,b=c", "json:{}"};
    struct np_error err = NP_ERROR_INIT;
    struct bench bench;
    bench_init(&bench, np_target_find("qcow2"), MIB);
    int here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), outer = bench.options.dir;
    assert_int_equal(fchdir(outer), 0);
    for (size_t i = 0; i < NP_ARRAY_SIZE(odd); i++) {
        struct writing writings[2];
        void *target;
        ok(np_dir_make(outer, odd[i], odd[i], &err));
        bench.options.dir_path = odd[i];
        bench.options.dir = np_dir_open(outer, odd[i], odd[i], &err);
        ok(bench.ops->create(&bench.options, &target, &err));
        write_by_two(&bench, target, writings, 0, GRANULE, GRANULE, MIB);
        ok(bench.ops->commit(target, &err));
        bench.ops->close(target);
        assert_int_equal(faccessat(bench.options.dir, bench.name, F_OK, 0), 0);
        close(bench.options.dir);
    }
    bench.options.dir = outer;
    assert_int_equal(fchdir(here), 0);
    close(here);
    bench_clear(&bench);
}

static void keep_warning(void *ctx, enum np_log_level level, const char *line)
{
    if (level == NP_LOG_WARNING)
        snprintf(ctx, 512, "%s", line);
}

static void test_qcow2__a_size_that_is_rounded_up_is_told(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct bench bench;
    char warning[512] = "";
    void *target;
    np_log_to(keep_warning, warning);
    bench_init(&bench, np_target_find("qcow2"), MIB);
    ok(bench.ops->create(&bench.options, &target, &err));
    bench.ops->close(target);
    assert_string_equal(warning, "");
    bench.options.size = MIB - 1;
    ok(bench.ops->create(&bench.options, &target, &err));
    bench.ops->close(target);
    assert_non_null(strstr(warning, "1048575 bytes"));
    assert_non_null(strstr(warning, "1048576"));
    np_log_to(NULL, NULL);
    bench_clear(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_qcow2__qemu_nbd_killed_in_the_middle),
        cmocka_unit_test(test_qcow2__qemu_nbd_killed_before_commit),
        cmocka_unit_test(test_qcow2__more_writers_than_agreed_are_refused),
        cmocka_unit_test(test_qcow2__a_bad_end_of_qemu_nbd_fails_the_commit),
        cmocka_unit_test(test_qcow2__a_flush_that_fails_fails_the_commit),
        cmocka_unit_test(test_qcow2__an_image_that_is_not_clean_is_not_committed),
        cmocka_unit_test(test_qcow2__programs_that_do_not_work_are_told_at_once),
        cmocka_unit_test(test_qcow2__programs_that_hang_are_left_when_asked),
        cmocka_unit_test(test_qcow2__directories_with_odd_names),
        cmocka_unit_test(test_qcow2__a_size_that_is_rounded_up_is_told),
    };
    return cmocka_run_group_tests(tests, make_runtime, remove_runtime);
}
