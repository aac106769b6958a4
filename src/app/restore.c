/*
 * A restore: find the point, open and check every stream on every disk's path, survey what will be written,
 * and only then make targets; write them; put them all into place at the end.
 */
#include "clock.h"
#include "image_check.h"
#include "origin.h"
#include "restore_parts.h"
#include "targets.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/log.h"
#include "nbdpull/subprocess.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define COMPANION_LIMIT (16u << 20)
#define VERSION_LIMIT 65536

static void restore_clear(struct np_restore *restore)
{
    for (size_t i = 0; i < restore->count; i++) {
        if (restore->disks[i].target != NULL)
            restore->ops->close(restore->disks[i].target);
        np_salvage_close_disk(&restore->salvaged[i]);
        np_loss_report_close(&restore->reports[i]);
    }
    free(restore->salvaged);
    free(restore->reports);
    free(restore->disks);
    free(restore->files);
    free(restore->images);
    free(restore->open_displays);
    np_companions_clear(&restore->companions);
    np_restore_dir_close(&restore->dir, restore->committed > 0);
}

/* ---- which disks ---- */

int np_restore_note_disk(struct np_restore *restore, const char *target, uint16_t id,
                         const struct np_geometry *geometry, struct np_error *err)
{
    size_t i = restore->count;
    snprintf(restore->files[i], sizeof(restore->files[i]), "%s.%s", target, restore->ops->extension);
    restore->disks[i] = (struct np_restore_disk){.target_name = restore->result->disks[i].target,
                                                 .id = id,
                                                 .geometry = *geometry,
                                                 .ops = restore->ops};
    struct np_restored_disk *result = &restore->result->disks[i];
    snprintf(result->target, sizeof(result->target), "%s", target);
    result->virtual_size = geometry->size;
    if (asprintf(&result->path, "%s/%s", restore->dir.path != NULL ? restore->dir.path : "",
                 restore->files[i]) < 0) {
        result->path = NULL;
        return np_fail_errno(err, NP_FAILED, ENOMEM, "disk %s", target);
    }
    restore->count++;
    restore->result->disk_count++;
    if (restore->request->dry_run)
        return 0;
    return np_restore_refuse_existing(&restore->dir, restore->files[i], err);
}

static int make_room(struct np_restore *restore, size_t disks, struct np_error *err)
{
    restore->disks = calloc(disks + 1, sizeof(*restore->disks));
    restore->files = calloc(disks + 1, sizeof(*restore->files));
    restore->images = calloc(disks + 1, sizeof(*restore->images));
    restore->result->disks = calloc(disks + 1, sizeof(*restore->result->disks));
    restore->salvaged = calloc(disks + 1, sizeof(*restore->salvaged));
    restore->reports = calloc(disks + 1, sizeof(*restore->reports));
    if (restore->disks == NULL || restore->files == NULL || restore->images == NULL ||
        restore->result->disks == NULL || restore->salvaged == NULL || restore->reports == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot list the disks");
    return 0;
}

/* The newest point that holds the disk, or NULL. */
static const struct np_point *newest_with(const struct np_points *points, const char *target)
{
    for (size_t i = points->count; i > 0; i--) {
        const struct np_point_disk *disk = np_point_disk_of(&points->list[i - 1], target);
        if (disk != NULL && disk->stored)
            return &points->list[i - 1];
    }
    return NULL;
}

static int no_such_disk(const struct np_point *point, const char *wanted, struct np_error *err)
{
    char names[512] = "";
    size_t used = 0;
    for (size_t i = 0; i < point->disk_count && used < sizeof(names); i++)
        if (point->disks[i].stored)
            used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s", used > 0 ? ", " : "",
                                     point->disks[i].target);
    bool has_id = point->id[0] != '\0';
    return np_fail(err, NP_FAILED, "no point holds a disk '%s'; point %s%s holds %s", wanted,
                   has_id ? "" : "of ", has_id ? point->id : point->time, names);
}

static int check_asked(const struct np_restore_request *request, const struct np_point *point,
                       const struct np_points *points, struct np_error *err)
{
    for (size_t i = 0; i < request->disks.count; i++) {
        const char *wanted = request->disks.list[i];
        const struct np_point_disk *disk = np_point_disk_of(point, wanted);
        if (disk != NULL && disk->stored)
            continue;
        const struct np_point *other = newest_with(points, wanted);
        np_error_where(err, wanted, NP_NO_OFFSET);
        if (other == NULL)
            return no_such_disk(point, wanted, err);
        return np_fail(err, NP_FAILED,
                       "point %s does not hold disk %s; the newest point that does is %s (--until %s)",
                       point->id, wanted, other->id, other->id);
    }
    return 0;
}

