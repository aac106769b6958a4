#include "lock.h"

#include "json_read.h"
#include "json_write.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"
#include "nbdpull/log.h"
#include "nbdpull/meta.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#define TEXT_MAX 4096

/* What the file says of its holder. It is only for the message: the lock itself is the kernel's. */
struct holder {
    uint64_t pid;
    char since[NP_TIME_MAX];
    char host[65];
    char command[512];
};

static void describe_self(struct holder *self, const char *command)
{
    *self = (struct holder){.pid = (uint64_t)getpid()};
    time_t now = time(NULL);
    struct tm utc;
    if (gmtime_r(&now, &utc) != NULL)
        strftime(self->since, sizeof(self->since), "%Y-%m-%dT%H:%M:%SZ", &utc);
    gethostname(self->host, sizeof(self->host) - 1);
    snprintf(self->command, sizeof(self->command), "%s", command);
}

static int write_holder(int fd, const char *path, const char *command, struct np_error *err)
{
    struct holder self;
    describe_self(&self, command);
    NP_CLEANUP(np_json_write_clear) struct np_json_write out;
    np_json_write_init(&out);
    np_json_write_number(&out, "pid", self.pid);
    np_json_write_string(&out, "since", self.since);
    np_json_write_string(&out, "host", self.host);
    np_json_write_string(&out, "command", self.command);

    NP_AUTO_FREE char *text = NULL;
    size_t size;
    if (np_json_write_text(&out, path, &text, &size, err) < 0)
        return -1;
    if (ftruncate(fd, 0) < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot truncate", path);
    return np_file_write_at(fd, path, text, size, 0, err);
}

static int read_holder(int dir, const char *path, struct holder *holder, struct np_error *err)
{
    NP_AUTO_FREE char *text = NULL;
    size_t size;
    NP_CLEANUP(np_json_read_free) struct np_json_read in = {0};
    if (np_file_read_whole(dir, path, "lock", TEXT_MAX, &text, &size, err) < 0 ||
        np_json_read_parse(text, size, path, &in, err) < 0 ||
        np_json_read_number(&in, "pid", &holder->pid, err) < 0 ||
        np_json_read_string(&in, "since", holder->since, sizeof(holder->since), err) < 0 ||
        np_json_read_string(&in, "host", holder->host, sizeof(holder->host), err) < 0)
        return -1;
    return np_json_read_string(&in, "command", holder->command, sizeof(holder->command), err);
}

static int fail_held(int dir, const char *set_path, const char *path, struct np_error *err)
{
    struct holder holder, self;
    struct np_error ignored = NP_ERROR_INIT;
    if (read_holder(dir, path, &holder, &ignored) < 0) /* it has the lock and has not written yet */
        return np_fail(err, NP_BUSY, "%s: the backup set is locked by another process", set_path);

    describe_self(&self, "");
    bool here = strcmp(holder.host, self.host) == 0;
    if (here && kill((pid_t)holder.pid, 0) < 0 && errno == ESRCH)
        return np_fail(err, NP_BUSY,
                       "%s: the backup set is locked: process %" PRIu64 " (%s, since %s) has ended, and its "
                       "guardian is still putting things right; try again in a minute",
                       set_path, holder.pid, holder.command, holder.since);
    return np_fail(err, NP_BUSY, "%s: the backup set is locked by process %" PRIu64 "%s%s (%s) since %s",
                   set_path, holder.pid, here ? "" : " on host ", here ? "" : holder.host, holder.command,
                   holder.since);
}

/*
 * Who may write to the set's directory may have made the lock another name of a file that only we may write
 * to. Sets that were copied as names (cp -al) share one too: it locks, and nothing is written into it.
 */
static bool is_ours_alone(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && st.st_nlink == 1;
}

static int check_plain(int fd, const char *path, struct np_error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot stat", path);
    return S_ISREG(st.st_mode) ? 0 : np_fail(err, NP_DAMAGED, "%s: not a regular file", path);
}

static int open_file(int dir, const char *set_path, const char *path, struct np_error *err)
{
    NP_AUTO_FD int fd = openat(dir, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    if (fd >= 0)
        return check_plain(fd, path, err) < 0 ? -1 : np_steal_fd(&fd);
    if (errno == ELOOP)
        return np_fail(err, NP_DAMAGED, "%s: a symbolic link, which a set must not contain", path);
    if (errno == EACCES || errno == EROFS || errno == EPERM)
        return np_fail_errno(err, NP_FAILED, errno, "%s: the backup set cannot be written", set_path);
    return np_fail_errno(err, NP_FAILED, errno, "%s: cannot open", path);
}

int np_lock_take(int dir, const char *set_path, const char *command, int *fd, struct np_error *err)
{
    NP_AUTO_FREE char *path = np_path_join(set_path, "lock");
    if (path == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s: cannot lock", set_path);
    NP_AUTO_FD int lock = open_file(dir, set_path, path, err);
    if (lock < 0)
        return -1;
    if (flock(lock, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK)
            return np_fail_errno(err, NP_FAILED, errno, "%s: cannot lock", path);
        if (flock(lock, LOCK_SH | LOCK_NB) == 0) /* what the file says is of the last writer */
            return np_fail(err, NP_BUSY,
                           "%s: the backup set is locked by another process that only looks at it", set_path);
        return fail_held(dir, set_path, path, err);
    }

    /* On a full disk the text cannot be written, and what frees room needs the lock. */
    if (is_ours_alone(lock)) {
        struct np_error why = NP_ERROR_INIT;
        if (fchmod(lock, 0600) < 0)
            np_log_warning("%s: cannot set its mode: %s", path, strerror(errno));
        else if (write_holder(lock, path, command, &why) < 0)
            np_log_warning("who holds the lock is not said: %s", why.message);
    }
    *fd = np_steal_fd(&lock);
    return 0;
}

int np_lock_share(int dir, const char *set_path, int *fd, struct np_error *err)
{
    NP_AUTO_FREE char *path = np_path_join(set_path, "lock");
    if (path == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s: cannot lock", set_path);
    *fd = -1;
    NP_AUTO_FD int lock = openat(dir, "lock", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (lock < 0 && errno == ENOENT) {
        np_log_info(
            "%s: there is no file \"lock\", and looking makes none: what is said holds only if nobody "
            "writes into the set meanwhile",
            set_path);
        return 0;
    }
    if (lock < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot open", path);
    if (check_plain(lock, path, err) < 0)
        return -1;
    if (flock(lock, LOCK_SH | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? fail_held(dir, set_path, path, err)
                                    : np_fail_errno(err, NP_FAILED, errno, "%s: cannot lock", path);
    *fd = np_steal_fd(&lock);
    return 0;
}

/* A lock that is held through this descriptor is taken again; one that somebody else holds is not. */
int np_lock_check(int dir, const char *set_path, int fd, struct np_error *err)
{
    struct stat held, there;
    if (fstat(fd, &held) < 0 || fstatat(dir, "lock", &there, AT_SYMLINK_NOFOLLOW) < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot look at its lock", set_path);
    if (held.st_dev != there.st_dev || held.st_ino != there.st_ino || flock(fd, LOCK_EX | LOCK_NB) < 0)
        return np_fail(err, NP_FAILED, "%s: another set stands there now", set_path);
    return 0;
}
