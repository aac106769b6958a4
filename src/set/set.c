#include "internal.h"
#include "lock.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"
#include "nbdpull/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static void close_half_open(struct np_set **set)
{
    if (*set != NULL)
        np_set_abandon(*set);
    np_set_close(*set);
}

static struct np_set *new_set(const char *path, struct np_error *err)
{
    struct np_set *set = malloc(sizeof(*set));
    char *copy = strdup(path);
    if (set == NULL || copy == NULL) {
        free(set);
        free(copy);
        np_fail_errno(err, NP_FAILED, ENOMEM, "%s: cannot open the backup set", path);
        return NULL;
    }
    *set = (struct np_set){.path = copy, .dir = -1, .lock = -1};
    return set;
}

static bool is_repair(enum np_set_mode mode)
{
    return mode == NP_SET_REPAIR || mode == NP_SET_REPAIR_LOOK;
}

/* Else it would be found out at the commit, when all was read. */
static int check_can_write(const struct np_set *set, const char *name, struct np_error *err)
{
    if (faccessat(set->dir, name, W_OK | X_OK, AT_EACCESS) == 0 || errno == ENOENT)
        return 0;
    bool top = strcmp(name, ".") == 0;
    return np_fail_errno(err, NP_FAILED, errno, "%s%s%s: the backup set cannot be written", set->path,
                         top ? "" : "/", top ? "" : name);
}

static int check_all_can_be_written(const struct np_set *set, struct np_error *err)
{
    if (check_can_write(set, ".", err) < 0)
        return -1;
    for (size_t i = 0; np_store_areas[i] != NULL; i++)
        if (check_can_write(set, np_store_areas[i], err) < 0)
            return -1;
    return 0;
}

static int fail_without_json(const struct np_set *set, struct np_error *err)
{
    np_fail(err, NP_FAILED, "%s: not a backup set: it has no set.json", set->path);
    return np_lost_say(set->dir, set->path, err);
}