/* A restore writes the disks that the point contains; others are named. */
static void name_missing(const struct np_restore_request *request, const struct np_point *point,
                         const struct np_points *points)
{
    for (size_t i = 0; i < point->disk_count; i++) {
        const struct np_point_disk *disk = &point->disks[i];
        const struct np_point *other = newest_with(points, disk->target);
        if (!disk->stored && other != NULL && np_targets_want(&request->disks, disk->target))
            np_log_info("disk %s is not in point %s (%s); the newest point that holds it is %s", disk->target,
                        point->id, disk->why, other->id);
    }
}

/* A stream may hold some of its point's disks only, as those of a set do. */
static void name_elsewhere(const struct np_restore_request *request, const struct np_meta *meta)
{
    for (size_t i = 0; i < meta->point_disk_count; i++) {
        const struct np_meta_point_disk *disk = &meta->point_disks[i];
        if (!np_uuid_is_nil(&disk->stream) && !np_uuid_equal(&disk->stream, &meta->stream) &&
            np_targets_want(&request->disks, disk->target))
            np_log_info(
                "disk %s of the same restore point is in another stream and was not restored; restore "
                "the set to get all disks",
                disk->target);
    }
}

/* ---- targets ---- */

static int make_target(struct np_restore *restore, size_t i, struct np_error *err)
{
    struct np_restore_disk *disk = &restore->disks[i];
    const struct np_target_options options = {
        .dir = restore->dir.fd,
        .dir_path = restore->dir.path,
        .name = restore->files[i],
        .size = disk->geometry.size,
        .preallocation = restore->request->preallocation,
        .cluster_size = restore->request->cluster_size,
        .compat = restore->request->compat,
        .cancel = restore->request->cancel,
    };
    np_log_debug("disk %s: writing %s", disk->target_name, restore->result->disks[i].path);
    if (restore->ops->create(&options, &disk->target, err) < 0) {
        np_error_where(err, disk->target_name, NP_NO_OFFSET);
        return np_error_context(err, "disk %s", disk->target_name);
    }
    return 0;
}

/* ---- progress ---- */

static void watch_progress(void *ctx, const struct np_restore_counts *counts)
{
    const struct np_restore_watch *watch = ctx;
    const struct np_restore *restore = watch->restore;
    const struct np_progress progress = {
        .target = restore->disks[watch->disk].target_name,
        .disk = watch->disk,
        .disks = restore->count,
        .disk_done = counts->written,
        .disk_total = watch->disk_total,
        .done = restore->done + counts->written,
        .total = restore->total,
    };
    restore->request->progress.show(restore->request->progress.ctx, &progress);
}

struct np_restore_options np_restore_engine_options(const struct np_restore *restore,
                                                    struct np_restore_watch *watch)
{
    const struct np_restore_request *request = restore->request;
    return (struct np_restore_options){
        .workers = request->workers,
        .rate = request->rate,
        .cancel = request->cancel,
        .progress = request->progress.show != NULL ? watch_progress : NULL,
        .progress_ctx = watch,
    };
}

/* ---- from a set or a file ---- */

int np_restore_take_companion(struct np_restore *restore, struct np_stream *stream, const char *name,
                              struct np_error *err)
{
    char **bytes;
    size_t *size;
    void *found = NULL;
    if (!np_companions_slot(&restore->companions, name, &bytes, &size) || *bytes != NULL)
        return 0; /* a salvage may have it from another disk's stream */
    if (np_stream_blob(stream, name, COMPANION_LIMIT, &found, size, err) < 0)
        return -1;
    *bytes = found;
    return 0;
}

static int take_companions(struct np_restore *restore, struct np_stream *stream, struct np_error *err)
{
    static const char *const names[] = {"domain.xml", "domain-live.xml", "nvram"};
    for (size_t i = 0; i < NP_ARRAY_SIZE(names); i++)
        if (np_restore_take_companion(restore, stream, names[i], err) < 0)
            return -1;
    return 0;
}

