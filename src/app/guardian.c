#include "guardian.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/detached.h"
#include "nbdpull/log.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define ANSWER_MS 30000 /* starting and ending take milliseconds; the bound is for one that was stopped */

/* ---- talking ---- */

static int send_all(int channel, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(channel, bytes, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return -1;
        bytes += sent;
        size -= (size_t)sent;
    }
    return 0;
}

static bool tell(const struct np_guardian *guardian, char word)
{
    return send_all(guardian->channel, &word, 1) == 0;
}

/* @return bytes; 0 at its end or when it does not answer */
static size_t receive(int channel, char *bytes, size_t size)
{
    struct pollfd wait = {.fd = channel, .events = POLLIN};
    int ready;
    while ((ready = poll(&wait, 1, ANSWER_MS)) < 0 && errno == EINTR)
        ;
    ssize_t got = ready > 0 ? recv(channel, bytes, size, 0) : 0;
    return got > 0 ? (size_t)got : 0;
}

/* ---- starting ---- */

static int await_ready(int channel, struct np_error *err)
{
    char answer[2];
    size_t got = receive(channel, answer, sizeof(answer));
    if (got > 0 && answer[0] == NP_GUARDIAN_READY)
        return 0;
    if (got == 2)
        return np_fail_errno(err, NP_FAILED, (unsigned char)answer[1], "cannot execute /proc/self/exe");
    return np_fail(err, NP_FAILED, "it does not answer");
}

static int start(const char *const argv[], const char *text, size_t size, int lock,
                 struct np_guardian *guardian, struct np_error *err)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return np_fail_errno(err, NP_FAILED, errno, "cannot make a socket pair");
    NP_AUTO_FD int ours = ends[0], its = ends[1];
    const int fds[] = {its, lock};
    if (np_detached_start(argv, fds, lock >= 0 ? 2 : 1, &guardian->pid, err) < 0)
        return -1;
    close(np_steal_fd(&its)); /* so that its end is seen */
    if ((send_all(ours, text, size) < 0 && errno != EPIPE) || await_ready(ours, err) < 0) {
        kill(guardian->pid, SIGKILL);
        np_detached_wait(guardian->pid);
        guardian->pid = 0;
        return err->class != NP_OK ? -1 : np_fail(err, NP_FAILED, "cannot tell it what is begun");
    }
    guardian->channel = np_steal_fd(&ours);
    return 0;
}

int np_guardian_start(const struct np_intent *intent, const char *domain, struct np_set *set,
                      struct np_guardian *guardian, struct np_error *err)
{
    NP_AUTO_FREE char *text = NULL;
    NP_AUTO_FREE char *path = NULL;
    size_t size;
    if (np_intent_encode(intent, &text, &size, err) < 0)
        return -1;
    if (set != NULL && (path = realpath(np_set_path(set), NULL)) == NULL)
        return np_fail_errno(err, NP_FAILED, errno, "%s", np_set_path(set));
    const char *const argv[] = {"nbdpull", "guardian", domain, path, NULL};
    if (start(argv, text, size + 1, set != NULL ? np_set_lock_fd(set) : -1, guardian, err) < 0)
        return np_error_context(err, "domain %s: the guardian of this run does not start, nothing was begun",
                                domain);
    np_log_debug("guardian: process %d", (int)guardian->pid);
    return 0;
}

/* ---- ending ---- */

static void forget(struct np_guardian *guardian)
{
    close(guardian->channel);
    *guardian = (struct np_guardian){0};
}

static void is_gone(struct np_guardian *guardian)
{
    int status = np_detached_wait(guardian->pid);
    np_log_warning("the guardian of this run, process %d, was ended (%s %d): had the run been killed after "
                   "that, its job would have gone on until the next one",
                   (int)guardian->pid, WIFSIGNALED(status) ? "signal" : "status",
                   WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    forget(guardian);
}

void np_guardian_begun(struct np_guardian *guardian)
{
    if (guardian->pid != 0 && !tell(guardian, NP_GUARDIAN_BEGUN))
        is_gone(guardian);
}

void np_guardian_thawed(struct np_guardian *guardian)
{
    if (guardian->pid != 0 && !tell(guardian, NP_GUARDIAN_THAWED))
        is_gone(guardian);
}

void np_guardian_commits(struct np_guardian *guardian)
{
    if (guardian->pid != 0 && !tell(guardian, NP_GUARDIAN_COMMITS))
        is_gone(guardian);
}

/* It answers by its end. One that somebody stopped must not hold the run up for ever. */
void np_guardian_dismiss(struct np_guardian *guardian)
{
    char nothing;
    if (guardian->pid == 0)
        return;
    if (!tell(guardian, NP_GUARDIAN_END)) {
        is_gone(guardian);
        return;
    }
    receive(guardian->channel, &nothing, 1);
    kill(guardian->pid, SIGKILL);
    np_detached_wait(guardian->pid);
    forget(guardian);
}

void np_guardian_leave(struct np_guardian *guardian)
{
    if (guardian->pid != 0)
        forget(guardian);
}
