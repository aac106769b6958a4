#include "workdir.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"
#include "nbdpull/uuid.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define PREFIX "nbdpull-"
#define DYING_MS 1000

int np_workdir_name(const char *parent, char **path, struct np_error *err)
{
    struct np_uuid random;
    char name[sizeof(PREFIX) + 8];
    if (np_uuid_random(&random, err) < 0)
        return -1;
    snprintf(name, sizeof(name), PREFIX "%08x", np_get_le32(random.bytes));
    *path = np_path_join(parent, name);
    return *path != NULL ? 0 : np_fail_errno(err, NP_FAILED, ENOMEM, "%s", parent);
}

int np_workdir_give(int held, const char *path, uid_t owner, gid_t group, struct np_error *err)
{
    if (fchown(held, owner, group) < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot give the directory to QEMU's user %u:%u",
                             path, (unsigned)owner, (unsigned)group);
    return 0;
}

/* Nobody else may have put another one in its place before it was opened. */
static int open_made(const char *path, int *held, struct np_error *err)
{
    struct stat st;
    if (np_file_set_mode(AT_FDCWD, path, path, S_IFDIR, 0700, err) < 0)
        return -1;
    NP_AUTO_FD int fd = np_dir_open(AT_FDCWD, path, path, err);
    if (fd < 0)
        return -1;
    if (fstat(fd, &st) < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot look at it", path);
    if (st.st_uid != geteuid() || (st.st_mode & 07777) != 0700)
        return np_fail(err, NP_FAILED, "%s: somebody has put another directory there", path);
    flock(fd, LOCK_EX | LOCK_NB); /* where there are none, nobody will find it held */
    *held = np_steal_fd(&fd);
    return 0;
}

int np_workdir_make(const char *path, int *held, struct np_error *err)
{
    if (mkdir(path, 0700) < 0) {
        int why = errno;
        if (why != EEXIST) /* over a network it may be there although that was not the answer */
            rmdir(path);
        return np_fail_errno(err, NP_FAILED, why,
                             "%s: cannot make a directory for socket and scratch (choose another place with "
                             "--scratch-dir)",
                             path);
    }
    if (open_made(path, held, err) == 0)
        return 0;
    rmdir(path);
    return -1;
}

/* A process that is being killed loses its lock a moment later than others notice that it is gone. */
bool np_workdir_is_used(const char *path)
{
    NP_AUTO_FD int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return false;
    for (int waited = 0; waited < DYING_MS; waited += 10) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK)
            return false;
        poll(NULL, 0, 10);
    }
    return true;
}

static bool ends_with(const char *name, const char *ending)
{
    size_t length = strlen(name), of = strlen(ending);
    return length > of && strcmp(name + length - of, ending) == 0;
}

static bool is_socket(const char *name)
{
    return strcmp(name, NP_WORKDIR_SOCKET) == 0 || ends_with(name, NP_WORKDIR_EXPORT);
}

static bool is_scratch(const char *name)
{
    return ends_with(name, NP_WORKDIR_SCRATCH);
}

/* The path may come from a file that somebody changed. */
static bool is_workdir(const char *path)
{
    if (path[0] != '/')
        return false;
    const char *name = strrchr(path, '/') + 1;
    return strncmp(name, PREFIX, strlen(PREFIX)) == 0 && strlen(name) == sizeof(PREFIX) + 7 &&
           strspn(name + strlen(PREFIX), "0123456789abcdef") == 8;
}

bool np_workdir_is_socket(const char *path, const char *socket)
{
    size_t length = strlen(path);
    return is_workdir(path) && strncmp(socket, path, length) == 0 &&
           strcmp(socket + length, "/" NP_WORKDIR_SOCKET) == 0;
}

static void close_dir(DIR **dir)
{
    if (*dir != NULL)
        closedir(*dir);
}

void np_workdir_look(const char *path, struct np_workdir_holds *holds)
{
    *holds = (struct np_workdir_holds){0};
    NP_CLEANUP(close_dir) DIR *list = is_workdir(path) ? opendir(path) : NULL;
    if (list == NULL)
        return;
    holds->directory = true;
    for (struct dirent *entry; (entry = readdir(list)) != NULL;) {
        holds->socket |= is_socket(entry->d_name);
        holds->scratch |= is_scratch(entry->d_name);
    }
}

int np_workdir_remove(const char *path, struct np_error *err)
{
    if (!is_workdir(path))
        return np_fail(err, NP_FAILED, "%s: not a directory that nbdpull makes for a run; not removed", path);

    NP_AUTO_FD int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return 0;
    int copy = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
    NP_CLEANUP(close_dir) DIR *list = copy < 0 ? NULL : fdopendir(copy);
    if (list == NULL)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot look into it to remove it", path);
    for (struct dirent *entry; (entry = readdir(list)) != NULL;)
        if ((is_socket(entry->d_name) || is_scratch(entry->d_name)) && unlinkat(fd, entry->d_name, 0) < 0 &&
            errno != ENOENT)
            return np_fail_errno(err, NP_FAILED, errno, "%s/%s: cannot remove", path, entry->d_name);
    if (rmdir(path) < 0 && errno != ENOENT)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot remove", path);
    return 0;
}
