#include "nbdpull/detached.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SELF "/proc/self/exe" /* the program that runs, also where its file was replaced by an update */

/* No descriptor from here on: one of ours, or of the shell that started us (flock 9), would be held. */
static void close_from(int first, long limit)
{
#ifdef SYS_close_range
    if (syscall(SYS_close_range, (unsigned)first, ~0U, 0) == 0)
        return;
#endif
    for (long fd = first; fd < limit; fd++)
        close((int)fd);
}

/* First above all targets, then down: no target is overwritten before it was moved. */
static void take_descriptors(const int *fds, size_t count, long limit)
{
    int moved[NP_DETACHED_FDS_MAX];
    int end = NP_DETACHED_FD + (int)count;
    for (size_t i = 0; i < count; i++)
        moved[i] = fcntl(fds[i], F_DUPFD, end);
    for (size_t i = 0; i < count; i++)
        dup2(moved[i], NP_DETACHED_FD + (int)i);
    close_from(end, limit);
}

static void ignore_signals(void)
{
    sigset_t none;
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Between fork and exec only async-signal-safe calls are allowed: other threads may hold any lock. */
static void child_exec(const char *const argv[], const int *fds, size_t count, long limit)
{
    setsid();
    ignore_signals();
    int null = open("/dev/null", O_RDWR);
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
    take_descriptors(fds, count, limit);
    execv(SELF, (char *const *)(uintptr_t)argv);

    char told[2] = {'x', (char)errno};
    ssize_t ignored = write(NP_DETACHED_FD, told, sizeof(told));
    (void)ignored;
    _exit(127);
}

int np_detached_start(const char *const argv[], const int *fds, size_t count, pid_t *pid,
                      struct np_error *err)
{
    long limit = sysconf(_SC_OPEN_MAX);
    *pid = fork();
    if (*pid == 0)
        child_exec(argv, fds, count, limit);
    return *pid > 0 ? 0 : np_fail_errno(err, NP_FAILED, errno, "%s: cannot start a process", argv[0]);
}

int np_detached_wait(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}
