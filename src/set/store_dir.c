#include "store.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"
#include "nbdpull/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

const char *const np_store_areas[] = {"points", "streams", "config", NULL};

#define AREA_COUNT (NP_ARRAY_SIZE(np_store_areas) - 1)
#define PARTS_MAX 3
#define PART_SIZE_MAX 100

struct store_dir {
    struct np_store base;
    int top;               /* borrowed */
    int areas[AREA_COUNT]; /* -1 before its first use */
    char *path;
    bool writable;
};

/* Where a key leads: the open directory, the name in it, and the whole path for messages. */
struct place {
    int dir;
    const char *name; /* borrowed from the key */
    char *path;
};

static void leave(struct place *place)
{
    np_cleanup_fd(&place->dir);
    free(place->path);
}

#define NP_PLACE NP_CLEANUP(leave) struct place place = {.dir = -1}

static struct store_dir *self_of(struct np_store *store)
{
    return (struct store_dir *)store;
}

/* Length of the key's next part, or 0 when it is none that may become a file name. */
static size_t part_length(const char *key)
{
    size_t length = strspn(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
    bool ends = key[length] == '\0' || key[length] == '/';
    return ends && length <= PART_SIZE_MAX && key[0] != '.' && key[0] != '-' ? length : 0;
}

static int check_key(const struct store_dir *self, const char *key, struct np_error *err)
{
    const char *at = key;
    for (int parts = 0; parts < PARTS_MAX; parts++) {
        size_t length = part_length(at);
        if (length == 0)
            break;
        if (at[length] == '\0')
            return 0;
        at += length + 1;
    }
    return np_fail(err, NP_DAMAGED, "%s: \"%.200s\" is no name of a file in a backup set", self->path, key);
}

static int check_writable(const struct store_dir *self, struct np_error *err)
{
    if (!self->writable)
        return np_fail(err, NP_FAILED, "%s: the backup set is open for reading only", self->path);
    return 0;
}

/* A link is never followed (O_NOFOLLOW); this only gives it a message of its own. */
static int refuse_link(int dir, const char *name, const char *path, struct np_error *err)
{
    struct stat st;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode))
        return np_fail(err, NP_DAMAGED, "%s: \"%s\" is a symbolic link, which a set must not contain", path,
                       name);
    return 0;
}

