/*
 * Loaded into nbdpull by LD_PRELOAD: counts its steps, and at one of them ends it, sends it a signal or makes
 * the call fail. A step is a call that the program itself makes; what its libraries do among themselves, and
 * what its children do, is not counted. Steps are named FUNCTION:N, for the Nth call of that function,
 * because the order between threads is not the same every time, and the number of calls of each mostly is.
 *
 *   STOP_LOG=FILE    write each step's name there, with its group
 *   STOP_AT=STEP     the one at which
 *   STOP_HOW=...     kill        the process is killed
 *                    killall     its children are killed, then the process itself
 *                    term int hup
 *                    none        nothing but what STOP_RUN does
 *                    fail        the call is not made, and says that it failed
 *                    short       the call reads or writes half of what it was asked to
 *                    lost        the call is made, and says that it failed: an answer that did not arrive
 *                    lies        the call, one that changes files, is not made, and says that it was
 *                    stuck       this call fails, and from here on all calls of this function
 *                    gone        this call fails, and from here on all of its group
 *   STOP_WHEN=after  the signal comes after the call, not before
 *   STOP_ERRNO=N     for files; EIO if not given
 *   STOP_RUN=CMD     a shell command to run first: what happens at this moment; STOP_PID is we
 *   STOP_THEN=CMD    one to run when the call has been made
 *   STOP_BEGUN=FILE  is made when the job has begun before that; it says "runs", or "over" when it was to end
 *   STOP_BAD=PATH:POS  no read at all of these 512 bytes works, whatever STOP_AT says; the path as the kernel
 * has it STOP_RECORD=FILE log what the program, and its guardian, do to files: record.h
 */
#undef _FORTIFY_SOURCE
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "record.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <libnbd.h>
#include <libvirt/libvirt-qemu.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum group { FILES, READS, CLOSES, VIRT, NBD, GROUPS };
enum verdict { PASS, FAIL, LIES, SHORT, LOST, SIGNAL_AFTER };

#define FUNCTIONS_MAX 64

static const char *const group_names[] = {"files", "reads", "closes", "virt", "nbd"};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards counts */
static struct {
    const char *name;
    unsigned calls;
} counts[FUNCTIONS_MAX];
static pid_t self;
static int log_fd = -1;
static const char *at, *how, *when, *run, *then, *begun_file;
static int fault_errno = EIO;
static uintptr_t program_begin, program_end;
static atomic_bool begun, over, gone[GROUPS];
static _Atomic(const char *) stuck;  /* the function that fails from now on */
static _Thread_local bool pretends;  /* the last call of a library in this thread was made to fail */
static _Thread_local bool runs_then; /* this call is the step */

static int note_program(struct dl_phdr_info *info, size_t size, void *ctx)
{
    (void)size;
    (void)ctx;
    program_begin = UINTPTR_MAX;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        uintptr_t begin = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
        uintptr_t end = begin + info->dlpi_phdr[i].p_memsz;
        if (info->dlpi_phdr[i].p_type != PT_LOAD)
            continue;
        program_begin = begin < program_begin ? begin : program_begin;
        program_end = end > program_end ? end : program_end;
    }
    return 1; /* the program is the first */
}

__attribute__((constructor)) static void start(void)
{
    const char *log = getenv("STOP_LOG"), *number = getenv("STOP_ERRNO");
    at = getenv("STOP_AT");
    how = getenv("STOP_HOW");
    when = getenv("STOP_WHEN");
    run = getenv("STOP_RUN");
    then = getenv("STOP_THEN");
    begun_file = getenv("STOP_BEGUN");
    if (number != NULL)
        fault_errno = atoi(number);
    if (log != NULL)
        log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    self = getpid();
    dl_iterate_phdr(note_program, NULL);
    const char *record = getenv("STOP_RECORD");
    bool guardian_too = record != NULL && strncmp(program_invocation_short_name, "nbdpull", 7) == 0;
    if (guardian_too)
        record_start(record);
    else
        unsetenv("LD_PRELOAD"); /* not for children */
    unsetenv("STOP_AT");
    unsetenv("STOP_LOG");
}

static unsigned count(const char *name)
{
    unsigned calls = 0;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < FUNCTIONS_MAX && calls == 0; i++) {
        if (counts[i].name == NULL)
            counts[i].name = name;
        if (strcmp(counts[i].name, name) == 0)
            calls = ++counts[i].calls;
    }
    pthread_mutex_unlock(&lock);
    return calls;
}

