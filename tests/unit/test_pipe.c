#include "test.h"

#include "nbdpull/pipe.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define SIZE (3u << 20)

/* The two ends of one that is written, and who reads it, or does not. */
struct ends {
    int written, read;
    struct np_cancel *cancel; /* for who stops the writer */
    uint8_t *got;             /* for who reads */
    bool closed;              /* cannot be opened once more */
};

static void make_pipe(struct ends *ends)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    *ends = (struct ends){.written = fds[1], .read = fds[0]};
}

static void make_socket(struct ends *ends)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    *ends = (struct ends){.written = fds[1], .read = fds[0]};
}

/* A pipe that cannot be opened once more, as one of another user. */
static void make_closed_pipe(struct ends *ends)
{
    make_pipe(ends);
    ends->closed = true;
}

static void open_end(const struct ends *ends, struct np_cancel *cancel, struct np_pipe *to)
{
    struct np_error err = NP_ERROR_INIT;
    struct rlimit was, narrow;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    int next = dup(ends->written);
    close(next);
    narrow =
        (struct rlimit){.rlim_cur = (rlim_t)next + 1, .rlim_max = was.rlim_max}; /* one more, the eventfd */
    if (ends->closed)
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &narrow), 0);
    ok(np_pipe_open(ends->written, true, "test", cancel, to, &err));
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
}

static int write_all(const struct ends *ends, struct np_cancel *cancel, struct np_error *err)
{
    uint8_t *bytes = malloc(SIZE);
    assert_non_null(bytes);
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 251);
    struct iovec pieces[] = {
        {bytes, 1}, {bytes + 1, 0}, {bytes + 1, SIZE / 2}, {bytes + 1 + SIZE / 2, SIZE / 2 - 1}};
    struct np_pipe to;
    open_end(ends, cancel, &to);
    int result = np_pipe_writev(&to, pieces, 4, err);
    np_pipe_close(&to);
    free(bytes);
    return result;
}

static void *stop_when_full(void *ctx)
{
    const struct ends *ends = ctx;
    struct pollfd room = {.fd = ends->written, .events = POLLOUT};
    while (poll(&room, 1, 0) != 0)
        sched_yield();
    np_cancel_request(ends->cancel, SIGTERM);
    return NULL;
}

static void stops_at_a_reader_that_stands_still(void (*make)(struct ends *))
{
    struct np_error err = NP_ERROR_INIT;
    struct np_cancel cancel;
    struct ends ends;
    pthread_t thread;
    np_cancel_init(&cancel);
    make(&ends);
    ends.cancel = &cancel;
    alarm(60); /* a write that waits for ever would hang the test */
    assert_int_equal(pthread_create(&thread, NULL, stop_when_full, &ends), 0);
    fails(NP_INTERRUPTED, write_all(&ends, &cancel, &err));
    alarm(0);
    pthread_join(thread, NULL);
    np_cancel_clear(&cancel);
    close(ends.written);
    close(ends.read);
}

static void *read_all(void *ctx)
{
    const struct ends *ends = ctx;
    for (size_t at = 0; at < SIZE;) {
        ssize_t n = read(ends->read, ends->got + at, SIZE - at);
        if (n <= 0)
            break;
        at += (size_t)n;
    }
    return NULL;
}

static void brings_every_byte(void (*make)(struct ends *))
{
    struct np_error err = NP_ERROR_INIT;
    struct ends ends;
    pthread_t thread;
    make(&ends);
    ends.got = calloc(1, SIZE);
    assert_non_null(ends.got);
    assert_int_equal(pthread_create(&thread, NULL, read_all, &ends), 0);
    ok(write_all(&ends, NULL, &err));
    pthread_join(thread, NULL);
    for (size_t i = 0; i < SIZE; i++)
        if (ends.got[i] != (uint8_t)(i * 7 + i / 251))
            fail_msg("byte %zu", i);
    free(ends.got);
    close(ends.written);
    close(ends.read);
}

static void test_pipe__stop_reaches_a_writer_whatever_it_writes_to(void **state)
{
    (void)state;
    stops_at_a_reader_that_stands_still(make_pipe);
    stops_at_a_reader_that_stands_still(make_socket);
    stops_at_a_reader_that_stands_still(make_closed_pipe);
}

static void test_pipe__every_byte_comes_out_in_order(void **state)
{
    (void)state;
    brings_every_byte(make_pipe);
    brings_every_byte(make_socket);
    brings_every_byte(make_closed_pipe);
}

static void test_pipe__closed_reader_is_an_error(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct ends ends;
    signal(SIGPIPE, SIG_IGN);
    make_socket(&ends);
    close(ends.read);
    fails(NP_FAILED, write_all(&ends, NULL, &err));
    close(ends.written);
    make_pipe(&ends);
    close(ends.read);
    fails(NP_FAILED, write_all(&ends, NULL, &err));
    close(ends.written);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pipe__stop_reaches_a_writer_whatever_it_writes_to),
        cmocka_unit_test(test_pipe__every_byte_comes_out_in_order),
        cmocka_unit_test(test_pipe__closed_reader_is_an_error),
    };
    return cmocka_run_group_tests_name("pipe", tests, NULL, NULL);
}
