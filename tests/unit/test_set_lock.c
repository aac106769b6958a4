#include "set_fixture.h"

#include <sys/wait.h>

/* ---- lock ---- */

/* A child that holds the set's lock until its end of the pipe is closed. */
static pid_t start_holder(int hold[2])
{
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(hold), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct np_error err = NP_ERROR_INIT;
        struct np_set *set;
        close(hold[1]);
        if (np_set_open(fixture.path, NP_SET_CREATE, "backup -d mail", &set, &err) < 0 ||
            write(ready[1], "", 1) != 1)
            _exit(1);
        _exit(read(hold[0], &byte, 1) == 0 ? 0 : 1);
    }
    close(ready[1]);
    close(hold[0]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return child;
}

static void test_lock__second_writer_is_told_who_holds_it(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_set *set;
    int hold[2];
    char pid[32];
    pid_t child = start_holder(hold);
    snprintf(pid, sizeof(pid), "process %d ", (int)child);
    FAILS_WITH(NP_BUSY, np_set_open(fixture.path, NP_SET_WRITE, "", &set, &err), pid);
    FAILS_WITH(NP_BUSY, np_set_open(fixture.path, NP_SET_WRITE, "", &set, &err), "(backup -d mail) since 20");
    np_set_close(open_set(NP_SET_READ)); /* readers do not mind */

    close(hold[1]);
    assert_int_equal(waitpid(child, NULL, 0), child);
    np_set_close(open_set(NP_SET_WRITE)); /* it died with the process */
}

/* Who only looks changes nothing: not even the lock says so. */
static void test_lock__of_who_only_looks(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_set *second;
    np_set_close(open_set(NP_SET_CREATE));
    NP_AUTO_FREE char *before = read_text("lock");
    {
        NP_OPEN(set, NP_SET_REPAIR_LOOK);
        NP_OPEN(another, NP_SET_REPAIR_LOOK);
        FAILS_WITH(NP_BUSY, np_set_open(fixture.path, NP_SET_WRITE, "", &second, &err), "only looks at it");
    }
    NP_AUTO_FREE char *after = read_text("lock");
    assert_string_equal(before, after);
    {
        NP_OPEN(set, NP_SET_WRITE);
        FAILS_WITH(NP_BUSY, np_set_open(fixture.path, NP_SET_REPAIR_LOOK, "", &second, &err), "(backup vm1)");
    }
    assert_int_equal(unlink(at("lock")), 0);
    np_set_close(open_set(NP_SET_REPAIR_LOOK));
    assert_false(exists("lock"));
}

static void test_lock__inherited_descriptor_keeps_it_after_close(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_set *second;
    struct np_set *set = open_set(NP_SET_CREATE);
    NP_AUTO_FD int guardian = dup(np_set_lock_fd(set));
    assert_true(guardian >= 0);
    np_set_close(set);
    fails(NP_BUSY, np_set_open(fixture.path, NP_SET_WRITE, "", &second, &err));
    close(np_steal_fd(&guardian));
    np_set_close(open_set(NP_SET_WRITE));
}

static void test_lock__dead_holder_with_a_live_guardian_is_said(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_set *second;
    NP_OPEN(set, NP_SET_CREATE);
    char *text = read_text("lock");
    char pid[32];
    snprintf(pid, sizeof(pid), "\"pid\": %d", (int)getpid());
    NP_AUTO_FD int fd = open(at("lock"), O_WRONLY); /* in place: the lock is on this file */
    char *place = strstr(text, pid);
    assert_non_null(place);
    snprintf(pid, sizeof(pid), "\"pid\": 4194305,"); /* above the kernel's highest */
    char changed[4096];
    int size = snprintf(changed, sizeof(changed), "{%s%s", pid, strchr(place, ',') + 1);
    free(text);
    assert_int_equal(pwrite(fd, changed, (size_t)size, 0), size);
    assert_int_equal(ftruncate(fd, size), 0);
    FAILS_WITH(NP_BUSY, np_set_open(fixture.path, NP_SET_WRITE, "", &second, &err), "guardian");
}

static void test_lock__symbolic_link_is_refused(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_set *set;
    np_set_close(open_set(NP_SET_CREATE));
    assert_int_equal(unlink(at("lock")), 0);
    assert_int_equal(symlink("set.json", at("lock")), 0);
    FAILS_WITH(NP_DAMAGED, np_set_open(fixture.path, NP_SET_WRITE, "", &set, &err), "symbolic link");
}

/* Sets that were copied as names share it; or somebody has given it the name of a file that is another's. */
static void test_lock__file_with_other_names_is_not_written_to(void **state)
{
    (void)state;
    struct stat st;
    np_set_close(open_set(NP_SET_CREATE));
    assert_int_equal(unlink(at("lock")), 0);
    write_text("foreign", "not ours");
    assert_int_equal(chmod(at("foreign"), 0644), 0);
    assert_int_equal(link(at("foreign"), at("lock")), 0);

    struct np_error err = NP_ERROR_INIT;
    struct np_set *second;
    NP_OPEN(set, NP_SET_WRITE);
    fails(NP_BUSY, np_set_open(fixture.path, NP_SET_WRITE, "", &second, &err));
    NP_AUTO_FREE char *text = read_text("foreign");
    assert_string_equal(text, "not ours");
    assert_int_equal(stat(at("foreign"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0644);
}

static void test_lock__what_is_no_file_is_refused(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_set *set;
    np_set_close(open_set(NP_SET_CREATE));
    assert_int_equal(unlink(at("lock")), 0);
    assert_int_equal(mkfifo(at("lock"), 0600), 0);
    FAILS_WITH(NP_DAMAGED, np_set_open(fixture.path, NP_SET_WRITE, "", &set, &err), "not a regular file");
    assert_int_equal(unlink(at("lock")), 0);
    assert_int_equal(mkdir(at("lock"), 0700), 0);
    fails(NP_FAILED, np_set_open(fixture.path, NP_SET_WRITE, "", &set, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_lock__second_writer_is_told_who_holds_it),
        TEST(test_lock__of_who_only_looks),
        TEST(test_lock__inherited_descriptor_keeps_it_after_close),
        TEST(test_lock__dead_holder_with_a_live_guardian_is_said),
        TEST(test_lock__symbolic_link_is_refused),
        TEST(test_lock__file_with_other_names_is_not_written_to),
        TEST(test_lock__what_is_no_file_is_refused),
    };
    return cmocka_run_group_tests_name("set_lock", tests, NULL, NULL);
}
