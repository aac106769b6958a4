/* Children that are handed a listening socket. */
#include "test.h"

#include "nbdpull/listener.h"
#include "nbdpull/subprocess.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void test_subprocess__a_listening_socket_is_handed_over(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_listener listener;
    struct np_subprocess child;
    setenv("LISTEN_FDS", "7", 1); /* ours own, which is not the child's */
    setenv("LISTEN_FDNAMES", "other", 1);
    ok(np_listener_open(&listener, 1, &err));
    const char *const argv[] = {
        "sh", "-c",
        "test \"$LISTEN_PID\" = $$ && test \"$LISTEN_FDS$LISTEN_FDNAMES\" = 1 && test -S /dev/fd/3", NULL};
    ok(np_subprocess_start_socket(&child, argv, listener.fd, SIGTERM, &err));
    ok(np_subprocess_wait(&child, &err));
    assert_string_equal(getenv("LISTEN_FDS"), "7");
    np_listener_close(&listener);
}

/* This is what makes waiting for a server's readiness unnecessary. */
static void test_subprocess__a_client_is_told_when_the_child_dies_unready(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_listener listener;
    struct np_subprocess child;
    ok(np_listener_open(&listener, 1, &err));
    int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, listener.path, sizeof(address.sun_path));
    assert_int_equal(connect(client, (struct sockaddr *)&address, sizeof(address)), 0);

    const char *const argv[] = {"sh", "-c", "echo no image >&2; exit 3", NULL};
    ok(np_subprocess_start_socket(&child, argv, listener.fd, SIGTERM, &err));
    np_listener_hand_over(&listener);
    char byte;
    assert_true(recv(client, &byte, 1, 0) <= 0);
    fails(NP_FAILED, np_subprocess_wait(&child, &err));
    assert_string_equal(err.message, "sh failed with status 3: no image");
    close(client);
    np_listener_close(&listener);
    assert_int_equal(access(listener.path, F_OK), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_subprocess__a_listening_socket_is_handed_over),
        cmocka_unit_test(test_subprocess__a_client_is_told_when_the_child_dies_unready),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
