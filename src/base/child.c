#include "nbdpull/child.h"

#include "nbdpull/cleanup.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>

#define END_PATIENCE_MS 2000

void np_child_init(struct np_child *child)
{
    *child = (struct np_child){.process = {.output = -1}, .pidfd = -1};
    pthread_mutex_init(&child->lock, NULL);
}

void np_child_clear(struct np_child *child)
{
    if (child->process.pid != 0) {
        struct np_error ignored = NP_ERROR_INIT;
        np_child_end(child);
        np_child_wait(child, &ignored);
    }
    pthread_mutex_destroy(&child->lock);
}

/* glibc has wrappers since 2.36 only */
static int open_pidfd(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

static void send_signal(int pidfd, int signal)
{
    if (pidfd >= 0)
        syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0);
}

/* Makes the started process reachable for np_child_end. */
static int adopt(struct np_child *child, struct np_error *err)
{
    int pidfd = open_pidfd(child->process.pid);
    if (pidfd < 0) {
        np_fail_errno(err, NP_FAILED, errno, "%s: cannot watch the process", child->process.name);
        kill(child->process.pid, SIGKILL); /* a SIGTERM so early may be lost, see np_child_end */
        np_subprocess_stop(&child->process);
        return -1;
    }
    pthread_mutex_lock(&child->lock);
    child->pidfd = pidfd;
    if (child->killed)
        send_signal(pidfd, SIGKILL);
    pthread_mutex_unlock(&child->lock);
    return 0;
}

int np_child_start(struct np_child *child, const char *const argv[], int listening, int orphaned,
                   struct np_error *err)
{
    if (np_subprocess_start_socket(&child->process, argv, listening, orphaned, err) < 0)
        return -1;
    return adopt(child, err);
}

int np_child_run(struct np_child *child, const char *const argv[], struct np_error *err)
{
    if (np_subprocess_start(&child->process, argv, -1, err) < 0 || adopt(child, err) < 0)
        return -1;
    return np_child_wait(child, err);
}

int np_child_wait(struct np_child *child, struct np_error *err)
{
    if (child->process.pid == 0)
        return np_fail(err, NP_FAILED, "%s has ended already", child->process.name);
    int status = np_subprocess_wait(&child->process, err);
    pthread_mutex_lock(&child->lock);
    np_cleanup_fd(&child->pidfd);
    child->pidfd = -1;
    pthread_mutex_unlock(&child->lock);
    return status;
}

/*
 * SIGTERM lets a program that is failing finish what it has to say. qemu-nbd loses one that comes before its
 * main loop, so what is still there after a while is ended for certain.
 */
void np_child_end(struct np_child *child)
{
    struct pollfd watched = {.fd = child->pidfd, .events = POLLIN};
    if (child->pidfd < 0)
        return;
    send_signal(child->pidfd, SIGTERM);
    if (poll(&watched, 1, END_PATIENCE_MS) == 0)
        send_signal(child->pidfd, SIGKILL);
}

void np_child_kill(struct np_child *child)
{
    pthread_mutex_lock(&child->lock);
    child->killed = true;
    send_signal(child->pidfd, SIGKILL);
    pthread_mutex_unlock(&child->lock);
}
