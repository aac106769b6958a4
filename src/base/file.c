#include "nbdpull/file.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/uuid.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

int np_file_read_at(int fd, const char *path, void *buffer, size_t size, uint64_t pos, struct np_error *err)
{
    uint8_t *to = buffer;
    while (size > 0) {
        ssize_t got = pread(fd, to, size, (off_t)pos);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return np_fail_errno(err, NP_FAILED, errno, "%s: cannot read at byte %ju", path, (uintmax_t)pos);
        if (got == 0)
            return np_fail(err, NP_DAMAGED, "%s: the file ends at byte %ju, %zu bytes early", path,
                           (uintmax_t)pos, size);
        to += got;
        pos += (uint64_t)got;
        size -= (size_t)got;
    }
    return 0;
}

int np_file_writev(int fd, const char *path, struct iovec *pieces, int count, struct np_error *err)
{
    while (count > 0) {
        if (pieces->iov_len == 0) {
            pieces++;
            count--;
            continue;
        }
        ssize_t put = writev(fd, pieces, count < IOV_MAX ? count : IOV_MAX);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return np_fail_errno(err, NP_FAILED, errno, "%s: cannot write", path);
        for (size_t left = (size_t)put; left > 0;) {
            /* writev takes no more than was there. NOLINTNEXTLINE(clang-analyzer-core.*) */
            size_t step = left < pieces->iov_len ? left : pieces->iov_len;
            pieces->iov_base = (uint8_t *)pieces->iov_base + step;
            pieces->iov_len -= step;
            left -= step;
            if (pieces->iov_len == 0) {
                pieces++;
                count--;
            }
        }
    }
    return 0;
}

int np_file_write(int fd, const char *path, const void *bytes, size_t size, struct np_error *err)
{
    struct iovec piece = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = size};
    return np_file_writev(fd, path, &piece, 1, err);
}

int np_file_write_at(int fd, const char *path, const void *bytes, size_t size, uint64_t pos,
                     struct np_error *err)
{
    const uint8_t *from = bytes;
    while (size > 0) {
        ssize_t put = pwrite(fd, from, size, (off_t)pos);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return np_fail_errno(err, NP_FAILED, errno, "%s: cannot write at byte %ju", path, (uintmax_t)pos);
        from += put;
        pos += (uint64_t)put;
        size -= (size_t)put;
    }
    return 0;
}

void np_file_start_writing(int fd, uint64_t pos, uint64_t size)
{
    sync_file_range(fd, (off_t)pos, (off_t)size, SYNC_FILE_RANGE_WRITE);
}

