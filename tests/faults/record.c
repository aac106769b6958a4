#undef _FORTIFY_SOURCE
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ID_MAX 48

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards the log */
static int log_fd = -1;

void record_start(const char *path)
{
    log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

bool record_is_on(void)
{
    return log_fd >= 0;
}

void record_lock(void)
{
    pthread_mutex_lock(&lock);
}

void record_unlock(void)
{
    pthread_mutex_unlock(&lock);
}

/* A log with something missing would show what is not so. */
static void check(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "record: %s: %s\n", what, strerror(errno));
    abort();
}

static const char *id_of(const struct stat *st, char id[ID_MAX])
{
    snprintf(id, ID_MAX, "%ju:%ju", (uintmax_t)st->st_dev, (uintmax_t)st->st_ino);
    return id;
}

static const char *id_of_fd(int fd, char id[ID_MAX])
{
    struct stat st;
    check(fstat(fd, &st) == 0, "fstat");
    return id_of(&st, id);
}

static bool is_file(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

/* The directory of a path, and its name in there. */
static const char *place_of(int dir, const char *path, char id[ID_MAX])
{
    struct stat st;
    char parent[PATH_MAX];
    const char *slash = strrchr(path, '/');
    snprintf(parent, sizeof(parent), "%.*s", slash == NULL ? 1 : (int)(slash - path) + 1,
             slash == NULL ? "." : path);
    check(fstatat(dir, parent, &st, 0) == 0, parent);
    id_of(&st, id);
    return slash == NULL ? path : slash + 1;
}

static void put(const char *line, size_t length, const void *bytes, size_t size)
{
    const struct iovec pieces[] = {{(void *)(uintptr_t)line, length}, {(void *)(uintptr_t)bytes, size}};
    /* Not writev: a sanitiser's is in the program, and comes back here as a call of the program. */
    check(syscall(SYS_writev, log_fd, pieces, 2) == (long)(length + size), "the log");
}

#define PUT(bytes, size, ...)                                                                                \
    do {                                                                                                     \
        char line_[3 * PATH_MAX];                                                                            \
        int length_ = snprintf(line_, sizeof(line_), __VA_ARGS__);                                           \
        put(line_, (size_t)length_, bytes, size);                                                            \
    } while (0)

bool record_is_there(int dir, const char *path)
{
    return faccessat(dir, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

void record_name(const char *kind, int dir, const char *path)
{
    struct stat st;
    char parent[ID_MAX], id[ID_MAX];
    const char *name = place_of(dir, path, parent);
    check(fstatat(dir, path, &st, AT_SYMLINK_NOFOLLOW) == 0, path);
    PUT(NULL, 0, "%s %s %s %s\n", kind, parent, id_of(&st, id), name);
}

void record_gone(int dir, const char *path)
{
    char parent[ID_MAX];
    const char *name = place_of(dir, path, parent);
    PUT(NULL, 0, "gone %s %s\n", parent, name);
}

void record_move(int from, const char *old, int to, const char *new)
{
    char parent[ID_MAX], other[ID_MAX];
    const char *old_name = place_of(from, old, parent);
    const char *new_name = place_of(to, new, other);
    PUT(NULL, 0, "move %s %s %s\n%s\n", parent, other, old_name, new_name);
}

void record_write(int fd, const void *bytes, size_t size, uint64_t pos)
{
    char id[ID_MAX];
    if (is_file(fd))
        PUT(bytes, size, "write %s %ju %zu\n", id_of_fd(fd, id), (uintmax_t)pos, size);
}

void record_writev(int fd, const struct iovec *pieces, size_t size)
{
    if (!is_file(fd))
        return;
    off_t pos = lseek(fd, 0, SEEK_CUR) - (off_t)size;
    for (size_t step; size > 0; pieces++, pos += (off_t)step, size -= step) {
        step = pieces->iov_len < size ? pieces->iov_len : size;
        if (step > 0)
            record_write(fd, pieces->iov_base, step, (uint64_t)pos);
    }
}

void record_size(int fd)
{
    struct stat st;
    char id[ID_MAX];
    check(fstat(fd, &st) == 0, "fstat");
    if (S_ISREG(st.st_mode))
        PUT(NULL, 0, "size %s %ju\n", id_of(&st, id), (uintmax_t)st.st_size);
}

void record_sync(int fd)
{
    char id[ID_MAX];
    PUT(NULL, 0, "sync %s\n", id_of_fd(fd, id));
}
