#include "salvage.h"

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

/* ---- which point ---- */

/* A point whose record is lost, or no good. */
struct bad_point {
    uint64_t number;
    char id[NP_POINT_ID_MAX];
    bool unread; /* it cannot be read, and may be good */
};

struct bad_points {
    struct bad_point *list; /* owned */
    size_t count;
    struct np_error all; /* what stands in the way of every point, or NP_OK */
};

static void clear_bad(struct bad_points *bad)
{
    free(bad->list);
}

static void note_bad_point(void *ctx, const char *id, const struct np_error *err)
{
    struct bad_points *bad = ctx;
    if (id == NULL) {
        bad->all = *err;
        return;
    }
    np_log_warning("%s", err->message);
    struct bad_point *list = reallocarray(bad->list, bad->count + 1, sizeof(*list));
    if (list == NULL) {
        np_fail_errno(&bad->all, NP_FAILED, ENOMEM, "cannot list the points");
        return;
    }
    bad->list = list;
    struct bad_point *point = &list[bad->count++];
    *point = (struct bad_point){.number = strtoull(id, NULL, 10), .unread = err->class != NP_DAMAGED};
    snprintf(point->id, sizeof(point->id), "%s", id);
}

/* The newest of them behind `after`, or NULL. */
static const struct bad_point *newest_bad(const struct bad_points *bad, uint64_t after)
{
    const struct bad_point *newest = NULL;
    for (size_t i = 0; i < bad->count; i++)
        if (bad->list[i].number > after && (newest == NULL || bad->list[i].number > newest->number))
            newest = &bad->list[i];
    return newest;
}

/* The one that may be meant where no good point is, or NULL. */
static const struct bad_point *meant_bad(const struct bad_points *bad, const char *until)
{
    if (until == NULL || until[strspn(until, "0123456789")] != '\0')
        return newest_bad(bad, 0);
    for (size_t i = 0; i < bad->count; i++)
        if (bad->list[i].number == strtoull(until, NULL, 10))
            return &bad->list[i];
    return NULL;
}

static int refuse(const char *path, const struct bad_point *bad, const struct np_point *instead,
                  struct np_error *err)
{
    char other[64] = "";
    if (instead != NULL)
        snprintf(other, sizeof(other), ", or name an older point: --until %s", instead->id);
    if (bad->unread)
        return np_fail(err, NP_FAILED,
                       "%s: the record of point %s, which may be the one that is wanted, cannot be read, and "
                       "may be good: make it readable%s",
                       path, bad->id, other);
    return np_fail(err, NP_DAMAGED,
                   "%s: the record of point %s, which may be the one that is wanted, is lost or damaged, so "
                   "it is not known what belongs to it; \"nbdpull repair\" rebuilds it from the streams%s",
                   path, bad->id, other);
}

/*
 * "The newest", or the last before a time, must not quietly become an older one. Of a time every record
 * behind the chosen point is in doubt, though good ones between them are too late: a clock may have been set
 * back.
 */
static int choose_point(struct np_origin *origin, const struct bad_points *bad, const char *until,
                        struct np_error *err)
{
    if (bad->all.class != NP_OK) {
        *err = bad->all;
        return -1;
    }
    bool found = np_points_find(&origin->points, until, &origin->point, err) == 0;
    if (found && np_origin_is_named(origin->point, until))
        return 0;
    const struct bad_point *wanted =
        found ? newest_bad(bad, strtoull(origin->point->id, NULL, 10)) : meant_bad(bad, until);
    if (wanted != NULL)
        return refuse(origin->path, wanted, found ? origin->point : NULL, err);
    return found ? 0 : -1;
}

static int open_file(struct np_origin *origin, struct np_cancel *cancel, struct np_error *err)
{
    const struct np_salvage_request request = {
        .input = np_origin_file_input(origin), .name = origin->path, .cancel = cancel};
    struct np_meta *meta;
    if (np_salvage_meta(&request, &meta, err) < 0)
        return -1;
    int done = np_origin_take_meta(origin, meta, err);
    np_meta_free(meta);
    return done;
}