int np_restore_survey_chain(struct np_restore *restore, struct np_chain *chain, size_t streams,
                            struct np_error *err)
{
    struct np_restore_plan plan;
    if (np_restore_survey(chain, restore->request->cancel, &plan, err) < 0)
        return -1;
    struct np_restored_disk *planned = &restore->result->disks[restore->count - 1];
    planned->data_bytes = plan.data_bytes;
    planned->read_bytes = plan.stored_bytes;
    planned->zero_bytes = plan.zero_bytes;
    planned->records = plan.records;
    planned->streams = streams;
    restore->total += plan.data_bytes;
    return 0;
}

static int survey_disk(struct np_restore *restore, struct np_origin *origin, const struct np_point_disk *disk,
                       struct np_error *err)
{
    struct np_origin_disk opened;
    if (np_origin_open_disk(origin, disk->target, false, &opened, err) < 0)
        return -1;
    int result =
        np_restore_note_disk(restore, disk->target, opened.ids[0], np_chain_geometry(opened.chain), err);
    if (result == 0 && restore->count == 1)
        result = take_companions(restore, opened.streams[0], err);
    if (result == 0)
        result = np_restore_survey_chain(restore, opened.chain, opened.count, err);
    np_origin_close_disk(origin, &opened);
    return result;
}

static int survey(struct np_restore *restore, struct np_origin *origin, struct np_error *err)
{
    const struct np_point *point = origin->point;
    if (make_room(restore, point->disk_count, err) < 0 ||
        check_asked(restore->request, point, &origin->points, err) < 0)
        return -1;
    for (size_t i = 0; i < point->disk_count; i++) {
        const struct np_point_disk *disk = &point->disks[i];
        if (!np_targets_want(&restore->request->disks, disk->target))
            continue;
        if (disk->stored &&
            (restore->request->salvage != NP_SALVAGE_NO ? np_salvage_survey(restore, origin, disk, err)
                                                        : survey_disk(restore, origin, disk, err)) < 0)
            return -1;
    }
    if (restore->count == 0)
        return np_fail(err, NP_FAILED, "point %s holds no disk", point->id);
    if (restore->request->salvage != NP_SALVAGE_NO && np_salvage_files_complete(restore, origin, err) < 0)
        return -1;
    return restore->request->dry_run ? 0 : np_restore_refuse_companions(&restore->dir, err);
}

static int write_disk(struct np_restore *restore, struct np_origin *origin, size_t i, struct np_error *err)
{
    struct np_restored_disk *result = &restore->result->disks[i];
    struct np_restore_watch watch = {.restore = restore, .disk = i, .disk_total = result->data_bytes};
    const struct np_restore_options options = np_restore_engine_options(restore, &watch);
    struct np_origin_disk opened;
    struct np_restore_counts counts;
    double began = np_clock_seconds();

    if (np_origin_open_disk(origin, result->target, false, &opened, err) < 0)
        return -1;
    int written = np_restore_chain(&options, opened.chain, opened.streams, opened.ids, &restore->disks[i],
                                   &counts, err);
    np_origin_close_disk(origin, &opened);
    result->read_bytes = counts.read;
    result->seconds = np_clock_seconds() - began;
    restore->done += counts.written;
    return written;
}

/* What was written is read back, from the disk where the kernel lets go of it, by QEMU's code. */
static int read_back(struct np_restore *restore, struct np_origin *origin, struct np_error *err)
{
    const struct np_restore_request *request = restore->request;
    for (size_t i = 0; request->verify && i < restore->count; i++) {
        const struct np_image_check check = {
            .path = restore->result->disks[i].path,
            .format = restore->ops->name,
            .target = restore->disks[i].target_name,
            .workers = request->workers,
            .cancel = request->cancel,
            .progress = request->progress,
        };
        if (np_image_check(&check, origin, err) == 0)
            continue;
        struct np_error elsewhere = NP_ERROR_INIT;
        if (np_restore_place_check(restore, &elsewhere) < 0) { /* it was another one that was read */
            *err = elsewhere;
            return -1;
        }
        np_restore_place_take_back(restore);
        if (err->class != NP_DAMAGED)
            return np_error_context(err, "the images could not be read back, and were removed");
        err->class = NP_FAILED; /* it is not the backup that is damaged: its bytes were right when written */
        return np_error_context(err, "what was written does not read back, and was removed; is that disk, "
                                     "or this machine's memory, failing?");
    }
    return 0;
}

