#include "workdir.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define PREFIX "nbdpull-"

int np_workdir_make(const char *parent, const uid_t *owner, const gid_t *group, char **path,
                    struct np_error *err)
{
    NP_AUTO_FREE char *made = np_path_join(parent, PREFIX "XXXXXX");
    if (made == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s", parent);
    if (mkdtemp(made) == NULL)
        return np_fail_errno(err, NP_FAILED, errno,
                             "%s: cannot make a directory for socket and scratch (choose another with "
                             "--scratch-dir)",
                             parent);
    if (owner != NULL && chown(made, *owner, *group) < 0) {
        np_fail_errno(err, NP_FAILED, errno, "%s: cannot give the directory to QEMU's user %u:%u", made,
                      (unsigned)*owner, (unsigned)*group);
        rmdir(made);
        return -1;
    }
    *path = NP_STEAL(made);
    return 0;
}

static bool is_ours(const char *name)
{
    size_t length = strlen(name), ending = strlen(NP_WORKDIR_SCRATCH);
    return strcmp(name, NP_WORKDIR_SOCKET) == 0 ||
           (length > ending && strcmp(name + length - ending, NP_WORKDIR_SCRATCH) == 0);
}

static void close_dir(DIR **dir)
{
    if (*dir != NULL)
        closedir(*dir);
}

int np_workdir_remove(const char *path, struct np_error *err)
{
    const char *slash = strrchr(path, '/');
    if (path[0] != '/' || strncmp(slash + 1, PREFIX, strlen(PREFIX)) != 0)
        return np_fail(err, NP_FAILED, "%s: not a directory that nbdpull makes for a run; not removed", path);

    NP_AUTO_FD int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return 0;
    int copy = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
    NP_CLEANUP(close_dir) DIR *list = copy < 0 ? NULL : fdopendir(copy);
    if (list == NULL)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot look into it to remove it", path);
    for (struct dirent *entry; (entry = readdir(list)) != NULL;)
        if (is_ours(entry->d_name) && unlinkat(fd, entry->d_name, 0) < 0 && errno != ENOENT)
            return np_fail_errno(err, NP_FAILED, errno, "%s/%s: cannot remove", path, entry->d_name);
    if (rmdir(path) < 0 && errno != ENOENT)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot remove", path);
    return 0;
}