static int open_directory(struct np_set *set, enum np_set_mode mode, struct np_error *err)
{
    if (mode == NP_SET_CREATE && np_create_directory(set->path, &set->made_directory, err) < 0)
        return -1;
    set->dir = open(set->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (set->dir < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot open the backup set", set->path);
    if (faccessat(set->dir, "set.json", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return 0;
    if (errno != ENOENT)
        return np_fail_errno(err, NP_FAILED, errno, "%s/set.json: cannot open", set->path);
    if (is_repair(mode) && faccessat(set->dir, "streams", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return 0;
    if (mode != NP_SET_CREATE)
        return fail_without_json(set, err);
    if (np_create_check_empty(set->dir, set->path, err) < 0)
        return -1;
    return np_dir_sync_name(set->dir, set->path, err); /* a run that made it may have been killed */
}

static int load(struct np_set *set, enum np_set_mode mode, struct np_error *err)
{
    bool found;
    if (np_set_json_read(set->store, set->path, &set->json, &found, err) < 0) {
        if (!is_repair(mode) || err->class != NP_DAMAGED)
            return err->class == NP_DAMAGED ? np_lost_say(set->dir, set->path, err) : -1;
        set->damaged = *err;
        *err = (struct np_error)NP_ERROR_INIT;
        found = false;
    }
    if (found)
        return 0;
    if (is_repair(mode)) {
        set->json = (struct np_set_json){.next = 1};
        set->lost = true;
        return 0;
    }
    if (mode != NP_SET_CREATE)
        return fail_without_json(set, err);
    return np_create_json(set->store, set->dir, set->path, &set->json, err);
}

/*
 * A set that was copied or moved gets a new id for checkpoint names: then those made before, which may belong
 * to the original, are not taken for its own. One that is where it was only gets noted what is found out now.
 */
static int settle(struct np_set *set, struct np_error *err)
{
    struct np_home home;
    if (np_home_find(set->dir, set->path, &home, err) < 0)
        return -1;
    set->moved = !np_home_equal(&home, &set->json.home);
    if (set->lock < 0 || !(set->moved || np_home_tells_more(&home, &set->json.home)))
        return 0;

    struct np_set_json json = set->json;
    struct np_uuid random;
    json.home = home;
    if (set->moved) {
        if (np_uuid_random(&random, err) < 0)
            return -1;
        np_home_id(&random, json.home_id);
    }
    if (np_set_json_write(set->store, set->path, &json, err) < 0)
        return -1;
    set->json = json;
    if (!set->moved)
        return 0;
    np_log_warning("%s: the backup set was copied or moved here; checkpoints that it made before are left "
                   "in the guest, and \"nbdpull checkpoints --remove\" removes them",
                   set->path);
    return 0;
}

/* What is no directory is refused by whoever wants something of it. */
static int sync_area(const struct np_set *set, const char *name, struct np_error *err)
{
    NP_AUTO_FD int area = openat(set->dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (area >= 0)
        return np_file_sync(area, set->path, err);
    if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP)
        return 0;
    return np_fail_errno(err, NP_FAILED, errno, "%s/%s: cannot open the directory", set->path, name);
}

/*
 * A run or a repair that was killed may have given a file its name, such as a record, and not have synced it.
 * What is done next, to its intent or by a point that builds on it, must not outlive it when the power is
 * cut.
 */
static int sync_names(const struct np_set *set, struct np_error *err)
{
    for (size_t i = 0; np_store_areas[i] != NULL; i++)
        if (sync_area(set, np_store_areas[i], err) < 0)
            return -1;
    return np_file_sync(set->dir, set->path, err);
}

static int open_store(struct np_set *set, enum np_set_mode mode, struct np_error *err)
{
    bool writes = mode != NP_SET_READ && mode != NP_SET_REPAIR_LOOK;
    if (np_store_dir_open(set->dir, set->path, writes, &set->store, err) < 0)
        return -1;
    if (mode == NP_SET_CREATE && np_create_areas(set->dir, set->path, err) < 0)
        return -1;
    if (writes && sync_names(set, err) < 0)
        return -1;
    if (load(set, mode, err) < 0)
        return -1;
    return is_repair(mode) ? 0 : settle(set, err); /* the next backup notes the place */
}

static int lock(struct np_set *set, enum np_set_mode mode, const char *command, struct np_error *err)
{
    if (mode == NP_SET_REPAIR_LOOK)
        return np_lock_share(set->dir, set->path, &set->lock, err);
    return np_lock_take(set->dir, set->path, command, &set->lock, err);
}

int np_set_open(const char *path, enum np_set_mode mode, const char *command, struct np_set **out,
                struct np_error *err)
{
    NP_CLEANUP(close_half_open) struct np_set *set = new_set(path, err);
    if (set == NULL || open_directory(set, mode, err) < 0)
        return -1;
    if ((mode == NP_SET_CREATE || mode == NP_SET_REPAIR) && check_all_can_be_written(set, err) < 0)
        return -1;
    if (mode != NP_SET_READ && lock(set, mode, command, err) < 0)
        return -1;
    set->made = mode == NP_SET_CREATE && faccessat(set->dir, "set.json", F_OK, AT_SYMLINK_NOFOLLOW) < 0 &&
                errno == ENOENT;
    if (open_store(set, mode, err) < 0)
        return -1;
    *out = NP_STEAL(set);
    return 0;
}

int np_set_adopt(const char *path, int lock, struct np_set **out, struct np_error *err)
{
    NP_CLEANUP(close_half_open) struct np_set *set = new_set(path, err);
    if (set == NULL || open_directory(set, NP_SET_WRITE, err) < 0 ||
        np_lock_check(set->dir, path, lock, err) < 0 || open_store(set, NP_SET_WRITE, err) < 0)
        return -1;
    set->lock = lock;
    *out = NP_STEAL(set);
    return 0;
}

int np_set_look(const char *path, bool *found, struct np_error *err)
{
    NP_AUTO_FD int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *found = false;
    if (dir < 0 && errno == ENOENT)
        return 0;
    if (dir < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot open the backup set", path);
    *found = faccessat(dir, "set.json", F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    return *found ? 0 : np_create_check_empty(dir, path, err);
}

void np_set_close(struct np_set *set)
{
    if (set == NULL)
        return;
    np_written_clear(set);
    if (set->store != NULL)
        set->store->ops->close(set->store);
    /* Not LOCK_UN: a guardian that inherited the descriptor keeps the set locked until it is done. */
    np_cleanup_fd(&set->lock);
    np_cleanup_fd(&set->dir);
    free(set->path);
    free(set);
}

int np_set_is_in_place(const struct np_set *set, bool *in_place, struct np_error *err)
{
    return np_file_is_at(set->dir, AT_FDCWD, set->path, set->path, 0, in_place, err);
}

int np_set_check_place(struct np_set *set, struct np_error *err)
{
    bool in_place;
    if (np_set_is_in_place(set, &in_place, err) < 0)
        return -1;
    if (!in_place)
        return np_fail(
            err, NP_FAILED,
            "%s: the backup set is not there any more: it was moved, deleted, unmounted or replaced "
            "meanwhile",
            set->path);
    return set->store->ops->check_place(set->store, err);
}

const char *np_set_path(const struct np_set *set)
{
    return set->path;
}

const struct np_uuid *np_set_uuid(const struct np_set *set)
{
    return &set->json.uuid;
}

const char *np_set_short_id(const struct np_set *set)
{
    return set->json.home_id;
}

int np_set_lock_fd(const struct np_set *set)
{
    return set->lock;
}

bool np_set_moved(const struct np_set *set)
{
    return set->moved;
}

const char *np_set_domain_name(const struct np_set *set)
{
    return set->json.domain_name;
}

const struct np_uuid *np_set_domain(const struct np_set *set)
{
    return &set->json.domain;
}

static int fail_foreign(const struct np_set *set, const char *name, const struct np_uuid *domain,
                        struct np_error *err)
{
    char bound[NP_UUID_TEXT_SIZE], wanted[NP_UUID_TEXT_SIZE];
    np_uuid_format(&set->json.domain, bound);
    np_uuid_format(domain, wanted);
    return np_fail(err, NP_FAILED,
                   "%s: this backup set belongs to domain %s (%s), not to %s (%s); give each domain its own",
                   set->path, set->json.domain_name, bound, name, wanted);
}

int np_set_check_domain(const struct np_set *set, const char *domain_name, const struct np_uuid *domain,
                        struct np_error *err)
{
    bool bound = set->json.domain_name[0] != '\0';
    if (bound && !np_uuid_equal(&set->json.domain, domain))
        return fail_foreign(set, domain_name, domain, err);
    return 0;
}

int np_set_bind(struct np_set *set, const char *domain_name, const struct np_uuid *domain,
                struct np_error *err)
{
    bool bound = set->json.domain_name[0] != '\0';
    if (np_set_check_domain(set, domain_name, domain, err) < 0)
        return -1;
    if (bound && strcmp(set->json.domain_name, domain_name) == 0)
        return 0;

    struct np_set_json json = set->json;
    size_t length = strlen(domain_name);
    if (length == 0 || length >= sizeof(json.domain_name))
        return np_fail(err, NP_FAILED, "%s: a domain name of %zu bytes cannot be kept", set->path, length);
    memcpy(json.domain_name, domain_name, length + 1);
    json.domain = *domain;
    if (np_set_json_write(set->store, set->path, &json, err) < 0)
        return -1;
    if (bound)
        np_log_info("%s: the domain is called %s now, it was %s", set->path, domain_name,
                    set->json.domain_name);
    set->json = json;
    return 0;
}
