#include "nbdpull/pipe.h"

#include "nbdpull/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static void wake_up(void *ctx)
{
    const struct np_pipe *pipe = ctx;
    eventfd_write(pipe->wake, 1);
}

/*
 * A write into a pipe blocks until all is taken, also after poll() said that there is room. Opening the pipe
 * once more gives a description of our own that may be non-blocking without anybody else noticing. Where that
 * is refused (a pipe of another user) small writes have to do.
 */
static void prepare_for_writing(struct np_pipe *pipe)
{
    struct stat st;
    char path[32];
    if (fstat(pipe->fd, &st) < 0)
        return;
    pipe->socket = S_ISSOCK(st.st_mode);
    pipe->blocks = S_ISFIFO(st.st_mode);
    pipe->file = S_ISREG(st.st_mode) || S_ISBLK(st.st_mode);
    if (!pipe->blocks)
        return;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", pipe->fd);
    int fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return;
    pipe->fd = fd;
    pipe->own = true;
    pipe->blocks = false;
}

int np_pipe_open(int fd, bool output, const char *name, struct np_cancel *cancel, struct np_pipe *pipe,
                 struct np_error *err)
{
    *pipe = (struct np_pipe){.fd = fd, .wake = eventfd(0, EFD_CLOEXEC), .cancel = cancel};
    if (pipe->wake < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s", name);
    pipe->name = name;
    if (output)
        prepare_for_writing(pipe);
    np_cancel_add(cancel, &pipe->entry, wake_up, pipe);
    return 0;
}

void np_pipe_close(struct np_pipe *pipe)
{
    if (pipe->name == NULL)
        return;
    np_cancel_remove(pipe->cancel, &pipe->entry);
    close(pipe->wake);
    if (pipe->own)
        close(pipe->fd);
    pipe->name = NULL;
}

/* Wait until the other side is there, or somebody asks to stop. Files are always ready. */
static int wait_ready(struct np_pipe *pipe, short events, struct np_error *err)
{
    struct pollfd fds[2] = {{.fd = pipe->fd, .events = events}, {.fd = pipe->wake, .events = POLLIN}};
    while (poll(fds, 2, -1) < 0)
        if (errno != EINTR)
            return np_fail_errno(err, NP_FAILED, errno, "%s: cannot wait", pipe->name);
    return np_cancel_check(pipe->cancel, err);
}

int np_pipe_read(struct np_pipe *pipe, void *buffer, size_t size, size_t *got, struct np_error *err)
{
    for (;;) {
        if (wait_ready(pipe, POLLIN, err) < 0)
            return -1;
        ssize_t n = read(pipe->fd, buffer, size);
        if (n >= 0) {
            *got = (size_t)n;
            return 0;
        }
        if (errno != EINTR && errno != EAGAIN)
            return np_fail_errno(err, NP_FAILED, errno, "%s: cannot read", pipe->name);
    }
}

/* Step over what was written. */
static void advance(struct iovec **pieces, int *count, size_t written)
{
    while (*count > 0 && written >= (*pieces)->iov_len) {
        written -= (*pieces)->iov_len;
        ++*pieces;
        --*count;
    }
    if (*count > 0) {
        (*pieces)->iov_base = (char *)(*pieces)->iov_base + written;
        (*pieces)->iov_len -= written;
    }
}

/* Poll says that a pipe has room only when it has room for PIPE_BUF bytes. Source: pipe(7). */
static ssize_t write_some(struct np_pipe *pipe, struct iovec *pieces, int count)
{
    if (pipe->blocks)
        return write(pipe->fd, pieces->iov_base, pieces->iov_len < PIPE_BUF ? pieces->iov_len : PIPE_BUF);
    count = count < IOV_MAX ? count : IOV_MAX;
    if (!pipe->socket)
        return writev(pipe->fd, pieces, count);
    const struct msghdr message = {.msg_iov = pieces, .msg_iovlen = (size_t)count};
    return sendmsg(pipe->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Else the sync at the end would wait for all of it, and whoever waits for that. */
static void start_writing(struct np_pipe *pipe, size_t size)
{
    uint64_t before = pipe->written;
    pipe->written += size;
    if (before / NP_FILE_START_WRITING != pipe->written / NP_FILE_START_WRITING)
        np_file_start_writing(pipe->fd, 0, 0);
}

int np_pipe_writev(struct np_pipe *pipe, struct iovec *pieces, int count, struct np_error *err)
{
    advance(&pieces, &count, 0);
    while (count > 0) {
        if (pipe->blocks && wait_ready(pipe, POLLOUT, err) < 0)
            return -1;
        ssize_t n = write_some(pipe, pieces, count);
        if (n >= 0) {
            advance(&pieces, &count, (size_t)n);
            if (pipe->file)
                start_writing(pipe, (size_t)n);
        } else if (errno == EAGAIN) {
            if (wait_ready(pipe, POLLOUT, err) < 0)
                return -1;
        } else if (errno != EINTR) {
            return np_fail_errno(err, NP_FAILED, errno, "%s: cannot write", pipe->name);
        }
    }
    return 0;
}

int np_pipe_sync(struct np_pipe *pipe, struct np_error *err)
{
    return pipe->file ? np_file_sync(pipe->fd, pipe->name, err) : 0;
}