static int open_part(int dir, const char *path, const char *name, bool make, int *part, struct np_error *err)
{
    if (refuse_link(dir, name, path, err) < 0)
        return -1;
    if (make && faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0) {
        if (np_dir_make(dir, path, name, err) < 0 || np_file_sync(dir, path, err) < 0)
            return -1;
    }
    *part = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (*part < 0 && errno == ENOENT)
        return 0;
    if (*part < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot open the directory", path);
    return 1;
}

/* The descriptor of an area, or NULL: no area bears that name. */
static int *area_of(struct store_dir *self, const char *name)
{
    for (size_t i = 0; i < AREA_COUNT; i++)
        if (strcmp(np_store_areas[i], name) == 0)
            return &self->areas[i];
    return NULL;
}

/* As open_part, of one of the store's own. */
static int open_first(struct store_dir *self, const char *path, const char *name, bool make, int *part,
                      struct np_error *err)
{
    int *area = area_of(self, name);
    if (area == NULL)
        /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): no store is without itself */
        return open_part(self->top, path, name, make, part, err);
    int found = *area >= 0 ? 1 : open_part(self->top, path, name, make, area, err);
    if (found <= 0)
        return found;
    *part = openat(*area, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *part >= 0 ? 1 : np_fail_errno(err, NP_FAILED, errno, "%s: cannot open the directory", path);
}

/* Find the place of a key, whatever stands there. @return as locate */
static int locate_any(struct store_dir *self, const char *key, bool make, struct place *place,
                      struct np_error *err)
{
    if (check_key(self, key, err) < 0)
        return -1;
    place->path = np_path_join(self->path, key);
    place->dir = fcntl(self->top, F_DUPFD_CLOEXEC, 0);
    if (place->path == NULL || place->dir < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s/%s: cannot open", self->path, key);

    bool first = true;
    for (const char *slash; (slash = strchr(key, '/')) != NULL; key = slash + 1, first = false) {
        char part[PART_SIZE_MAX + 1] = "";
        memcpy(part, key, (size_t)(slash - key));
        int below;
        int found = first ? open_first(self, place->path, part, make, &below, err)
                          : open_part(place->dir, place->path, part, make, &below, err);
        if (found <= 0)
            return found;
        close(place->dir);
        place->dir = below;
    }
    place->name = key;
    return 1;
}

/* Open the directory of a prefix. @return as locate */
static int open_prefix(struct store_dir *self, const char *prefix, struct place *place, int *dir,
                       struct np_error *err)
{
    int found = locate_any(self, prefix, false, place, err);
    if (found <= 0)
        return found;
    if (strchr(prefix, '/') == NULL)
        return open_first(self, place->path, prefix, false, dir, err);
    return open_part(place->dir, place->path, place->name, false, dir, err);
}

/* Find the place of a key. @return 1; 0 when a directory on the way is missing (never with make); -1 */
static int locate(struct store_dir *self, const char *key, bool make, struct place *place,
                  struct np_error *err)
{
    int found = locate_any(self, key, make, place, err);
    if (found <= 0)
        return found;
    return refuse_link(place->dir, place->name, place->path, err) < 0 ? -1 : 1;
}

/* ---- an object being written ---- */

struct dir_writer {
    struct np_store_writer base;
    struct store_dir *store; /* borrowed */
    char *key, *path;
    int fd, dir;
    uint64_t size, started; /* of the file; of that on its way to the disk */
};

static void start_writing(struct dir_writer *writer)
{
    if (writer->size - writer->started < NP_FILE_START_WRITING)
        return;
    np_file_start_writing(writer->fd, writer->started, writer->size - writer->started);
    writer->started = writer->size;
}

static int writer_append(struct np_store_writer *base, struct iovec *pieces, int count, struct np_error *err)
{
    struct dir_writer *writer = (struct dir_writer *)base;
    for (int i = 0; i < count; i++) /* before: np_file_writev uses the pieces up */
        writer->size += pieces[i].iov_len;
    if (np_file_writev(writer->fd, writer->path, pieces, count, err) < 0)
        return -1;
    start_writing(writer);
    return 0;
}

static int writer_commit(struct np_store_writer *base, struct np_error *err)
{
    struct dir_writer *writer = (struct dir_writer *)base;
    if (np_file_sync(writer->fd, writer->path, err) < 0)
        return -1;
    return np_file_sync(writer->dir, writer->path, err);
}

/* As long as it is open, no other file can have its number; cut off, it is not what was written. */
static int writer_is_in_place(struct np_store_writer *base, bool *is, struct np_error *err)
{
    struct dir_writer *writer = (struct dir_writer *)base;
    struct stat st;
    NP_PLACE;
    *is = false;
    int found = locate_any(writer->store, writer->key, false, &place, err);
    if (found <= 0)
        return found;
    if (fstat(writer->fd, &st) < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot look at it", writer->path);
    if ((uint64_t)st.st_size != writer->size)
        return 0;
    return np_file_is_at(writer->fd, place.dir, place.path, place.name, AT_SYMLINK_NOFOLLOW, is, err);
}

static void writer_close(struct np_store_writer *base)
{
    struct dir_writer *writer = (struct dir_writer *)base;
    np_cleanup_fd(&writer->fd);
    np_cleanup_fd(&writer->dir);
    free(writer->key);
    free(writer->path);
    free(writer);
}

static int create(struct np_store *store, const char *key, struct np_store_writer **out, struct np_error *err)
{
    NP_PLACE;
    if (check_writable(self_of(store), err) < 0 || locate(self_of(store), key, true, &place, err) < 0)
        return -1;
    NP_AUTO_FD int fd =
        openat(place.dir, place.name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 || fchmod(fd, 0600) < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot create", place.path);

    struct dir_writer *writer = malloc(sizeof(*writer));
    NP_AUTO_FREE char *copy = strdup(key);
    if (writer == NULL || copy == NULL) {
        free(writer);
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s: cannot create", place.path);
    }
    *writer = (struct dir_writer){
        .base = {.append = writer_append,
                 .commit = writer_commit,
                 .is_in_place = writer_is_in_place,
                 .close = writer_close},
        .store = self_of(store),
        .key = NP_STEAL(copy),
        .fd = np_steal_fd(&fd),
        .dir = np_steal_fd(&place.dir),
        .path = NP_STEAL(place.path),
    };
    *out = &writer->base;
    return 0;
}

/* ---- an object being read ---- */

struct dir_reader {
    struct np_store_reader base;
    int fd;
    char *path;
};

static int reader_read_at(void *ctx, void *buffer, size_t size, uint64_t pos, struct np_error *err)
{
    struct dir_reader *reader = ctx;
    return np_file_read_at(reader->fd, reader->path, buffer, size, pos, err);
}

static void reader_close(struct np_store_reader *base)
{
    struct dir_reader *reader = (struct dir_reader *)base;
    np_cleanup_fd(&reader->fd);
    free(reader->path);
    free(reader);
}

static int open_object(struct np_store *store, const char *key, struct np_store_reader **out,
                       struct np_error *err)
{
    NP_PLACE;
    *out = NULL;
    int found = locate(self_of(store), key, false, &place, err);
    if (found <= 0)
        return found;
    /* Without O_NONBLOCK a named pipe would hold us here. */
    NP_AUTO_FD int fd = openat(place.dir, place.name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat st;
    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0 || fstat(fd, &st) < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot open", place.path);
    if (!S_ISREG(st.st_mode))
        return np_fail(err, NP_DAMAGED, "%s: not a regular file", place.path);

    struct dir_reader *reader = malloc(sizeof(*reader));
    if (reader == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s: cannot open", place.path);
    *reader = (struct dir_reader){
        .base = {.input = {.read_at = reader_read_at, .ctx = reader, .size = (uint64_t)st.st_size},
                 .close = reader_close},
        .fd = np_steal_fd(&fd),
        .path = NP_STEAL(place.path),
    };
    *out = &reader->base;
    return 0;
}

/* ---- whole objects ---- */

static int put(struct np_store *store, const char *key, const void *bytes, size_t size, enum np_store_put how,
               struct np_error *err)
{
    NP_PLACE;
    if (check_writable(self_of(store), err) < 0 || locate(self_of(store), key, true, &place, err) < 0)
        return -1;
    if (how == NP_STORE_NEW)
        return np_file_create_whole(place.dir, place.path, place.name, bytes, size, err);
    return np_file_replace(place.dir, place.path, place.name, bytes, size, err);
}

static int get(struct np_store *store, const char *key, size_t limit, char **bytes, size_t *size,
               struct np_error *err)
{
    NP_PLACE;
    *bytes = NULL;
    int found = locate(self_of(store), key, false, &place, err);
    if (found <= 0)
        return found;
    if (faccessat(place.dir, place.name, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
        return 0;
    return np_file_read_whole(place.dir, place.path, place.name, limit, bytes, size, err);
}

static int list(struct np_store *store, const char *prefix, struct np_names *names, struct np_error *err)
{
    NP_PLACE;
    NP_AUTO_FD int dir = -1;
    int found = open_prefix(self_of(store), prefix, &place, &dir, err);
    if (found <= 0)
        return found;

    NP_CLEANUP(np_names_clear) struct np_names all = {0};
    if (np_names_of_dir(dir, place.path, &all, err) < 0)
        return -1;
    for (size_t i = 0; i < all.count; i++) {
        if (all.list[i][0] != '.' && np_names_add(names, all.list[i], err) < 0)
            return -1;
    }
    return 0;
}

static int remove_key(struct np_store *store, const char *key, struct np_error *err)
{
    NP_PLACE;
    if (check_writable(self_of(store), err) < 0)
        return -1;
    int found = locate(self_of(store), key, false, &place, err);
    if (found <= 0)
        return found;
    if (unlinkat(place.dir, place.name, 0) < 0 && errno != ENOENT) {
        if (errno != EISDIR && errno != EPERM)
            return np_fail_errno(err, NP_FAILED, errno, "%s: cannot remove", place.path);
        if (np_dir_remove(place.dir, place.path, place.name, err) < 0)
            return -1;
    }
    return np_file_sync(place.dir, place.path, err);
}

/* ---- out of the way ---- */

#define ASIDE_TRIES 10000

/*
 * Never over what is there. Some file systems (NFS) have no such rename: files get a second name there, and
 * lose the first.
 */
static int move_to(const struct place *place, int aside, const char *name)
{
    if (renameat2(place->dir, place->name, aside, name, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -1;
    if (linkat(place->dir, place->name, aside, name, 0) < 0)
        return -1;
    return unlinkat(place->dir, place->name, 0);
}

/* @param name out, that it has got */
static int move_to_free_name(const struct place *place, int aside, char *name, size_t room,
                             struct np_error *err)
{
    for (int i = 1; i <= ASIDE_TRIES; i++) {
        if (i == 1)
            snprintf(name, room, "%s", place->name);
        else
            snprintf(name, room, "%.80s.%d", place->name, i);
        if (move_to(place, aside, name) == 0)
            return 0;
        if (errno != EEXIST)
            break;
    }
    return np_fail_errno(err, NP_FAILED, errno, "%s: cannot be set aside", place->path);
}

static int set_aside(struct np_store *store, const char *key, char to[NP_STORE_ASIDE_MAX],
                     struct np_error *err)
{
    NP_PLACE;
    struct store_dir *self = self_of(store);
    NP_AUTO_FREE char *path = np_path_join(self->path, "aside");
    NP_AUTO_FD int aside = -1;
    char name[PART_SIZE_MAX + 1];
    if (path == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s: cannot be set aside", key);
    if (check_writable(self, err) < 0)
        return -1;
    int found = locate_any(self, key, false, &place, err); /* a link too may have to go */
    if (found == 0)
        return np_fail(err, NP_FAILED, "%s/%s: it is gone", self->path, key);
    if (found < 0 || open_part(self->top, path, "aside", true, &aside, err) < 0 ||
        np_file_sync(self->top, self->path, err) < 0 || /* a repair that made it may have been killed */
        move_to_free_name(&place, aside, name, sizeof(name), err) < 0 || np_file_sync(aside, path, err) < 0)
        return -1;
    snprintf(to, NP_STORE_ASIDE_MAX, "aside/%s", name);
    return np_file_sync(place.dir, place.path, err);
}

/* ---- what interrupted puts left ---- */

/* Nobody else writes: who sweeps has the lock. A directory or a link of such a name is not ours. */
static bool is_left_by_put(int dir, const char *name)
{
    struct stat st;
    return np_names_is_temporary(name) && fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISREG(st.st_mode);
}

static int sweep_dir(int dir, const char *path, struct np_error *err)
{
    NP_CLEANUP(np_names_clear) struct np_names names = {0};
    if (np_names_of_dir(dir, path, &names, err) < 0)
        return -1;
    for (size_t i = 0; i < names.count; i++) {
        const char *name = names.list[i];
        if (!is_left_by_put(dir, name))
            continue;
        if (unlinkat(dir, name, 0) < 0 && errno != ENOENT)
            return np_fail_errno(err, NP_FAILED, errno, "%s/%s: cannot remove", path, name);
        np_log_info("removed %s/%s, which an interrupted run left", path, name);
    }
    return 0;
}

/* What cannot be looked into stops nobody: it is ours no more, or the next run's. */
static int sweep(struct np_store *store, const char *prefix, struct np_error *err)
{
    NP_PLACE;
    NP_AUTO_FD int dir = -1;
    struct store_dir *self = self_of(store);
    struct np_error why = NP_ERROR_INIT;
    if (check_writable(self, err) < 0)
        return -1;
    if (prefix == NULL)
        return sweep_dir(self->top, self->path, err);
    int found = open_prefix(self, prefix, &place, &dir, &why);
    if (found < 0)
        np_log_warning("what interrupted runs left cannot be looked for: %s", why.message);
    return found <= 0 ? 0 : sweep_dir(dir, place.path, err);
}

static int check_area(const struct store_dir *self, size_t i, struct np_error *err)
{
    bool in_place;
    NP_AUTO_FREE char *path = np_path_join(self->path, np_store_areas[i]);
    if (path == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s", self->path);
    if (np_file_is_at(self->areas[i], self->top, path, np_store_areas[i], AT_SYMLINK_NOFOLLOW, &in_place,
                      err) < 0)
        return -1;
    return in_place
               ? 0
               : np_fail(err, NP_FAILED,
                         "%s: it is not there any more: it was moved, unmounted or replaced meanwhile", path);
}

static int check_place(struct np_store *store, struct np_error *err)
{
    const struct store_dir *self = self_of(store);
    for (size_t i = 0; i < AREA_COUNT; i++)
        if (self->areas[i] >= 0 && check_area(self, i, err) < 0)
            return -1;
    return 0;
}

static void close_store(struct np_store *store)
{
    struct store_dir *self = self_of(store);
    for (size_t i = 0; i < AREA_COUNT; i++)
        np_cleanup_fd(&self->areas[i]);
    free(self->path);
    free(self);
}

static const struct np_store_ops ops = {
    .create = create,
    .put = put,
    .get = get,
    .open = open_object,
    .list = list,
    .remove = remove_key,
    .set_aside = set_aside,
    .sweep = sweep,
    .check_place = check_place,
    .close = close_store,
};

int np_store_dir_open(int dir, const char *path, bool writable, struct np_store **store, struct np_error *err)
{
    struct store_dir *self = malloc(sizeof(*self));
    char *copy = strdup(path);
    if (self == NULL || copy == NULL) {
        free(self);
        free(copy);
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s: cannot open the backup set", path);
    }
    *self = (struct store_dir){.base = {.ops = &ops}, .top = dir, .path = copy, .writable = writable};
    for (size_t i = 0; i < AREA_COUNT; i++)
        self->areas[i] = -1;
    *store = &self->base;
    return 0;
}
