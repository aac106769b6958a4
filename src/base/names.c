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

bool np_names_is_temporary(const char *name)
{
    static const char end[] = ".01234567.tmp";
    const size_t end_size = sizeof(end) - 1;
    size_t length = strlen(name);
    if (name[0] != '.' || length <= end_size)
        return false;
    const char *at = name + length - end_size;
    return at[0] == '.' && strspn(at + 1, "0123456789abcdef") == 8 && strcmp(at + 9, ".tmp") == 0;
}