/* Before anything is written: to find out at the end would be late. */
static int look_for_reader(const struct np_restore_request *request, struct np_error *err)
{
    static const char *const argv[] = {"qemu-nbd", "--version", NULL};
    NP_AUTO_FREE char *ignored = NULL;
    return request->verify ? np_subprocess_output(argv, VERSION_LIMIT, &ignored, err) : 0;
}

static int restore_disks(struct np_restore *restore, struct np_origin *origin, struct np_error *err)
{
    if (look_for_reader(restore->request, err) < 0 || survey(restore, origin, err) < 0)
        return -1;
    bool salvage = restore->request->salvage != NP_SALVAGE_NO;
    if (restore->request->dry_run) {
        name_missing(restore->request, origin->point, &origin->points);
        return salvage && (np_salvage_count(restore, origin, err) < 0 || np_salvage_tell(restore, err) < 0)
                   ? -1
                   : 0;
    }
    for (size_t i = 0; i < restore->count; i++)
        if (make_target(restore, i, err) < 0 || (salvage ? np_salvage_disk_write(restore, origin, i, err)
                                                         : write_disk(restore, origin, i, err)) < 0)
            return -1;
    /* Last, and what is whole stays, wherever it is now. */
    if (np_restore_place_commit(restore, err) < 0 || read_back(restore, origin, err) < 0 ||
        np_restore_place_check(restore, err) < 0)
        return -1;
    if (origin->stream != NULL)
        name_elsewhere(restore->request, np_stream_meta(origin->stream));
    else
        name_missing(restore->request, origin->point, &origin->points);
    return salvage ? np_salvage_tell(restore, err) : 0;
}