int np_salvage_origin(const char *path, const char *until, struct np_cancel *cancel, struct np_origin *origin,
                      struct np_error *err)
{
    NP_CLEANUP(clear_bad) struct bad_points bad = {.all = NP_ERROR_INIT};
    if (np_origin_open_left(path, note_bad_point, &bad, origin, err) < 0)
        return -1;
    if ((origin->set == NULL && open_file(origin, cancel, err) < 0) ||
        choose_point(origin, &bad, until, err) < 0) {
        np_origin_close(origin);
        return -1;
    }
    return 0;
}

/* ---- the streams of a disk ---- */

static const struct np_point *point_of(const struct np_origin *origin, const char *id)
{
    for (size_t i = 0; i < origin->points.count; i++)
        if (strcmp(origin->points.list[i].id, id) == 0)
            return &origin->points.list[i];
    return NULL;
}

/* The path of a disk as far as there are records. @return the disk in its parent, or NULL */
static const struct np_point_disk *parent_of(const struct np_origin *origin, const struct np_point_disk *disk)
{
    const struct np_point *point = disk->parent[0] != '\0' ? point_of(origin, disk->parent) : NULL;
    const struct np_point_disk *found = point != NULL ? np_point_disk_of(point, disk->target) : NULL;
    return found != NULL && found->stored ? found : NULL;
}

/* A parent's id is lower than its child's, so this ends. */
static int list_path(struct np_origin *origin, const char *target, struct np_salvaged_disk *disk,
                     struct np_error *err)
{
    const struct np_point_disk *at = np_point_disk_of(origin->point, target);
    if (origin->set == NULL && at->parent[0] != '\0')
        return np_fail(err, NP_FAILED,
                       "%s: disk %s is an increment on point %s; restore it from its set, where the streams "
                       "below it are",
                       at->file, target, at->parent);
    disk->list = calloc(origin->points.count + 1, sizeof(*disk->list));
    disk->parts = calloc(origin->points.count + 1, sizeof(*disk->parts));
    /* NOLINTNEXTLINE(bugprone-sizeof-expression): of pointers */
    disk->streams = calloc(origin->points.count + 1, sizeof(*disk->streams));
    disk->ids = calloc(origin->points.count + 1, sizeof(*disk->ids));
    if (disk->list == NULL || disk->parts == NULL || disk->streams == NULL || disk->ids == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "disk %s", target);
    for (; at != NULL; at = parent_of(origin, at)) {
        disk->list[disk->count++].record = at;
        disk->base = at->parent[0] != '\0' ? at->parent : NULL;
    }
    disk->base_is_read = disk->base != NULL && point_of(origin, disk->base) != NULL;
    if (disk->base == NULL || !np_points_is_unread(&origin->points, disk->base))
        return 0;
    return np_fail(err, NP_FAILED,
                   "disk %s builds on point %s, whose record cannot be read (%s/points/%s.json), and may be "
                   "good: make it readable",
                   target, disk->base, origin->path, disk->base);
}

/* META names the stream that the record names; what else it says must be the record's. */
static int check_record(const struct np_salvaged_stream *stream, const struct np_meta_disk *meta,
                        struct np_error *err)
{
    const struct np_point_disk *record = stream->record;
    if (np_uuid_equal(&meta->state, &record->state) && meta->geometry.size == record->virtual_size &&
        strcmp(meta->base_point, record->parent) == 0)
        return 0;
    np_fail(err, NP_DAMAGED,
            "%s and its point's record disagree about disk %s; \"nbdpull repair\" rebuilds the record",
            stream->name, record->target);
    return np_error_where(err, record->target, NP_NO_OFFSET);
}

