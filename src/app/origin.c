#include "origin.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"
#include "nbdpull/log.h"
#include "nbdpull/set_repair.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define LOOK_SIZE (64u << 10)

/* ---- a stream in a file ---- */

static int read_file_at(void *ctx, void *buffer, size_t size, uint64_t pos, struct np_error *err)
{
    const struct np_origin *origin = ctx;
    return np_file_read_at(origin->fd, origin->path, buffer, size, pos, err);
}

int np_origin_point_of_meta(const struct np_meta *meta, const char *file, struct np_point *point,
                            struct np_error *err)
{
    *point =
        (struct np_point){.uuid = meta->point, .quiesced = meta->quiesced, .disk_count = meta->disk_count};
    snprintf(point->id, sizeof(point->id), "%s", meta->point_id);
    snprintf(point->level, sizeof(point->level), "%s", meta->level);
    snprintf(point->time, sizeof(point->time), "%s", meta->created);
    snprintf(point->checkpoint, sizeof(point->checkpoint), "%s", meta->checkpoint);
    snprintf(point->guest, sizeof(point->guest), "%s", meta->guest);
    point->disks = calloc(meta->disk_count, sizeof(*point->disks));
    if (point->disks == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s", file);
    for (size_t i = 0; i < meta->disk_count; i++) {
        const struct np_meta_disk *from = &meta->disks[i];
        struct np_point_disk *to = &point->disks[i];
        *to = (struct np_point_disk){.stored = true,
                                     .stream_uuid = meta->stream,
                                     .state = from->state,
                                     .virtual_size = from->geometry.size,
                                     .image_dev = from->image_dev,
                                     .image_ino = from->image_ino};
        snprintf(to->target, sizeof(to->target), "%s", from->target);
        snprintf(to->level, sizeof(to->level), "%s", from->level);
        snprintf(to->how, sizeof(to->how), "%s", from->how);
        snprintf(to->why, sizeof(to->why), "%s", from->why);
        snprintf(to->parent, sizeof(to->parent), "%s", from->base_point);
        snprintf(to->checkpoint, sizeof(to->checkpoint), "%s", from->checkpoint);
        snprintf(to->image, sizeof(to->image), "%s", from->image);
        snprintf(to->file, sizeof(to->file), "%s", file);
    }
    return 0;
}

void np_origin_add_totals(struct np_point_disk *disk, const struct np_totals *totals, uint64_t stream_size)
{
    disk->stream_size = stream_size;
    disk->data_bytes = totals->data_bytes;
    disk->zero_bytes = totals->zero_bytes;
    disk->stored_bytes = totals->stored_bytes;
    disk->digest_known = totals->digest_known;
    disk->digest = totals->digest;
}

struct np_input_at np_origin_file_input(struct np_origin *origin)
{
    return (struct np_input_at){.read_at = read_file_at, .ctx = origin, .size = origin->size};
}

int np_origin_take_meta(struct np_origin *origin, const struct np_meta *meta, struct np_error *err)
{
    origin->points.list = calloc(1, sizeof(*origin->points.list));
    origin->points.name = strdup(origin->path);
    if (origin->points.list == NULL || origin->points.name == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s", origin->path);
    origin->points.count = 1;
    snprintf(origin->domain, sizeof(origin->domain), "%s", meta->domain_name);
    origin->domain_uuid = meta->domain;
    return np_origin_point_of_meta(meta, origin->path, &origin->points.list[0], err);
}

/* Does a record begin in these bytes of the file, somewhere? In what cannot be read, one may. */
static bool has_record(int fd, const char *path, uint64_t pos, size_t size)
{
    NP_AUTO_FREE uint8_t *bytes = malloc(size > 0 ? size : 1);
    struct np_error ignored = NP_ERROR_INIT;
    if (bytes == NULL || np_file_read_at(fd, path, bytes, size, pos, &ignored) < 0)
        return true;
    for (size_t i = 0; size >= 4 && i <= size - 4; i++)
        if (np_record_begins(bytes + i))
            return true;
    return false;
}

/* A stream has a record in its beginning, and many small ones at its end. */
bool np_origin_looks_like_stream(const char *path)
{
    struct stat st;
    NP_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return false;
    uint64_t size = (uint64_t)st.st_size, part = np_min_u64(size, LOOK_SIZE);
    return has_record(fd, path, 0, part) || has_record(fd, path, size - part, part);
}

/* What is too short to tell is truncated, as it is said already. */
static int open_file_stream(struct np_origin *origin, struct np_error *err)
{
    const struct np_input_at input = np_origin_file_input(origin);
    if (np_stream_open(&input, origin->path, &origin->stream, err) == 0)
        return 0;
    if (err->class != NP_DAMAGED || origin->size < 4 || np_origin_looks_like_stream(origin->path))
        return -1;
    *err = (struct np_error)NP_ERROR_INIT;
    return np_fail(err, NP_DAMAGED, "%s: this is not an nbdpull stream: no record is at its beginning or end",
                   origin->path);
}

static int open_stream_of_file(struct np_origin *origin, struct np_error *err)
{
    if (open_file_stream(origin, err) < 0)
        return -1;
    const struct np_meta *meta = np_stream_meta(origin->stream);
    if (np_origin_take_meta(origin, meta, err) < 0)
        return -1;
    for (size_t i = 0; i < meta->disk_count; i++)
        np_origin_add_totals(&origin->points.list[0].disks[i],
                             np_stream_totals(origin->stream, meta->disks[i].id), origin->size);
    return 0;
}

/* ---- a pipe ---- */

static int read_pipe(void *ctx, void *buffer, size_t size, size_t *got, struct np_error *err)
{
    return np_pipe_read(ctx, buffer, size, got, err);
}

struct np_input np_origin_pipe_input(struct np_pipe *pipe)
{
    return (struct np_input){.read = read_pipe, .ctx = pipe};
}

/* ---- open and close ---- */

/* Who restores wants to know of the first only. */
static void keep_first(void *ctx, const char *id, const struct np_error *err)
{
    struct np_origin *origin = ctx;
    if (origin->bad.class == NP_OK || (id == NULL && !origin->bad_all))
        origin->bad = *err;
    origin->bad_all = origin->bad_all || id == NULL;
}

static bool is_at_work(struct np_set *set, const char *id)
{
    NP_CLEANUP(np_intent_clear) struct np_intent intent = {0};
    struct np_error ignored = NP_ERROR_INIT;
    bool found = false;
    return np_set_intent_read(set, &intent, &found, &ignored) == 0 && found &&
           strcmp(intent.point_id, id) == 0;
}

/* Of each point once: its streams are neighbours. @param leftovers say what is of no point, too */
static int tell_lost(struct np_origin *origin, np_set_bad_point *bad, void *ctx, bool leftovers,
                     struct np_error *err)
{
    NP_CLEANUP(np_set_files_clear) struct np_set_files strays = {0};
    uint64_t committed, before = 0;
    if (np_set_strays(origin->set, &strays, &committed, err) < 0)
        return -1;
    for (size_t i = 0; i < strays.count; i++) {
        const struct np_set_file *file = &strays.list[i];
        struct np_error lost = NP_ERROR_INIT;
        if (file->number == before)
            continue;
        before = file->number;
        if (file->number > committed) {
            if (leftovers && !is_at_work(origin->set, file->id))
                np_log_info("%s/%s belongs to no restore point: its backup did not come to its end; the next "
                            "one removes it",
                            origin->path, file->name);
            continue;
        }
        np_fail(&lost, NP_DAMAGED,
                "%s/points/%s.json is lost, and %s is there: \"nbdpull repair\" rebuilds the record if all "
                "streams of the point are there; the points before %s do not need it (--until)",
                origin->path, file->id, file->name, file->id);
        bad(ctx, file->id, &lost);
    }
    return 0;
}

static int open_any(struct np_origin *origin, const char *path, np_set_bad_point *bad, void *ctx,
                    bool leftovers, struct np_error *err)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot open", path);
    if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
        return np_fail(err, NP_FAILED,
                       "%s: neither a backup set (a directory) nor a stream (a file); use - to "
                       "read a pipe",
                       path);
    if (!S_ISDIR(st.st_mode)) {
        origin->size = (uint64_t)st.st_size;
        origin->fd = open(path, O_RDONLY | O_CLOEXEC);
        return origin->fd >= 0 ? 0 : np_fail_errno(err, NP_FAILED, errno, "%s: cannot open", path);
    }
    if (np_set_open(path, NP_SET_READ, "", &origin->set, err) < 0)
        return -1;
    snprintf(origin->domain, sizeof(origin->domain), "%s", np_set_domain_name(origin->set));
    origin->domain_uuid = *np_set_domain(origin->set);
    if (np_set_points_good(origin->set, bad, ctx, &origin->points, err) < 0)
        return -1;
    return tell_lost(origin, bad, ctx, leftovers, err);
}

bool np_origin_is_named(const struct np_point *point, const char *until)
{
    return until != NULL &&
           (until[strspn(until, "0123456789")] == '\0' || strcmp(until, point->checkpoint) == 0);
}

static int choose_point(struct np_origin *origin, const char *until, bool may_be_empty, struct np_error *err)
{
    bool bad = origin->bad.class != NP_OK;
    if (may_be_empty && until == NULL && (bad || origin->points.count == 0))
        return 0;
    if (np_points_find(&origin->points, until, &origin->point, err) == 0 &&
        (!bad || (!origin->bad_all && np_origin_is_named(origin->point, until))))
        return 0;
    if (bad)
        *err = origin->bad;
    return -1;
}

int np_origin_open(const char *path, const char *until, bool may_be_empty, struct np_origin *origin,
                   struct np_error *err)
{
    *origin = (struct np_origin){.fd = -1, .path = path, .bad = NP_ERROR_INIT};
    if (open_any(origin, path, keep_first, origin, false, err) < 0 ||
        (origin->set == NULL && open_stream_of_file(origin, err) < 0) ||
        choose_point(origin, until, may_be_empty, err) < 0) {
        np_origin_close(origin);
        return -1;
    }
    return 0;
}

int np_origin_open_all(const char *path, np_set_bad_point *bad, void *ctx, struct np_origin *origin,
                       struct np_error *err)
{
    *origin = (struct np_origin){.fd = -1, .path = path};
    if (open_any(origin, path, bad, ctx, true, err) == 0 &&
        (origin->set != NULL || open_stream_of_file(origin, err) == 0))
        return 0;
    np_origin_close(origin);
    return -1;
}

int np_origin_open_left(const char *path, np_set_bad_point *bad, void *ctx, struct np_origin *origin,
                        struct np_error *err)
{
    *origin = (struct np_origin){.fd = -1, .path = path};
    if (open_any(origin, path, bad, ctx, false, err) == 0)
        return 0;
    np_origin_close(origin);
    return -1;
}

void np_origin_close(struct np_origin *origin)
{
    np_stream_close(origin->stream);
    np_points_clear(&origin->points);
    np_set_close(origin->set);
    if (origin->path != NULL && origin->fd >= 0)
        close(origin->fd);
    *origin = (struct np_origin){.fd = -1};
}

/* ---- the path of a disk ---- */

static bool same_digest(const struct np_totals *totals, const struct np_point_disk *disk)
{
    return !totals->digest_known || !disk->digest_known || np_hash128_equal(totals->digest, disk->digest);
}

/* The key of the record that META has another value of, or NULL. (What a codec was asked for, META does not
 * know.) */
static const char *other_key(const struct np_stream *stream, const struct np_meta_disk *meta,
                             const struct np_point_disk *record)
{
    const struct np_totals *totals = np_stream_totals(stream, meta->id);
    const struct {
        const char *key;
        bool same;
    } keys[] = {
        {"stream", np_uuid_equal(&np_stream_meta(stream)->stream, &record->stream_uuid)},
        {"state", np_uuid_equal(&meta->state, &record->state)},
        {"size", meta->geometry.size == record->virtual_size},
        {"digest", same_digest(totals, record)},
        {"checkpoint", strcmp(meta->checkpoint, record->checkpoint) == 0},
        {"parent", strcmp(meta->base_point, record->parent) == 0},
        {"level", strcmp(meta->level, record->level) == 0},
        {"how", strcmp(meta->how, record->how) == 0},
        {"why", strcmp(meta->why, record->why) == 0},
        {"image", strcmp(meta->image, record->image) == 0 && meta->image_dev == record->image_dev &&
                      meta->image_ino == record->image_ino},
        {"data_bytes", totals->data_bytes == record->data_bytes},
        {"zero_bytes", totals->zero_bytes == record->zero_bytes},
        {"stored_bytes", totals->stored_bytes == record->stored_bytes},
    };
    for (size_t i = 0; i < NP_ARRAY_SIZE(keys); i++)
        if (!keys[i].same)
            return keys[i].key;
    return NULL;
}

static int check_identity(const struct np_stream *stream, const struct np_point_disk *disk, uint16_t *id,
                          struct np_error *err)
{
    const struct np_meta *meta = np_stream_meta(stream);
    const struct np_meta_disk *found = np_meta_disk_by_target(meta, disk->target);
    bool right = found != NULL && np_uuid_equal(&meta->stream, &disk->stream_uuid);
    const char *other = right ? other_key(stream, found, disk) : NULL;
    if (!right)
        np_fail(err, NP_DAMAGED,
                "%s: not the stream of disk %s that its point record names; was it renamed, or copied from "
                "another set?",
                np_stream_name(stream), disk->target);
    else if (other != NULL)
        np_fail(err, NP_DAMAGED,
                "%s: not the stream of disk %s as the point's record has it, which says another \"%s\": the "
                "record is damaged; \"nbdpull repair\" rebuilds it",
                np_stream_name(stream), disk->target, other);
    else
        *id = found->id;
    return right && other == NULL ? 0 : np_error_where(err, disk->target, NP_NO_OFFSET);
}

/*
 * A record says no more than the streams of its point, each of which lists all of the point's disks: so a
 * record that lost a disk, or that names streams of two instants, is noticed. By state, not by stream: a
 * merged one has another UUID.
 */
static int check_point(const struct np_stream *stream, const struct np_point *point, struct np_error *err)
{
    const struct np_meta *meta = np_stream_meta(stream);
    if (!np_uuid_equal(&meta->point, &point->uuid))
        return np_fail(err, NP_DAMAGED,
                       "%s: not a stream of point %s, whose record names it: their UUIDs differ",
                       np_stream_name(stream), point->id);
    if (strcmp(meta->created, point->time) != 0) /* --until goes by it */
        return np_fail(err, NP_DAMAGED,
                       "%s: not a stream of point %s, whose record names it: it was begun at %s, not at %s",
                       np_stream_name(stream), point->id, meta->created, point->time);
    const char *other = strcmp(meta->checkpoint, point->checkpoint) != 0 ? "checkpoint"
                        : strcmp(meta->level, point->level) != 0         ? "level"
                        : strcmp(meta->guest, point->guest) != 0         ? "guest"
                        : meta->quiesced != point->quiesced              ? "quiesced"
                                                                         : NULL;
    if (other != NULL)
        return np_fail(err, NP_DAMAGED,
                       "%s: the record of point %s says another \"%s\": it is damaged; \"nbdpull repair\" "
                       "rebuilds it from its streams",
                       np_stream_name(stream), point->id, other);
    for (size_t i = 0; i < meta->point_disk_count; i++) {
        const struct np_meta_point_disk *listed = &meta->point_disks[i];
        const struct np_point_disk *disk = np_point_disk_of(point, listed->target);
        if (np_uuid_is_nil(&listed->stream) ||
            (disk != NULL && disk->stored && np_uuid_equal(&disk->state, &listed->state)))
            continue;
        np_fail(
            err, NP_DAMAGED,
            "%s: point %s holds disk %s, which the point's record lacks or has in another state: the record "
            "is damaged; \"nbdpull repair\" rebuilds it from its streams",
            np_stream_name(stream), point->id, listed->target);
        return np_error_where(err, listed->target, NP_NO_OFFSET);
    }
    return 0;
}

static int open_stream(struct np_origin *origin, const struct np_point_disk *disk,
                       struct np_origin_disk *opened, size_t i, struct np_error *err)
{
    if (origin->stream != NULL) {
        opened->streams[i] = origin->stream;
    } else {
        struct np_input_at input;
        NP_AUTO_FREE char *path = np_path_join(np_set_path(origin->set), disk->file);
        if (path == NULL)
            return np_fail_errno(err, NP_FAILED, ENOMEM, "%s", disk->file);
        if (np_set_stream_open(origin->set, disk, &opened->files[i], &input, err) < 0 ||
            np_stream_open(&input, path, &opened->streams[i], err) < 0)
            return -1;
    }
    return check_identity(opened->streams[i], disk, &opened->ids[i], err);
}

static int make_room(struct np_origin_disk *opened, size_t count, const char *target, struct np_error *err)
{
    opened->count = count;
    opened->streams = calloc(count, sizeof(struct np_stream *));
    opened->files = calloc(count, sizeof(struct np_stream_input *));
    opened->ids = calloc(count, sizeof(*opened->ids));
    if (opened->streams == NULL || opened->files == NULL || opened->ids == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "disk %s", target);
    return 0;
}

static int open_newest(struct np_origin *origin, const struct np_point *point,
                       const struct np_point_disk *disk, struct np_origin_disk *opened, struct np_error *err)
{
    if (open_stream(origin, disk, opened, 0, err) < 0)
        return -1;
    return origin->stream != NULL ? 0 : check_point(opened->streams[0], point, err);
}

static int open_path(struct np_origin *origin, const struct np_point *point, const char *target, bool hashes,
                     struct np_origin_disk *opened, struct np_error *err)
{
    size_t count;
    NP_AUTO_FREE const struct np_point_disk **path = NULL;
    const struct np_point_disk *disk = np_point_disk_of(point, target);
    if (origin->stream != NULL && disk != NULL && disk->parent[0] != '\0')
        return np_fail(err, NP_FAILED,
                       "%s: disk %s is an increment on point %s; restore it from its set, where the streams "
                       "below it are",
                       disk->file, target, disk->parent);
    if (np_points_path(&origin->points, point, target, &path, &count, err) < 0 ||
        make_room(opened, count, target, err) < 0 || open_newest(origin, point, path[0], opened, err) < 0)
        return -1;
    for (size_t i = 1; i < count; i++)
        if (open_stream(origin, path[i], opened, i, err) < 0)
            return -1;
    return np_chain_open(opened->streams, opened->ids, opened->count, target, hashes, &opened->chain, err);
}

int np_origin_open_disk(struct np_origin *origin, const char *target, bool hashes,
                        struct np_origin_disk *opened, struct np_error *err)
{
    *opened = (struct np_origin_disk){0};
    if (open_path(origin, origin->point, target, hashes, opened, err) < 0) {
        np_origin_close_disk(origin, opened);
        return -1;
    }
    return 0;
}

int np_origin_rewind_disk(struct np_origin_disk *opened, const char *target, bool hashes,
                          struct np_error *err)
{
    np_chain_close(opened->chain);
    opened->chain = NULL;
    return np_chain_open(opened->streams, opened->ids, opened->count, target, hashes, &opened->chain, err);
}

int np_origin_open_stream(struct np_origin *origin, const struct np_point *point,
                          const struct np_point_disk *disk, struct np_origin_disk *opened,
                          struct np_error *err)
{
    *opened = (struct np_origin_disk){0};
    if (make_room(opened, 1, disk->target, err) < 0 || open_newest(origin, point, disk, opened, err) < 0) {
        np_origin_close_disk(origin, opened);
        return -1;
    }
    return 0;
}

void np_origin_close_disk(struct np_origin *origin, struct np_origin_disk *opened)
{
    np_chain_close(opened->chain);
    for (size_t i = 0; opened->ids != NULL && i < opened->count; i++) {
        if (opened->streams[i] != origin->stream)
            np_stream_close(opened->streams[i]);
        np_stream_input_close(opened->files[i]);
    }
    free(opened->streams);
    free(opened->files);
    free(opened->ids);
    *opened = (struct np_origin_disk){0};
}