static bool is_directory(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static int open_origin(const struct np_restore_request *request, struct np_origin *origin,
                       struct np_error *err)
{
    if (request->salvage != NP_SALVAGE_NO)
        return np_salvage_origin(request->input, request->until, request->cancel, origin, err);
    if (np_origin_open(request->input, request->until, false, origin, err) == 0)
        return 0;
    if (err->class == NP_DAMAGED &&
        !is_directory(request->input)) /* of a set, repair may be what is needed */
        np_restore_say_salvage(request->input, err);
    return -1;
}

static int restore_from_origin(struct np_restore *restore, struct np_error *err)
{
    NP_CLEANUP(np_origin_close) struct np_origin origin = {.fd = -1};
    if (open_origin(restore->request, &origin, err) < 0)
        return -1;
    snprintf(restore->result->domain, sizeof(restore->result->domain), "%s", origin.domain);
    snprintf(restore->result->point, sizeof(restore->result->point), "%s", origin.point->id);
    snprintf(restore->result->time, sizeof(restore->result->time), "%s", origin.point->time);
    if (!restore->request->dry_run &&
        np_restore_dir_open(restore->request->dir, origin.domain, &restore->dir, err) < 0)
        return -1;
    if (restore_disks(restore, &origin, err) == 0)
        return 0;
    if (err->class == NP_DAMAGED && restore->request->salvage == NP_SALVAGE_NO)
        np_restore_say_what_next(restore->request, &origin, err);
    return -1;
}

/* ---- from a pipe ---- */

/* Parts come in order and add up to the total: the reader has checked that. */
static int take_blob(void *ctx, const char *name, uint64_t total, uint64_t offset, const void *bytes,
                     size_t size, struct np_error *err)
{
    struct np_restore *restore = ctx;
    char **slot;
    size_t *slot_size;
    if (!np_companions_slot(&restore->companions, name, &slot, &slot_size))
        return 0;
    if (total > COMPANION_LIMIT || offset + size > total)
        return np_fail(err, NP_DAMAGED, "blob %s: %ju bytes, more than can be right", name, (uintmax_t)total);
    if (*slot == NULL)
        *slot = calloc(1, (size_t)total + 1);
    if (*slot == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "blob %s", name);
    memcpy(*slot + offset, bytes, size);
    *slot_size = (size_t)total;
    return 0;
}

static int choose_from_meta(struct np_restore *restore, const struct np_meta *meta, struct np_error *err)
{
    NP_CLEANUP(np_points_clear)
    struct np_points points = {.list = calloc(1, sizeof(struct np_point)), .name = strdup("standard input")};
    if (points.list == NULL || points.name == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "standard input");
    points.count = 1;
    const struct np_point *point;
    if (np_origin_point_of_meta(meta, "standard input", &points.list[0], err) < 0 ||
        np_points_find(&points, restore->request->until, &point, err) < 0 ||
        make_room(restore, meta->disk_count, err) < 0 ||
        check_asked(restore->request, point, &points, err) < 0)
        return -1;
    for (size_t i = 0; i < meta->disk_count; i++) {
        const struct np_meta_disk *disk = &meta->disks[i];
        if (!np_targets_want(&restore->request->disks, disk->target))
            continue;
        if (!np_uuid_is_nil(&disk->base_state))
            return np_fail(
                err, NP_FAILED,
                "standard input: disk %s is an increment; restore it from its set, where the streams "
                "below it are",
                disk->target);
        if (np_restore_note_disk(restore, disk->target, disk->id, &disk->geometry, err) < 0)
            return -1;
    }
    return np_restore_refuse_companions(&restore->dir, err);
}

static void free_reader(struct np_reader **reader)
{
    np_reader_free(*reader);
}

static int restore_from_pipe(struct np_restore *restore, struct np_error *err)
{
    NP_CLEANUP(np_pipe_close) struct np_pipe pipe = {0};
    NP_CLEANUP(free_reader) struct np_reader *reader = NULL;
    const struct np_input input = np_origin_pipe_input(&pipe);
    struct np_restore_counts counts;
    if (np_pipe_open(restore->request->in_fd, false, "standard input", restore->request->cancel, &pipe, err) <
            0 ||
        np_reader_new(&input, "standard input", &reader, err) < 0)
        return -1;
    const struct np_meta *meta = np_reader_meta(reader);
    snprintf(restore->result->domain, sizeof(restore->result->domain), "%s", meta->domain_name);
    snprintf(restore->result->point, sizeof(restore->result->point), "%s", meta->point_id);
    snprintf(restore->result->time, sizeof(restore->result->time), "%s", meta->created);

    if (np_restore_dir_open(restore->request->dir, meta->domain_name, &restore->dir, err) < 0 ||
        choose_from_meta(restore, meta, err) < 0)
        return -1;
    for (size_t i = 0; i < restore->count; i++)
        if (make_target(restore, i, err) < 0)
            return -1;

    struct np_restore_watch watch = {.restore = restore};
    struct np_restore_options options = np_restore_engine_options(restore, &watch);
    options.told = restore->request->cancel; /* this thread may wait at the pipe */
    double began = np_clock_seconds();
    if (np_restore_reader(&options, reader, restore->disks, restore->count, take_blob, restore, &counts,
                          err) < 0)
        return -1;
    for (size_t i = 0; i < restore->count; i++) {
        const struct np_totals *totals = np_reader_totals(reader, restore->disks[i].id);
        restore->result->disks[i].data_bytes = totals->data_bytes;
        restore->result->disks[i].read_bytes = totals->stored_bytes;
        restore->result->disks[i].seconds = np_clock_seconds() - began;
    }
    if (np_restore_place_commit(restore, err) < 0 || np_restore_place_check(restore, err) < 0)
        return -1;
    name_elsewhere(restore->request, meta);
    return 0;
}

int np_app_restore(const struct np_restore_request *request, struct np_restore_result *result,
                   struct np_error *err)
{
    double began = np_clock_seconds();
    *result = (struct np_restore_result){0};
    NP_CLEANUP(restore_clear)
    struct np_restore restore = {.request = request, .result = result, .dir = {.fd = -1}};
    restore.ops = np_target_find(request->format);
    if (restore.ops == NULL)
        return np_fail(err, NP_USAGE, "unknown image format '%s'", request->format);

    bool from_pipe = strcmp(request->input, "-") == 0;
    int done = from_pipe ? restore_from_pipe(&restore, err) : restore_from_origin(&restore, err);
    if (done < 0 && err->class != NP_LOSSES)
        return -1;
    np_restore_warn_of_displays(&restore.dir, restore.open_displays);
    result->seconds = np_clock_seconds() - began;
    return done;
}

void np_restore_result_clear(struct np_restore_result *result)
{
    for (size_t i = 0; i < result->disk_count; i++) {
        free(result->disks[i].path);
        free(result->disks[i].losses);
    }
    for (size_t i = 0; i < result->file_count; i++)
        free(result->files[i]);
    np_names_clear(&result->lost_files);
    np_names_clear(&result->possible_files);
    free(result->disks);
    free(result->files);
    *result = (struct np_restore_result){0};
}
