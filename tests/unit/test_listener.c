/* Where the private socket is made. */
#include "test.h"

#include "nbdpull/file.h"
#include "nbdpull/listener.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* Where it was made, the system remembers; nothing is there any more, and we reach it. */
static void assert_made_in(const char *parent)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_listener listener;
    struct stat st;
    char was[256] = "";
    ok(np_listener_open(&listener, 1, &err));
    assert_true(readlink(listener.path, was, sizeof(was) - 1) > 0);
    assert_memory_equal(was, parent, strlen(parent));
    assert_memory_equal(was + strlen(parent), "/nbdpull-", strlen("/nbdpull-"));
    char *end = strstr(was, "/nbd (deleted)");
    assert_non_null(end);
    *end = '\0';
    assert_int_equal(access(was, F_OK), -1);
    assert_int_equal(stat(listener.path, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 07777, 0600);

    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, listener.path, sizeof(address.sun_path));
    int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(client, (struct sockaddr *)&address, sizeof(address)), 0);
    close(client);
    np_listener_close(&listener);
    np_listener_close(&listener);
    assert_int_equal(access(listener.path, F_OK), -1);
}

static void test_listener__the_runtime_directory_unless_it_is_too_long(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    char parent[128] = "/tmp/nbdpull-test-XXXXXX";
    assert_non_null(mkdtemp(parent));
    size_t base = strlen(parent);
    for (size_t length = 60; length <= 70; length++) {
        parent[base] = '/';
        memset(parent + base + 1, 'x', length - base - 1);
        parent[length] = '\0';
        ok(np_dir_make(AT_FDCWD, parent, parent, &err));
        setenv("XDG_RUNTIME_DIR", parent, 1);
        assert_made_in(length <= 64 ? parent : "/tmp");
    }
    parent[base] = '\0';
    ok(np_dir_remove(AT_FDCWD, parent, parent, &err));
}

static void test_listener__without_a_usable_runtime_directory(void **state)
{
    (void)state;
    unsetenv("XDG_RUNTIME_DIR");
    assert_made_in("/tmp");
    setenv("XDG_RUNTIME_DIR", "relative", 1);
    assert_made_in("/tmp");
    setenv("XDG_RUNTIME_DIR", "/nonexistent", 1);
    assert_made_in("/tmp");
}

/* Who becomes root without a login may have another user's, who could put a socket in the place of ours. */
static void test_listener__not_where_somebody_else_may_write(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    char parent[] = "/tmp/nbdpull-test-XXXXXX";
    assert_non_null(mkdtemp(parent));
    setenv("XDG_RUNTIME_DIR", parent, 1);
    assert_made_in(parent);
    assert_int_equal(chmod(parent, 0722), 0);
    assert_made_in("/tmp");
    if (geteuid() == 0) {
        assert_int_equal(chmod(parent, 0700), 0);
        assert_int_equal(chown(parent, 65534, 65534), 0);
        assert_made_in("/tmp");
    }
    unsetenv("XDG_RUNTIME_DIR");
    ok(np_dir_remove(AT_FDCWD, parent, parent, &err));
}

static void test_listener__usable_whatever_the_umask(void **state)
{
    (void)state;
    unsetenv("XDG_RUNTIME_DIR");
    mode_t before = umask(0777);
    assert_made_in("/tmp");
    umask(before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_listener__the_runtime_directory_unless_it_is_too_long),
        cmocka_unit_test(test_listener__without_a_usable_runtime_directory),
        cmocka_unit_test(test_listener__not_where_somebody_else_may_write),
        cmocka_unit_test(test_listener__usable_whatever_the_umask),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
