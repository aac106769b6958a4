#include "internal.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The directory that holds path, and path's own name in it. The root has none: "". */
static int split(const char *path, char **parent, char **name, struct np_error *err)
{
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/')
        length--;
    size_t from = length;
    while (from > 0 && path[from - 1] != '/')
        from--;
    *name = strndup(path + from, length - from);
    *parent = from == 0 ? strdup(".") : strndup(path, from);
    if (*name == NULL || *parent == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s: cannot create the backup set", path);
    return 0;
}

int np_create_directory(const char *path, bool *made, struct np_error *err)
{
    struct stat st;
    *made = false;
    if (stat(path, &st) == 0)
        return 0;
    if (errno != ENOENT)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot create the backup set", path);

    NP_AUTO_FREE char *parent = NULL;
    NP_AUTO_FREE char *name = NULL;
    if (split(path, &parent, &name, err) < 0)
        return -1;
    NP_AUTO_FD int dir = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot create the backup set: %s", path, parent);
    if (np_dir_make(dir, path, name, err) < 0)
        return -1;
    *made = true;
    return 0;
}

static bool is_area(const char *name)
{
    for (size_t i = 0; np_store_areas[i] != NULL; i++) {
        if (strcmp(name, np_store_areas[i]) == 0)
            return true;
    }
    return false;
}

/* An area with anything in it means that set.json was lost, not that it was never written. */
static int check_area_empty(int dir, const char *path, const char *name, struct np_error *err)
{
    NP_AUTO_FD int area = np_dir_open(dir, path, name, err);
    NP_CLEANUP(np_names_clear) struct np_names names = {0};
    if (area < 0 || np_names_of_dir(area, path, &names, err) < 0)
        return -1;
    for (size_t i = 0; i < names.count; i++) {
        if (np_names_is_temporary(names.list[i]))
            continue;
        np_fail(err, NP_DAMAGED, "%s: %s/%s is there but set.json is missing, so no new set is made here",
                path, name, names.list[i]);
        return np_lost_say(dir, path, err);
    }
    return 0;
}

int np_create_check_empty(int dir, const char *path, struct np_error *err)
{
    NP_CLEANUP(np_names_clear) struct np_names names = {0};
    if (np_names_of_dir(dir, path, &names, err) < 0)
        return -1;
    for (size_t i = 0; i < names.count; i++) {
        const char *name = names.list[i];
        if (is_area(name)) {
            if (check_area_empty(dir, path, name, err) < 0)
                return -1;
            continue;
        }
        /* lost+found: a file system made for this set alone. */
        if (strcmp(name, "lock") == 0 || strcmp(name, "lost+found") == 0 || np_names_is_temporary(name))
            continue;
        return np_fail(
            err, NP_FAILED,
            "%s: not empty (it holds \"%s\") and not a backup set; give an empty or a new directory", path,
            name);
    }
    return 0;
}

int np_create_areas(int dir, const char *path, struct np_error *err)
{
    bool made = false;
    for (size_t i = 0; np_store_areas[i] != NULL; i++) {
        if (faccessat(dir, np_store_areas[i], F_OK, AT_SYMLINK_NOFOLLOW) == 0)
            continue;
        NP_AUTO_FREE char *area = np_path_join(path, np_store_areas[i]);
        if (area == NULL)
            return np_fail_errno(err, NP_FAILED, ENOMEM, "%s: cannot create directories", path);
        if (np_dir_make(dir, area, np_store_areas[i], err) < 0)
            return -1;
        made = true;
    }
    return made ? np_file_sync(dir, path, err) : 0;
}

int np_create_json(struct np_store *store, int dir, const char *path, struct np_set_json *json,
                   struct np_error *err)
{
    *json = (struct np_set_json){.next = 1};
    if (np_uuid_random(&json->uuid, err) < 0 || np_home_find(dir, path, &json->home, err) < 0)
        return -1;
    np_home_id(&json->uuid, json->home_id);
    return np_set_json_write(store, path, json, err);
}

static bool remove_name(int dir, const char *name, int flags)
{
    return unlinkat(dir, name, flags) == 0 || errno == ENOENT;
}

/* Only under the lock: another process may be making the set. */
static bool remove_contents(struct np_set *set)
{
    for (size_t i = 0; np_store_areas[i] != NULL; i++)
        if (!remove_name(set->dir, np_store_areas[i], AT_REMOVEDIR))
            return false;
    return remove_name(set->dir, "set.json", 0) && remove_name(set->dir, "lock", 0);
}

/* Whatever does not go is left: an empty set is harmless, and what somebody put into it is not ours. */
void np_set_abandon(struct np_set *set)
{
    if (set->made && (set->json.committed > 0 || !remove_contents(set)))
        return;
    bool in_place;
    struct np_error ignored = NP_ERROR_INIT;
    if (set->made_directory && np_set_is_in_place(set, &in_place, &ignored) == 0 && in_place)
        rmdir(set->path);
}
