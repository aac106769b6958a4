#include "opened.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void close_directory(DIR **directory)
{
    if (*directory != NULL)
        closedir(*directory);
}

/* Open for writing? Others read it beside the guest. The mode of the link tells. */
static bool is_written(DIR *fds, const char *name)
{
    struct stat link;
    return fstatat(dirfd(fds), name, &link, AT_SYMLINK_NOFOLLOW) == 0 && (link.st_mode & S_IWUSR) != 0;
}

/* By name only: to look at a stranger's file can hang, where its server does. */
static bool has_image(DIR *fds, const char *image)
{
    char link[PATH_MAX];
    rewinddir(fds);
    for (const struct dirent *entry; (entry = readdir(fds)) != NULL;) {
        ssize_t length = readlinkat(dirfd(fds), entry->d_name, link, sizeof(link));
        if (length > 0 && (size_t)length == strlen(image) && memcmp(link, image, (size_t)length) == 0 &&
            is_written(fds, entry->d_name))
            return true;
    }
    return false;
}

static bool has_file(DIR *fds, const struct stat *file)
{
    struct stat st;
    rewinddir(fds);
    for (const struct dirent *entry; (entry = readdir(fds)) != NULL;)
        if (fstatat(dirfd(fds), entry->d_name, &st, 0) == 0 && st.st_dev == file->st_dev &&
            st.st_ino == file->st_ino)
            return true;
    return false;
}

static bool has_all(DIR *fds, const struct stat below[], size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!has_file(fds, &below[i]))
            return false;
    return true;
}

bool np_opened_others(const char *image, const struct stat below[], size_t count)
{
    bool others = false;
    NP_AUTO_FREE char *path = realpath(image, NULL);
    NP_CLEANUP(close_directory) DIR *processes = opendir("/proc");
    if (path == NULL || processes == NULL)
        return false;
    for (const struct dirent *entry; (entry = readdir(processes)) != NULL;) {
        char name[sizeof(entry->d_name) + 16];
        if (entry->d_name[strspn(entry->d_name, "0123456789")] != '\0')
            continue;
        snprintf(name, sizeof(name), "/proc/%s/fd", entry->d_name);
        NP_CLEANUP(close_directory) DIR *fds = opendir(name);
        if (fds == NULL || !has_image(fds, path))
            continue;
        if (has_all(fds, below, count))
            return false;
        others = true;
    }
    return others;
}
