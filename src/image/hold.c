/*
 * QEMU's lock protocol, block/file-posix.c: whoever has an image open holds a read lock on the byte 100 + N
 * for each thing it does with it, and on 200 + N for each that it does not let others do; it takes its own
 * first, then asks for those of the others. A raw image that qemu-nbd only reads lets others write, so we do
 * not.
 */
#include "nbdpull/image_file.h"

#include "lock.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/log.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#define DOES 100
#define DOES_NOT_SHARE 200

static const int changes[] = {1, 3}; /* to write, to resize */

/* Another server's answer, or a file system without locks: QEMU goes on there too. */
static bool knows_no_locks(int error)
{
    return error == ENOLCK || error == EOPNOTSUPP || error == EINVAL || error == ENOSYS;
}

/* Of the open file, not of the process: not inherited, and another descriptor's close does not end it. */
static int lock_out(int fd, const char *path, struct np_error *err)
{
    for (size_t i = 0; i < NP_ARRAY_SIZE(changes); i++) {
        struct flock ours = {
            .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = DOES_NOT_SHARE + changes[i], .l_len = 1};
        if (fcntl(fd, F_OFD_SETLK, &ours) == 0)
            continue;
        if (errno == EAGAIN || errno == EACCES)
            return np_image_file_busy(path, err);
        if (knows_no_locks(errno)) {
            np_log_debug("%s: its file system knows no locks", path);
            return 0;
        }
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot lock", path);
    }
    for (size_t i = 0; i < NP_ARRAY_SIZE(changes); i++) {
        struct flock theirs = {
            .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = DOES + changes[i], .l_len = 1};
        if (fcntl(fd, F_OFD_GETLK, &theirs) < 0)
            return np_fail_errno(err, NP_FAILED, errno, "%s: cannot ask for its locks", path);
        if (theirs.l_type != F_UNLCK)
            return np_image_file_busy(path, err);
    }
    return 0;
}

/* What it is may have changed since it was looked at: a pipe must not make us wait. */
static int open_image(const char *path, struct np_error *err)
{
    struct stat st;
    NP_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot open", path);
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return np_fail(err, NP_FAILED, "%s: neither a file nor a block device", path);
    return np_steal_fd(&fd);
}

int np_image_holds_add(struct np_image_holds *holds, const char *path, struct np_error *err)
{
    int *more = realloc(holds->fds, (holds->count + 1) * sizeof(*more));
    if (more == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s", path);
    holds->fds = more;
    int fd = open_image(path, err);
    if (fd < 0)
        return -1;
    holds->fds[holds->count++] = fd;
    return lock_out(fd, path, err);
}

void np_image_holds_clear(struct np_image_holds *holds)
{
    for (size_t i = 0; i < holds->count; i++)
        close(holds->fds[i]);
    free(holds->fds);
    *holds = (struct np_image_holds){0};
}
