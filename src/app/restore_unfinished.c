/*
 * What a restore that was killed left in the directory of the next one: hidden files, as large as the disk.
 */
#include "restore_parts.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/log.h"
#include "nbdpull/names.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define NAMED_MAX 4

static bool ends_with(const char *name, size_t length, const char *ending)
{
    size_t size = strlen(ending);
    return length > size && strncmp(name + length - size, ending, size) == 0;
}

/* Images and lists of losses, and what is written beside them; each until it gets its name. */
static bool is_unfinished(const char *name)
{
    size_t length;
    if (np_names_is_unfinished(name, "part", &length)) {
        if (ends_with(name + 1, length, ".losses"))
            return true;
        for (const struct np_target_ops *const *target = np_target_all(); *target != NULL; target++) {
            char ending[32];
            snprintf(ending, sizeof(ending), ".%s", (*target)->extension);
            if (ends_with(name + 1, length, ending))
                return true;
        }
    } else if (np_names_is_unfinished(name, "tmp", &length)) {
        for (size_t i = 0; np_companion_endings[i] != NULL; i++)
            if (ends_with(name + 1, length, np_companion_endings[i]))
                return true;
    }
    return false;
}

/*
 * A lock that all may have at once, on the directory itself, and the question who else has it. It is the
 * kernel's, so it ends with its holder; and nobody ever waits for it.
 */
static bool others_restore(const struct np_restore_dir *dir)
{
    struct flock ours = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    struct flock any = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(dir->fd, F_OFD_SETLK, &ours) < 0 || fcntl(dir->fd, F_OFD_GETLK, &any) < 0 ||
           any.l_type != F_UNLCK;
}

void np_restore_warn_of_unfinished(const struct np_restore_dir *dir)
{
    NP_CLEANUP(np_names_clear) struct np_names names = {0};
    struct np_error why = NP_ERROR_INIT;
    char text[NAMED_MAX * 300] = "";
    size_t used = 0, count = 0;
    uint64_t bytes = 0;
    /* In this order: the maker of a file that was listed has the lock still, or the file its name, or nobody
     * the lock. */
    int listed = np_names_of_dir(dir->fd, dir->path, &names, &why);
    bool others = others_restore(dir);
    if (listed < 0)
        np_log_warning("%s", why.message);
    if (others || listed < 0)
        return;
    for (size_t i = 0; i < names.count; i++) {
        struct stat st;
        if (!is_unfinished(names.list[i]) || fstatat(dir->fd, names.list[i], &st, AT_SYMLINK_NOFOLLOW) < 0 ||
            !S_ISREG(st.st_mode))
            continue;
        bytes += (uint64_t)st.st_blocks * 512;
        if (count++ < NAMED_MAX)
            used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s", used > 0 ? ", " : "",
                                     names.list[i]);
    }
    if (count == 1)
        np_log_warning("%s/%s, %ju bytes, was left by a restore that was killed; it can be removed",
                       dir->path, text, (uintmax_t)bytes);
    else if (count > 1)
        np_log_warning(
            "%s: %zu files, %ju bytes, were left by restores that were killed; they can be removed: %s%s",
            dir->path, count, (uintmax_t)bytes, text, count > NAMED_MAX ? ", ..." : "");
}
