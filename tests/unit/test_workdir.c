/* The private directory of a run: made, given away, recognised as in use, removed. */
#include "test.h"

#include "../../src/app/workdir.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char parent[] = "/tmp/test_workdir.XXXXXX";

static int setup(void **state)
{
    (void)state;
    return mkdtemp(parent) == NULL;
}

static int teardown(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    return np_dir_remove(AT_FDCWD, parent, parent, &err);
}

static char *new_name(void)
{
    struct np_error err = NP_ERROR_INIT;
    char *path;
    ok(np_workdir_name(parent, &path, &err));
    return path;
}

static void touch(const char *dir, const char *name)
{
    NP_AUTO_FREE char *path = np_path_join(dir, name);
    NP_AUTO_FD int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
}

static void test_workdir__is_used_for_as_long_as_its_run_lives(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    NP_AUTO_FREE char *path = new_name();
    char byte;
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t run = fork();
    assert_true(run >= 0);
    if (run == 0) {
        int held;
        _exit(np_workdir_make(path, &held, &err) < 0 || write(ready[1], "", 1) != 1 || pause() < 0);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_true(np_workdir_is_used(path));
    assert_int_equal(kill(run, SIGKILL), 0);
    assert_false(np_workdir_is_used(path)); /* also while it is still dying */
    assert_int_equal(waitpid(run, NULL, 0), run);
    ok(np_workdir_remove(path, &err));
    assert_false(np_workdir_is_used(path));
    close(ready[0]);
    close(ready[1]);
}

static void test_workdir__private_whatever_the_umask(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    const mode_t masks[] = {0, 0777};
    for (size_t i = 0; i < 2; i++) {
        NP_AUTO_FREE char *path = new_name();
        NP_AUTO_FD int held = -1;
        struct stat st;
        mode_t was = umask(masks[i]);
        ok(np_workdir_make(path, &held, &err));
        umask(was);
        assert_int_equal(fstat(held, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0700);
        assert_int_equal(fcntl(held, F_GETFD), FD_CLOEXEC);
        ok(np_workdir_remove(path, &err));
    }
}

static void test_workdir__one_that_is_there_is_not_taken(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    NP_AUTO_FREE char *path = new_name();
    int held;
    assert_int_equal(mkdir(path, 0755), 0);
    fails(NP_FAILED, np_workdir_make(path, &held, &err));
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(symlink("/tmp", path), 0);
    fails(NP_FAILED, np_workdir_make(path, &held, &err));
    fails(NP_FAILED, np_workdir_remove(path, &err));
    assert_int_equal(unlink(path), 0);
}

static void test_workdir__given_by_its_descriptor(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct stat st;
    NP_AUTO_FREE char *path = new_name();
    NP_AUTO_FREE char *moved = new_name();
    NP_AUTO_FD int held = -1;
    if (geteuid() != 0)
        skip();
    ok(np_workdir_make(path, &held, &err));
    assert_int_equal(rename(path, moved), 0);
    assert_int_equal(mkdir(path, 0755), 0);
    ok(np_workdir_give(held, path, 65534, 65534, &err));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_uid, 0);
    assert_int_equal(stat(moved, &st), 0);
    assert_int_equal(st.st_uid, 65534);
    ok(np_workdir_remove(path, &err));
    ok(np_workdir_remove(moved, &err));
}

static void test_workdir__only_what_a_run_makes_is_removed(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    NP_AUTO_FREE char *path = new_name();
    NP_AUTO_FREE char *mine = np_path_join(path, "mine");
    NP_AUTO_FD int held = -1;
    ok(np_workdir_make(path, &held, &err));
    touch(path, NP_WORKDIR_SOCKET);
    touch(path, "vda" NP_WORKDIR_SCRATCH);
    touch(path, "0" NP_WORKDIR_EXPORT);
    touch(path, "mine");
    fails(NP_FAILED, np_workdir_remove(path, &err));
    assert_int_equal(access(mine, F_OK), 0);
    assert_int_equal(unlink(mine), 0);
    ok(np_workdir_remove(path, &err));
    ok(np_workdir_remove(path, &err));

    const char *const others[] = {"nbdpull-0123456", "nbdpull-0123456g", "nbdpull-012345678", "web", ""};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        NP_AUTO_FREE char *other = np_path_join(parent, others[i]);
        fails(NP_FAILED, np_workdir_remove(other, &err));
    }
    fails(NP_FAILED, np_workdir_remove("nbdpull-01234567", &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_workdir__is_used_for_as_long_as_its_run_lives),
        cmocka_unit_test(test_workdir__private_whatever_the_umask),
        cmocka_unit_test(test_workdir__one_that_is_there_is_not_taken),
        cmocka_unit_test(test_workdir__given_by_its_descriptor),
        cmocka_unit_test(test_workdir__only_what_a_run_makes_is_removed),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