/* ---- what happens at the step ---- */

static void kill_children(void)
{
    char path[64], text[4096] = "";
    snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)self);
    FILE *file = fopen(path, "re");
    if (file == NULL || fgets(text, sizeof(text), file) == NULL)
        text[0] = '\0';
    for (char *rest = text, *word; (word = strtok_r(rest, " \n", &rest)) != NULL;)
        kill(atoi(word), SIGKILL);
}

/* The thread that waits for signals has taken it, and has had the time to tell the others. */
static void await_delivery(int number)
{
    sigset_t pending;
    const struct timespec moment = {.tv_nsec = 2000000};
    do
        nanosleep(&moment, NULL);
    while (sigpending(&pending) == 0 && sigismember(&pending, number) == 1);
}

static void send_signal(void)
{
    static const struct {
        const char *how;
        int number;
    } signals[] = {
        {"kill", SIGKILL}, {"killall", SIGKILL}, {"term", SIGTERM}, {"int", SIGINT}, {"hup", SIGHUP}};
    if (strcmp(how, "killall") == 0)
        kill_children();
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        if (strcmp(how, signals[i].how) != 0)
            continue;
        kill(self, signals[i].number);
        await_delivery(signals[i].number);
    }
}

static void run_command(const char *text)
{
    char command[4096];
    snprintf(command, sizeof(command), "STOP_PID=%d %s", (int)self, text);
    if (system(command) != 0)
        fprintf(stderr, "stop_at: %s failed\n", text);
}

