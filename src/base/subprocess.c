#include "nbdpull/subprocess.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define OUTPUT_LIMIT 65536
#define LISTEN_FD 3
#define LISTEN_PID "LISTEN_PID="

/* What a child needs that is handed a listening socket; made before the fork. */
struct handover {
    int listening;
    char **environment; /* ours without systemd's variables, and with these two */
    char count[16];
    char pid[sizeof(LISTEN_PID) + 20];
};

static int handover_init(struct handover *socket, int listening, struct np_error *err)
{
    size_t count = 0, kept = 0;
    while (environ[count] != NULL)
        count++;
    *socket = (struct handover){.listening = listening, .count = "LISTEN_FDS=1", .pid = LISTEN_PID};
    socket->environment = calloc(count + 3, sizeof(*socket->environment));
    if (socket->environment == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot start a process");

    for (size_t i = 0; i < count; i++)
        if (strncmp(environ[i], "LISTEN_", 7) != 0)
            socket->environment[kept++] = environ[i];
    socket->environment[kept++] = socket->count;
    socket->environment[kept] = socket->pid;
    return 0;
}

/* In the child: only it knows its number, and printf is not allowed there. */
static void handover_enter(struct handover *socket)
{
    char digits[20];
    size_t count = 0;
    for (pid_t left = getpid(); left > 0; left /= 10)
        digits[count++] = (char)('0' + left % 10);
    char *to = socket->pid + sizeof(LISTEN_PID) - 1;
    while (count > 0)
        *to++ = digits[--count];
    *to = '\0';

    if (socket->listening == LISTEN_FD)
        fcntl(LISTEN_FD, F_SETFD, 0);
    else
        dup2(socket->listening, LISTEN_FD);
    environ = socket->environment;
}

/* Ours are closed at an exec; libvirt's log is not, nor what we were started with. */
static void close_at_exec(void)
{
#if defined(SYS_close_range) && defined(CLOSE_RANGE_CLOEXEC)
    syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
#endif
}

/* Between fork and exec only async-signal-safe calls are allowed: other threads may hold any lock. */
static void child_exec(const char *const argv[], pid_t parent, int output, bool both, int pass_fd,
                       int orphaned, struct handover *socket)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, orphaned);
    if (orphaned != 0 && getppid() != parent)
        _exit(127);

    int null = open("/dev/null", O_RDWR);
    dup2(null, STDIN_FILENO);
    dup2(both ? output : null, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    close_at_exec();
    if (pass_fd >= 0)
        fcntl(pass_fd, F_SETFD, 0);
    if (socket != NULL)
        handover_enter(socket);
    execvp(argv[0], (char *const *)(uintptr_t)argv);

    static const char cannot[] = "cannot be started; is it installed?\n";
    ssize_t ignored = write(STDERR_FILENO, cannot, sizeof(cannot) - 1);
    (void)ignored;
    _exit(127);
}

static int start(struct np_subprocess *child, const char *const argv[], bool both, int pass_fd, int orphaned,
                 struct handover *socket, struct np_error *err)
{
    *child = (struct np_subprocess){.output = -1};
    snprintf(child->name, sizeof(child->name), "%s", argv[0]);

    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot make a pipe", argv[0]);

    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0)
        child_exec(argv, parent, ends[1], both, pass_fd, orphaned, socket);
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot start a process", argv[0]);
    }
    child->pid = pid;
    child->output = ends[0];
    return 0;
}

int np_subprocess_start(struct np_subprocess *child, const char *const argv[], int pass_fd,
                        struct np_error *err)
{
    return start(child, argv, true, pass_fd, SIGTERM, NULL, err);
}

int np_subprocess_start_socket(struct np_subprocess *child, const char *const argv[], int listening,
                               int orphaned, struct np_error *err)
{
    *child = (struct np_subprocess){.output = -1};
    struct handover socket;
    if (handover_init(&socket, listening, err) < 0)
        return -1;
    int started = start(child, argv, true, -1, orphaned, &socket, err);
    free(socket.environment);
    return started;
}

/* Everything up to the limit; what comes after is read and dropped, so that the child never blocks. */
static size_t drain(int fd, char *text, size_t size)
{
    size_t used = 0;
    for (;;) {
        char dropped[512];
        bool room = used < size;
        ssize_t got = room ? read(fd, text + used, size - used) : read(fd, dropped, sizeof(dropped));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return used;
        if (room)
            used += (size_t)got;
    }
}

static int reap(struct np_subprocess *child)
{
    int status = 0;
    while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR)
        ;
    child->pid = 0;
    if (child->output >= 0)
        close(child->output);
    child->output = -1;
    return status;
}

/* The last line that says anything. */
static const char *last_line(char *text, size_t size)
{
    while (size > 0 && (text[size - 1] == '\n' || text[size - 1] == ' '))
        size--;
    text[size] = '\0';
    char *newline = strrchr(text, '\n');
    return newline == NULL ? text : newline + 1;
}

static int judge(const char *name, int status, char *text, size_t size, struct np_error *err)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    const char *said = last_line(text, size);
    const char *colon = said[0] == '\0' ? "" : ": ";
    if (WIFSIGNALED(status))
        return np_fail(err, NP_FAILED, "%s was ended by signal %d%s%s", name, WTERMSIG(status), colon, said);
    return np_fail(err, NP_FAILED, "%s failed with status %d%s%s", name, WEXITSTATUS(status), colon, said);
}

int np_subprocess_wait(struct np_subprocess *child, struct np_error *err)
{
    NP_AUTO_FREE char *text = malloc(OUTPUT_LIMIT + 1);
    size_t used = text == NULL ? 0 : drain(child->output, text, OUTPUT_LIMIT);
    int status = reap(child);
    char nothing[1] = "";
    return judge(child->name, status, text == NULL ? nothing : text, used, err);
}

int np_subprocess_run(const char *const argv[], struct np_error *err)
{
    struct np_subprocess child;
    if (np_subprocess_start(&child, argv, -1, err) < 0)
        return -1;
    return np_subprocess_wait(&child, err);
}

int np_subprocess_run_whole(const char *const argv[], int pass_fd, struct np_error *err)
{
    struct np_subprocess child;
    if (start(&child, argv, true, pass_fd, 0, NULL, err) < 0)
        return -1;
    return np_subprocess_wait(&child, err);
}

int np_subprocess_output(const char *const argv[], size_t limit, char **text, struct np_error *err)
{
    NP_AUTO_FREE char *taken = malloc(limit + 2);
    if (taken == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s", argv[0]);

    struct np_subprocess child;
    if (start(&child, argv, true, -1, SIGTERM, NULL, err) < 0)
        return -1;
    size_t used = drain(child.output, taken, limit + 1);
    int status = reap(&child);
    if (judge(child.name, status, taken, used <= limit ? used : limit, err) < 0)
        return -1;
    if (used > limit)
        return np_fail(err, NP_FAILED, "%s: printed more than %zu bytes", argv[0], limit);
    taken[used] = '\0';
    *text = NP_STEAL(taken);
    return 0;
}

void np_subprocess_stop(struct np_subprocess *child)
{
    if (child->pid == 0)
        return;
    np_log_debug("ending %s (process %d)", child->name, (int)child->pid);
    kill(child->pid, SIGTERM);
    reap(child);
}