static int open_input(struct np_origin *origin, struct np_salvaged_stream *stream, struct np_input_at *input,
                      struct np_error *err)
{
    if (origin->set == NULL) {
        *input = np_origin_file_input(origin);
        stream->name = strdup(origin->path);
    } else {
        stream->name = np_path_join(np_set_path(origin->set), stream->record->file);
    }
    if (stream->name == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s", stream->record->file);
    return origin->set == NULL
               ? 0
               : np_set_file_open(origin->set, stream->record->file, &stream->file, input, err);
}

/* @return 0; 1 nothing of it can be used, and err says why; -1 */
static int scan_stream(struct np_origin *origin, struct np_salvage_room *room, struct np_cancel *cancel,
                       struct np_salvaged_stream *stream, struct np_error *err)
{
    struct np_salvage_request request = {.stream = &stream->record->stream_uuid,
                                         .target = stream->record->target,
                                         .room = room,
                                         .cancel = cancel};
    if (open_input(origin, stream, &request.input, err) < 0)
        return err->class == NP_DAMAGED ? 1 : -1;
    request.name = stream->name;
    np_log_debug("scanning %s", stream->name);
    if (np_salvage_open(&request, &stream->salvage, err) < 0)
        return err->class == NP_DAMAGED ? 1 : -1;
    const struct np_meta *meta = np_stream_meta(np_salvage_stream(stream->salvage));
    return check_record(stream, np_meta_disk_by_target(meta, stream->record->target), err);
}

/* Size of the disk in a stream that is gone: its child knows, and its record, which has no checksum. */
static uint64_t size_in(const struct np_salvaged_disk *disk, size_t i)
{
    const struct np_chain_part *child = i > 0 ? &disk->parts[i - 1] : NULL;
    if (child == NULL || child->stream == NULL)
        /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): every part of the path has one */
        return disk->list[i].record->virtual_size;
    return np_meta_disk_by_id(np_stream_meta(child->stream), child->disk_id)->base_size;
}

static int take_left(struct np_salvaged_disk *disk, size_t i, struct np_error *err)
{
    struct np_salvaged_stream *from = &disk->list[i];
    struct np_chain_part *part = &disk->parts[i];
    if (from->salvage == NULL) {
        part->size = size_in(disk, i);
        disk->whole = disk->sound = false;
        if (np_losses_of_all(part->size, &from->all, err) < 0)
            return -1;
        part->losses = from->all;
        return 0;
    }
    part->stream = disk->streams[i] = np_salvage_stream(from->salvage);
    part->losses = np_salvage_losses(from->salvage);
    part->disk_id = disk->ids[i] =
        np_meta_disk_by_target(np_stream_meta(part->stream), from->record->target)->id;
    disk->whole = disk->whole && np_salvage_is_whole(from->salvage);
    disk->sound = disk->sound && np_salvage_is_sound(from->salvage);
    return 0;
}

/* The parent of the oldest stream that has lost anything: from there on down all is there. */
static const char *older_point(const struct np_salvaged_disk *disk)
{
    for (size_t i = disk->count; disk->base == NULL && i > 0; i--) {
        const struct np_salvaged_stream *from = &disk->list[i - 1];
        if (from->salvage == NULL || !np_salvage_is_whole(from->salvage))
            return i < disk->count ? from->record->parent : NULL;
    }
    return NULL;
}

static int scan_all(struct np_origin *origin, struct np_cancel *cancel, struct np_salvaged_disk *disk,
                    struct np_error *err)
{
    size_t left = 0;
    disk->whole = disk->sound = disk->base == NULL;
    for (size_t i = 0; i < disk->count; i++) {
        struct np_error mine = NP_ERROR_INIT;
        int done = scan_stream(origin, &disk->room, cancel, &disk->list[i], &mine);
        if (done < 0) {
            *err = mine;
            return -1;
        }
        if (done > 0) {
            np_log_warning("%s", mine.message);
            disk->list[i].why = strdup(mine.message);
            if (disk->list[i].why == NULL)
                return np_fail_errno(err, NP_FAILED, ENOMEM, "%s", disk->list[i].name);
        }
        left += done == 0;
        if (take_left(disk, i, err) < 0)
            return -1;
    }
    disk->older = older_point(disk);
    if (left > 0)
        return 0;
    bool others = origin->point != NULL && origin->point->disk_count > 1;
    return np_fail(err, NP_DAMAGED, "disk %s: nothing of its %zu streams can be used%s: %s",
                   disk->list[0].record->target, disk->count,
                   others ? " (-d takes other disks without it)" : "", disk->list[0].why);
}