static void before_it(void)
{
    int fd = begun_file != NULL && begun ? open(begun_file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (fd >= 0) {
        dprintf(fd, "%s\n", over ? "over" : "runs");
        close(fd);
    }
    if (run != NULL)
        run_command(run);
}

static enum verdict act(void)
{
    if (strcmp(how, "fail") == 0 || strcmp(how, "stuck") == 0 || strcmp(how, "gone") == 0)
        return FAIL;
    if (strcmp(how, "lies") == 0)
        return LIES;
    if (strcmp(how, "short") == 0)
        return SHORT;
    if (strcmp(how, "lost") == 0)
        return LOST;
    if (when != NULL && strcmp(when, "after") == 0)
        return SIGNAL_AFTER;
    send_signal();
    return PASS;
}

/* A full file system lets what is on it be removed. */
static bool is_gone(const char *name, enum group group)
{
    bool removes = strcmp(name, "unlinkat") == 0 || strcmp(name, "rmdir") == 0;
    return gone[group] && !(removes && fault_errno == ENOSPC);
}

static bool is_program(const void *caller)
{
    uintptr_t from = (uintptr_t)caller;
    return from >= program_begin && from < program_end && getpid() == self;
}

/* @param caller the address behind the call */
static enum verdict enter(const char *name, enum group group, const void *caller)
{
    pretends = false;
    if (!is_program(caller))
        return PASS;
    char step[80];
    int was = errno;
    int length = snprintf(step, sizeof(step), "%s:%u", name, count(name));
    if (log_fd >= 0) {
        dprintf(log_fd, "%s %s\n", group_names[group], step);
    }
    const char *fails = stuck;
    bool is_stuck = fails != NULL && strcmp(fails, name) == 0;
    enum verdict verdict = is_stuck || is_gone(name, group) ? FAIL : PASS;
    if (at != NULL && how != NULL && length > 0 && strcmp(step, at) == 0) {
        before_it();
        runs_then = then != NULL;
        gone[group] = strcmp(how, "gone") == 0;
        stuck = strcmp(how, "stuck") == 0 ? name : NULL;
        verdict = act();
    }
    errno = was;
    return verdict;
}

/* @return the call must say that it failed */
static bool leave(enum verdict verdict)
{
    int was = errno;
    if (runs_then)
        run_command(then);
    runs_then = false;
    if (verdict == SIGNAL_AFTER)
        send_signal();
    errno = was;
    return verdict == LOST;
}

static void pretend(enum group group)
{
    if (group == VIRT || group == NBD)
        pretends = true;
    errno = fault_errno;
}

static void *next(const char *name)
{
    void *real = dlsym(RTLD_NEXT, name);
    if (real == NULL)
        abort();
    return real;
}

/* One function: its group, type, the value that means failure, name, parameters and arguments. */
#define STEP(group, type, bad, name, parameters, arguments)                                                  \
    type name parameters                                                                                     \
    {                                                                                                        \
        __typeof__(&name) real = (__typeof__(&name))next(#name);                                             \
        enum verdict verdict = enter(#name, group, __builtin_return_address(0));                             \
        if (verdict == FAIL) {                                                                               \
            pretend(group);                                                                                  \
            return bad;                                                                                      \
        }                                                                                                    \
        type result = real arguments;                                                                        \
        note_begun(#name);                                                                                   \
        if (leave(verdict)) {                                                                                \
            /* What nobody frees is not lost to who looks for leaks. */                                      \
            static type volatile unheard __attribute__((unused));                                            \
            unheard = result;                                                                                \
            pretend(group);                                                                                  \
            return bad;                                                                                      \
        }                                                                                                    \
        return result;                                                                                       \
    }

/*
 * One that changes files: what it did goes into the write log, while no other thread does anything. Once it
 * may do only half of it.
 */
#define FILE_STEP(type, name, parameters, arguments, half, noted)                                            \
    type name parameters                                                                                     \
    {                                                                                                        \
        __typeof__(&name) real = (__typeof__(&name))next(#name);                                             \
        enum verdict verdict = enter(#name, FILES, __builtin_return_address(0));                             \
        bool made = verdict != FAIL && verdict != LIES;                                                      \
        bool recorded = made && record_enter(__builtin_return_address(0));                                   \
        type result = verdict == LIES ? 0 : !made ? -1 : verdict == SHORT ? real half : real arguments;      \
        if (recorded && result >= 0)                                                                         \
            noted;                                                                                           \
        record_leave(recorded);                                                                              \
        if (leave(verdict) || verdict == FAIL) {                                                             \
            pretend(FILES);                                                                                  \
            return -1;                                                                                       \
        }                                                                                                    \
        return result;                                                                                       \
    }

static bool record_enter(const void *caller)
{
    bool recorded = record_is_on() && is_program(caller);
    if (recorded)
        record_lock();
    return recorded;
}

static void record_leave(bool recorded)
{
    int was = errno;
    if (recorded)
        record_unlock();
    errno = was;
}

static void note_begun(const char *name)
{
    bool begins = strcmp(name, "virDomainBackupBegin") == 0;
    if (begins)
        begun = true;
    if (begins || strcmp(name, "virDomainAbortJob") == 0)
        over = !begins;
}

/* ---- files ---- */

#define FILE_CALL(name, parameters, arguments, noted)                                                        \
    FILE_STEP(int, name, parameters, arguments, arguments, noted)

STEP(FILES, int, -1, chmod, (const char *path, mode_t mode), (path, mode))
STEP(FILES, int, -1, fchmod, (int fd, mode_t mode), (fd, mode))
STEP(FILES, int, -1, fchmodat, (int dir, const char *path, mode_t mode, int flags), (dir, path, mode, flags))
STEP(FILES, int, -1, chown, (const char *path, uid_t user, gid_t owners), (path, user, owners))
FILE_CALL(mkdir, (const char *path, mode_t mode), (path, mode), record_name("dir", AT_FDCWD, path))
FILE_CALL(mkdirat, (int dir, const char *path, mode_t mode), (dir, path, mode), record_name("dir", dir, path))
FILE_CALL(fsync, (int fd), (fd), record_sync(fd))
FILE_CALL(fdatasync, (int fd), (fd), record_sync(fd))
FILE_CALL(ftruncate64, (int fd, off64_t size), (fd, size), record_size(fd))
FILE_CALL(fallocate64, (int fd, int mode, off64_t pos, off64_t size), (fd, mode, pos, size), record_size(fd))
FILE_CALL(renameat, (int from, const char *old, int to, const char *new), (from, old, to, new),
          record_move(from, old, to, new))
FILE_CALL(renameat2, (int from, const char *old, int to, const char *new, unsigned flags),
          (from, old, to, new, flags), record_move(from, old, to, new))
FILE_CALL(linkat, (int from, const char *old, int to, const char *new, int flags),
          (from, old, to, new, flags), record_name("link", to, new))
FILE_CALL(unlinkat, (int dir, const char *path, int flags), (dir, path, flags), record_gone(dir, path))
FILE_CALL(unlink, (const char *path), (path), record_gone(AT_FDCWD, path))
FILE_CALL(rmdir, (const char *path), (path), record_gone(AT_FDCWD, path))
FILE_STEP(ssize_t, pwrite64, (int fd, const void *bytes, size_t size, off64_t pos), (fd, bytes, size, pos),
          (fd, bytes, (size + 1) / 2, pos), record_write(fd, bytes, (size_t)result, (uint64_t)pos))
FILE_STEP(ssize_t, writev, (int fd, const struct iovec *pieces, int count), (fd, pieces, count),
          (fd, &(struct iovec){pieces->iov_base, (pieces->iov_len + 1) / 2}, 1),
          record_writev(fd, pieces, (size_t)result))

static bool is_bad(int fd, size_t size, off64_t pos)
{
    char link[64], path[4096];
    const char *bad = getenv("STOP_BAD"), *colon = bad == NULL ? NULL : strrchr(bad, ':');
    if (colon == NULL)
        return false;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof(path));
    off64_t at = atoll(colon + 1);
    return length == colon - bad && memcmp(path, bad, (size_t)length) == 0 && pos < at + 512 &&
           pos + (off64_t)size > at;
}

ssize_t pread64(int fd, void *bytes, size_t size, off64_t pos)
{
    __typeof__(&pread64) real = (__typeof__(&pread64))next("pread64");
    enum verdict verdict = enter("pread64", READS, __builtin_return_address(0));
    if (is_bad(fd, size, pos) && is_program(__builtin_return_address(0)))
        verdict = FAIL;
    ssize_t result = verdict == FAIL ? -1 : real(fd, bytes, verdict == SHORT ? (size + 1) / 2 : size, pos);
    if (leave(verdict) || verdict == FAIL) {
        errno = fault_errno;
        return -1;
    }
    return result;
}

/* Whatever close says, the descriptor is gone. */
int close(int fd)
{
    enum verdict verdict = enter("close", CLOSES, __builtin_return_address(0));
    int result = (int)syscall(SYS_close, fd);
    if (leave(verdict) || verdict == FAIL) {
        errno = fault_errno;
        return -1;
    }
    return result;
}

/* Opening to create is a step of its own name; else it is reading. */
int openat64(int dir, const char *path, int flags, ...)
{
    mode_t mode = 0;
    bool creates = (flags & O_CREAT) != 0;
    if (creates) {
        va_list args;
        va_start(args, flags);
        mode = va_arg(args, mode_t);
        va_end(args);
    }
    enum verdict verdict =
        enter(creates ? "create" : "openat", creates ? FILES : READS, __builtin_return_address(0));
    bool recorded = creates && verdict != FAIL && record_enter(__builtin_return_address(0));
    bool made = recorded && !record_is_there(dir, path);
    int fd = verdict == FAIL ? -1 : (int)syscall(SYS_openat, dir, path, flags, mode);
    if (made && fd >= 0)
        record_name("file", dir, path);
    record_leave(recorded);
    if (leave(verdict) || verdict == FAIL) {
        if (fd >= 0)
            syscall(SYS_close, fd);
        fd = -1;
        errno = fault_errno;
    }
    return fd;
}

/* ---- libvirt ---- */

STEP(VIRT, virConnectPtr, NULL, virConnectOpen, (const char *uri), (uri))
STEP(VIRT, virDomainPtr, NULL, virDomainLookupByName, (virConnectPtr conn, const char *name), (conn, name))
STEP(VIRT, int, -1, virDomainIsActive, (virDomainPtr domain), (domain))
STEP(VIRT, virDomainPtr, NULL, virDomainCreateXML, (virConnectPtr conn, const char *xml, unsigned flags),
     (conn, xml, flags))
STEP(VIRT, int, -1, virDomainSetMetadata,
     (virDomainPtr domain, int type, const char *metadata, const char *key, const char *uri, unsigned flags),
     (domain, type, metadata, key, uri, flags))
STEP(VIRT, int, -1, virDomainQemuMonitorCommand,
     (virDomainPtr domain, const char *command, char **answer, unsigned flags),
     (domain, command, answer, flags))
STEP(VIRT, char *, NULL, virDomainGetXMLDesc, (virDomainPtr domain, unsigned flags), (domain, flags))
STEP(VIRT, int, -1, virDomainGetJobStats,
     (virDomainPtr domain, int *type, virTypedParameterPtr *params, int *count, unsigned flags),
     (domain, type, params, count, flags))
STEP(VIRT, int, -1, virDomainGetBlockJobInfo,
     (virDomainPtr domain, const char *disk, virDomainBlockJobInfoPtr info, unsigned flags),
     (domain, disk, info, flags))
STEP(VIRT, int, -1, virDomainBackupBegin,
     (virDomainPtr domain, const char *backup, const char *checkpoint, unsigned flags),
     (domain, backup, checkpoint, flags))
STEP(VIRT, char *, NULL, virDomainBackupGetXMLDesc, (virDomainPtr domain, unsigned flags), (domain, flags))
STEP(VIRT, int, -1, virDomainAbortJob, (virDomainPtr domain), (domain))
STEP(VIRT, int, -1, virDomainListAllCheckpoints,
     (virDomainPtr domain, virDomainCheckpointPtr **list, unsigned flags), (domain, list, flags))
STEP(VIRT, virDomainCheckpointPtr, NULL, virDomainCheckpointLookupByName,
     (virDomainPtr domain, const char *name, unsigned flags), (domain, name, flags))
STEP(VIRT, char *, NULL, virDomainCheckpointGetXMLDesc, (virDomainCheckpointPtr checkpoint, unsigned flags),
     (checkpoint, flags))
STEP(VIRT, virDomainCheckpointPtr, NULL, virDomainCheckpointCreateXML,
     (virDomainPtr domain, const char *xml, unsigned flags), (domain, xml, flags))
STEP(VIRT, int, -1, virDomainCheckpointDelete, (virDomainCheckpointPtr checkpoint, unsigned flags),
     (checkpoint, flags))
STEP(VIRT, int, -1, virDomainFSFreeze,
     (virDomainPtr domain, const char **points, unsigned count, unsigned flags),
     (domain, points, count, flags))
STEP(VIRT, int, -1, virDomainFSThaw,
     (virDomainPtr domain, const char **points, unsigned count, unsigned flags),
     (domain, points, count, flags))
STEP(VIRT, int, -1, virDomainSetBlockThreshold,
     (virDomainPtr domain, const char *device, unsigned long long threshold, unsigned flags),
     (domain, device, threshold, flags))

/* As from a daemon that went away in the middle of the call. */
int virGetLastErrorCode(void)
{
    int (*real)(void) = (int (*)(void))next("virGetLastErrorCode");
    return pretends ? VIR_ERR_RPC : real();
}

const char *virGetLastErrorMessage(void)
{
    const char *(*real)(void) = (const char *(*)(void))next("virGetLastErrorMessage");
    return pretends ? "made to fail by the test" : real();
}

/* ---- libnbd ---- */

/*
 * It takes the descriptor also when it fails. Left open, the server would have a client that never ends its
 * handshake, and QEMU 7.2 does not stop a server that has one.
 */
int nbd_connect_socket(struct nbd_handle *nbd, int fd)
{
    __typeof__(&nbd_connect_socket) real = (__typeof__(&nbd_connect_socket))next("nbd_connect_socket");
    enum verdict verdict = enter("nbd_connect_socket", NBD, __builtin_return_address(0));
    if (verdict == FAIL)
        close(fd);
    int result = verdict == FAIL ? -1 : real(nbd, fd);
    if (leave(verdict) || verdict == FAIL) {
        pretend(NBD);
        result = -1;
    }
    return result;
}

STEP(NBD, int, -1, nbd_block_status,
     (struct nbd_handle * nbd, uint64_t size, uint64_t offset, nbd_extent_callback callback, uint32_t flags),
     (nbd, size, offset, callback, flags))
STEP(NBD, int, -1, nbd_pread_structured,
     (struct nbd_handle * nbd, void *bytes, size_t size, uint64_t offset, nbd_chunk_callback callback,
      uint32_t flags),
     (nbd, bytes, size, offset, callback, flags))

const char *nbd_get_error(void)
{
    const char *(*real)(void) = (const char *(*)(void))next("nbd_get_error");
    return pretends ? "made to fail by the test" : real();
}

int nbd_get_errno(void)
{
    int (*real)(void) = (int (*)(void))next("nbd_get_errno");
    return pretends ? EIO : real();
}