int np_file_sync(int fd, const char *path, struct np_error *err)
{
    if (fsync(fd) < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot make the data durable", path);
    return 0;
}

/* A temporary file beside the final one, whole and durable. */
static int write_temporary(int dir, const char *path, char temporary[NAME_MAX + 1], const char *name,
                           const void *bytes, size_t size, struct np_error *err)
{
    struct np_uuid random;
    if (np_uuid_random(&random, err) < 0)
        return -1;
    snprintf(temporary, NAME_MAX + 1, ".%.200s.%08x.tmp", name, np_get_le32(random.bytes));

    NP_AUTO_FD int fd = openat(dir, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        np_fail_errno(err, NP_FAILED, errno, "%s: cannot create", path);
        unlinkat(dir, temporary, 0); /* over a network it may be there although that was not the answer */
        return -1;
    }
    bool given = fchmod(fd, 0600) == 0;
    if (!given)
        np_fail_errno(err, NP_FAILED, errno, "%s: cannot set its mode", path);
    if (given && np_file_write(fd, path, bytes, size, err) == 0 && np_file_sync(fd, path, err) == 0)
        return 0;
    unlinkat(dir, temporary, 0);
    return -1;
}

int np_file_replace(int dir, const char *path, const char *name, const void *bytes, size_t size,
                    struct np_error *err)
{
    char temporary[NAME_MAX + 1];
    if (write_temporary(dir, path, temporary, name, bytes, size, err) < 0)
        return -1;
    if (renameat(dir, temporary, dir, name) < 0) {
        np_fail_errno(err, NP_FAILED, errno, "%s: cannot rename into place", path);
        unlinkat(dir, temporary, 0);
        return -1;
    }
    return np_file_sync(dir, path, err);
}

int np_file_place(int dir, const char *path, const char *temporary, const char *name, struct np_error *err)
{
    int moved = renameat2(dir, temporary, dir, name, RENAME_NOREPLACE);
    if (moved < 0 && (errno == EINVAL || errno == ENOSYS)) { /* a file system or a kernel without it */
        moved = linkat(dir, temporary, dir, name, 0);
        if (moved == 0)
            unlinkat(dir, temporary, 0);
    }
    if (moved < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot put into place", path);
    if (np_file_sync(dir, path, err) == 0)
        return 0;
    unlinkat(dir, name, 0); /* who is told that it failed must not find it */
    return -1;
}

int np_file_create_whole(int dir, const char *path, const char *name, const void *bytes, size_t size,
                         struct np_error *err)
{
    char temporary[NAME_MAX + 1];
    if (write_temporary(dir, path, temporary, name, bytes, size, err) < 0)
        return -1;
    if (np_file_place(dir, path, temporary, name, err) < 0) {
        unlinkat(dir, temporary, 0);
        return -1;
    }
    return 0;
}

int np_file_read_whole(int dir, const char *path, const char *name, size_t limit, char **bytes, size_t *size,
                       struct np_error *err)
{
    NP_AUTO_FD int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot open", path);
    struct stat st;
    if (fstat(fd, &st) < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot stat", path);
    if (!S_ISREG(st.st_mode))
        return np_fail(err, NP_DAMAGED, "%s: not a regular file", path);
    if ((uint64_t)st.st_size > limit)
        return np_fail(err, NP_DAMAGED, "%s: %ju bytes, more than the %zu that can be right", path,
                       (uintmax_t)st.st_size, limit);

    NP_AUTO_FREE char *text = malloc((size_t)st.st_size + 1);
    if (text == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s: cannot read", path);
    if (np_file_read_at(fd, path, text, (size_t)st.st_size, 0, err) < 0)
        return -1;
    text[st.st_size] = '\0';
    *size = (size_t)st.st_size;
    *bytes = NP_STEAL(text);
    return 0;
}

/* O_PATH needs no right to the file, and chmod by /proc is of what was opened, whatever has its name now. */
int np_file_set_mode(int dir, const char *path, const char *name, mode_t type, mode_t mode,
                     struct np_error *err)
{
    struct stat st;
    char opened[64];
    NP_AUTO_FD int fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot look at it", path);
    if ((st.st_mode & S_IFMT) != type)
        return np_fail(err, NP_FAILED, "%s: somebody has put something else there", path);
    snprintf(opened, sizeof(opened), "/proc/self/fd/%d", fd);
    if ((st.st_mode & 07777) != mode && chmod(opened, mode) < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot set its mode", path);
    return 0;
}

int np_file_is_at(int fd, int dir, const char *path, const char *name, int flags, bool *is,
                  struct np_error *err)
{
    struct stat held, there;
    *is = false;
    if (fstat(fd, &held) < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot look at it", path);
    if (fstatat(dir, name, &there, flags) == 0)
        *is = held.st_dev == there.st_dev && held.st_ino == there.st_ino;
    else if (errno != ENOENT && errno != ENOTDIR)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot look for it", path);
    return 0;
}

int np_dir_make(int dir, const char *path, const char *name, struct np_error *err)
{
    if (mkdirat(dir, name, 0700) < 0)
        return errno == EEXIST
                   ? 0
                   : np_fail_errno(err, NP_FAILED, errno, "%s: cannot create the directory", path);
    if (np_file_set_mode(dir, path, name, S_IFDIR, 0700, err) == 0)
        return 0;
    unlinkat(dir, name, AT_REMOVEDIR);
    return -1;
}

int np_dir_open(int dir, const char *path, const char *name, struct np_error *err)
{
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        np_fail_errno(err, NP_FAILED, errno, "%s: cannot open the directory", path);
    return fd;
}

int np_dir_sync_name(int dir, const char *path, struct np_error *err)
{
    NP_AUTO_FD int parent = openat(dir, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat st, above;
    /* What is mounted there is named by who mounts it; and an automounter's directory cannot be synced. */
    if (fstat(dir, &st) == 0 && fstatat(dir, "..", &above, 0) == 0 && st.st_dev != above.st_dev)
        return 0;
    if (parent >= 0)
        return np_file_sync(parent, path, err);
    /* Whoever may pass through a directory may not always read it. */
    if (errno == EACCES && syncfs(dir) == 0)
        return 0;
    return np_fail_errno(err, NP_FAILED, errno, "%s: cannot make its name durable", path);
}

static void close_dir(DIR **dir)
{
    if (*dir != NULL)
        closedir(*dir);
}

static int remove_below(int dir, const char *path, int depth, struct np_error *err)
{
    int copy = fcntl(dir, F_DUPFD_CLOEXEC, 0);
    NP_CLEANUP(close_dir) DIR *list = copy < 0 ? NULL : fdopendir(copy);
    if (list == NULL)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot list", path);

    for (struct dirent *entry; (entry = readdir(list)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (unlinkat(dir, entry->d_name, 0) == 0 || errno == ENOENT)
            continue;
        if (errno != EISDIR && errno != EPERM)
            return np_fail_errno(err, NP_FAILED, errno, "%s/%s: cannot remove", path, entry->d_name);
        if (depth == 0)
            return np_fail(err, NP_FAILED, "%s/%s: directories are nested too deep to remove", path,
                           entry->d_name);
        NP_AUTO_FD int below = np_dir_open(dir, path, entry->d_name, err);
        if (below < 0 || remove_below(below, path, depth - 1, err) < 0)
            return -1;
        if (unlinkat(dir, entry->d_name, AT_REMOVEDIR) < 0)
            return np_fail_errno(err, NP_FAILED, errno, "%s/%s: cannot remove", path, entry->d_name);
    }
    return 0;
}

int np_dir_remove(int dir, const char *path, const char *name, struct np_error *err)
{
    NP_AUTO_FD int below = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (below < 0 && errno == ENOENT)
        return 0;
    if (below < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot open the directory to remove it", path);
    if (remove_below(below, path, 8, err) < 0)
        return -1;
    if (unlinkat(dir, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot remove the directory", path);
    return 0;
}

char *np_path_join(const char *a, const char *b)
{
    size_t used = strlen(a);
    bool slash = used > 0 && a[used - 1] == '/';
    char *joined;
    if (asprintf(&joined, "%s%s%s", a, slash ? "" : "/", b) < 0)
        return NULL;
    return joined;
}

bool np_name_is_safe(const char *name)
{
    size_t length = strlen(name);
    return length >= 1 && length <= 64 && name[0] != '.' && name[0] != '-' &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == length;
}