/* A point's record has the digest too; that of a file is in its DIR. */
static void find_digest(struct np_salvaged_disk *disk)
{
    const struct np_salvaged_stream *newest = &disk->list[0];
    disk->digest_known = newest->record->digest_known;
    disk->digest = newest->record->digest;
    if (!disk->digest_known && newest->salvage != NULL)
        disk->digest_known = np_salvage_digest(newest->salvage, &disk->digest);
}

/* ---- open and close ---- */

/* A file without a name: nothing is left of it, however this ends. */
static int open_nameless(const char *dir, int *fd, struct np_error *err)
{
    *fd = open(dir, O_TMPFILE | O_RDWR | O_EXCL | O_CLOEXEC, 0600);
    if (*fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT)) {
        NP_AUTO_FREE char *name = np_path_join(dir, ".nbdpull-salvage-XXXXXX");
        *fd = name != NULL ? mkostemp(name, O_CLOEXEC) : -1;
        if (*fd >= 0)
            unlink(name);
    }
    return *fd >= 0 ? 0 : np_fail_errno(err, NP_FAILED, errno, "%s: cannot make a temporary file", dir);
}

static int open_disk(struct np_origin *origin, const char *target, bool older, const char *work_dir,
                     struct np_cancel *cancel, struct np_salvaged_disk *disk, struct np_error *err)
{
    if (open_nameless(work_dir, &disk->room.index_fd, err) < 0 ||
        open_nameless(work_dir, &disk->room.losses_fd, err) < 0 || list_path(origin, target, disk, err) < 0 ||
        scan_all(origin, cancel, disk, err) < 0)
        return -1;
    find_digest(disk);
    return np_chain_open_damaged(disk->parts, disk->count, target, older, &disk->chain, err);
}

int np_salvage_open_disk(struct np_origin *origin, const char *target, bool older, const char *work_dir,
                         struct np_cancel *cancel, struct np_salvaged_disk *disk, struct np_error *err)
{
    *disk = (struct np_salvaged_disk){.room.dir = work_dir};
    if (open_disk(origin, target, older, work_dir, cancel, disk, err) == 0)
        return 0;
    np_salvage_close_disk(disk);
    return np_error_where(err, target, NP_NO_OFFSET);
}

int np_salvage_rewind_disk(struct np_salvaged_disk *disk, const char *target, bool older,
                           struct np_error *err)
{
    np_chain_close(disk->chain);
    disk->chain = NULL;
    for (size_t i = 0; i < disk->count; i++)
        np_losses_rewind(disk->parts[i].losses);
    return np_chain_open_damaged(disk->parts, disk->count, target, older, &disk->chain, err);
}

void np_salvage_close_disk(struct np_salvaged_disk *disk)
{
    np_chain_close(disk->chain);
    for (size_t i = 0; i < disk->count; i++) {
        np_salvage_close(disk->list[i].salvage);
        np_losses_free(disk->list[i].all);
        np_stream_input_close(disk->list[i].file);
        free(disk->list[i].name);
        free(disk->list[i].why);
    }
    /* Descriptor 0 is never one of them: main sees to it that the standard ones are open. */
    if (disk->room.index_fd > 0)
        close(disk->room.index_fd);
    if (disk->room.losses_fd > 0)
        close(disk->room.losses_fd);
    free(disk->list);
    free(disk->parts);
    free(disk->streams);
    free(disk->ids);
    *disk = (struct np_salvaged_disk){0};
}
