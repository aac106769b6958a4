#include "home.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

#define MACHINE_ID "/etc/machine-id"
#define MACHINE_ID_MAX 64

/*
 * Where there is none the host's name serves. One that is there and cannot be read just now is an error: by
 * its name the host would be another one, and the set would give up its checkpoints as a copy does.
 * @param found out
 */
static int read_machine_id(char host[NP_HOME_HOST_MAX], bool *found, struct np_error *err)
{
    NP_AUTO_FREE char *text = NULL;
    size_t size;
    struct stat st;
    *found = false;
    if (lstat(MACHINE_ID, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > MACHINE_ID_MAX)
        return 0;
    if (np_file_read_whole(AT_FDCWD, MACHINE_ID, MACHINE_ID, MACHINE_ID_MAX, &text, &size, err) < 0)
        return -1;
    size = strspn(text, "0123456789abcdef");
    *found = size == 32; /* else empty, or "uninitialized" */
    if (*found)
        snprintf(host, NP_HOME_HOST_MAX, "%.32s", text);
    return 0;
}

/*
 * What statfs calls the file system's id is made from its UUID (ext4, btrfs), or drawn by the mount and gone
 * with what it holds (tmpfs), or no more than the device's number (xfs), which counts for nothing; of NFS it
 * is 0. There the inode's number is the server's, and that it is NFS stands for the id.
 */
static uint64_t steady_id(const struct statfs *fs, dev_t dev)
{
    uint32_t id[2];
    _Static_assert(sizeof(id) == sizeof(fs->f_fsid), "two words");
    memcpy(id, &fs->f_fsid, sizeof(id));
    uint32_t minor = minor(dev);
    uint32_t of_device = (minor & 0xff) | major(dev) << 8 | (minor & ~0xffu) << 12; /* the kernel's own way */
    if (id[1] == 0 && id[0] == of_device)
        return 0;
    if (id[0] == 0 && id[1] == 0 && fs->f_type == NFS_SUPER_MAGIC)
        return NFS_SUPER_MAGIC;
    return (uint64_t)id[1] << 32 | id[0];
}

int np_home_find(int dir, const char *path, struct np_home *home, struct np_error *err)
{
    *home = (struct np_home){0};
    bool found;
    if (read_machine_id(home->host, &found, err) < 0)
        return -1;
    if (!found && gethostname(home->host, sizeof(home->host) - 1) < 0)
        return np_fail_errno(err, NP_FAILED, errno, "cannot tell this host's name");
    struct stat st;
    struct statfs fs;
    struct statx times;
    if (fstat(dir, &st) < 0 || fstatfs(dir, &fs) < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot stat", path);
    home->dev = st.st_dev;
    home->ino = st.st_ino;
    home->fs = steady_id(&fs, st.st_dev);
    if (statx(dir, "", AT_EMPTY_PATH, STATX_BTIME, &times) == 0 && (times.stx_mask & STATX_BTIME) != 0 &&
        times.stx_btime.tv_sec > 0)
        home->born = (uint64_t)times.stx_btime.tv_sec * 1000000000 + times.stx_btime.tv_nsec;
    return 0;
}

void np_home_id(const struct np_uuid *uuid, char id[NP_HOME_ID_SIZE])
{
    char text[NP_UUID_TEXT_SIZE];
    np_uuid_format(uuid, text); /* 8 digits, a dash, 4 digits, ... */
    memcpy(id, text, 8);
    memcpy(id + 8, text + 9, 4);
    id[12] = '\0';
}

/* A copy of a directory is made at another time, whatever it was told to keep; of another file system too. */
bool np_home_equal(const struct np_home *a, const struct np_home *b)
{
    bool fs = a->fs != 0 && b->fs != 0, born = a->born != 0 && b->born != 0;
    if (strcmp(a->host, b->host) != 0 || a->ino != b->ino || (fs && a->fs != b->fs) ||
        (born && a->born != b->born))
        return false;
    return fs || born || a->dev == b->dev;
}

bool np_home_tells_more(const struct np_home *found, const struct np_home *noted)
{
    return (found->fs != 0 && noted->fs == 0) || (found->born != 0 && noted->born == 0);
}
