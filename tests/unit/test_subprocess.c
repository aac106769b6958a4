/* Children that are handed a listening socket. */
#include "test.h"

#include "nbdpull/bytes.h"
#include "nbdpull/child.h"
#include "nbdpull/listener.h"
#include "nbdpull/subprocess.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
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

/* As where the kernel or a sandbox has none. */
static void refuse_pidfd_open(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pidfd_open, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = NP_ARRAY_SIZE(filter), .filter = filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
        _exit(2);
}

/* It waited for ever where the process did not hear the SIGTERM, as qemu-nbd does not when it begins. */
static void test_child__that_cannot_be_watched_is_ended(void **state)
{
    (void)state;
    pid_t tester = fork();
    assert_true(tester >= 0);
    if (tester == 0) {
        const char *const argv[] = {"sh", "-c", "trap '' TERM; while :; do sleep 1; done", NULL};
        struct np_error err = NP_ERROR_INIT;
        struct np_listener listener;
        struct np_child child;
        alarm(20);
        refuse_pidfd_open();
        signal(SIGTERM, SIG_IGN); /* inherited, so deaf from the first moment */
        np_child_init(&child);
        if (np_listener_open(&listener, 1, &err) < 0)
            _exit(3);
        int started = np_child_start(&child, argv, listener.fd, SIGKILL, &err);
        np_listener_close(&listener);
        _exit(started < 0 && strstr(err.message, "cannot watch the process") != NULL ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(tester, &status, 0), tester);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_child__that_cannot_be_watched_is_ended),
        cmocka_unit_test(test_subprocess__a_listening_socket_is_handed_over),
        cmocka_unit_test(test_subprocess__a_client_is_told_when_the_child_dies_unready),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
