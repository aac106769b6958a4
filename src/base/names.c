#include "nbdpull/names.h"

#include "nbdpull/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

int np_names_add(struct np_names *names, const char *name, struct np_error *err)
{
    /* The room doubles whenever the count reaches a power of two. */
    if ((names->count & (names->count - 1)) == 0) {
        size_t room = names->count == 0 ? 1 : names->count * 2;
        char **list = reallocarray(names->list, room, sizeof(*list));
        if (list == NULL)
            return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot list");
        names->list = list;
    }
    char *copy = strdup(name);
    if (copy == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot list");
    names->list[names->count++] = copy;
    return 0;
}

void np_names_clear(struct np_names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->list[i]);
    free(names->list);
    *names = (struct np_names){0};
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void close_list(DIR **list)
{
    if (*list != NULL)
        closedir(*list);
}

int np_names_of_dir(int dir, const char *path, struct np_names *names, struct np_error *err)
{
    /* Opened anew: a duplicate would share its place in the listing with dir. */
    NP_AUTO_FD int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    NP_CLEANUP(close_list) DIR *list = fd < 0 ? NULL : fdopendir(fd);
    if (list == NULL)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot list", path);
    (void)np_steal_fd(&fd);

    struct dirent *entry;
    while (errno = 0, (entry = readdir(list)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (np_names_add(names, entry->d_name, err) < 0)
            return -1;
    }
    if (errno != 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot list", path);
    if (names->count > 0)
        qsort(names->list, names->count, sizeof(*names->list), compare);
    return 0;
}

/* The NAME of ours: what may be a key of a set, or a file of a restore. */
static bool may_be_ours(const char *name, size_t length)
{
    return length >= 1 && name[0] != '.' && name[0] != '-' &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") >= length;
}

bool np_names_is_unfinished(const char *name, const char *ending, size_t *length)
{
    const size_t tail = strlen(".01234567.") + strlen(ending);
    size_t whole = strlen(name);
    if (name[0] != '.' || whole <= 1 + tail)
        return false;
    const char *at = name + whole - tail;
    *length = whole - tail - 1;
    return at[0] == '.' && strspn(at + 1, "0123456789abcdef") == 8 && at[9] == '.' &&
           strcmp(at + 10, ending) == 0 && may_be_ours(name + 1, *length);
}

bool np_names_is_temporary(const char *name)
{
    size_t length;
    return np_names_is_unfinished(name, "tmp", &length);
}
