/*
 * A verification: read the point records, check every stream that is asked for on its own, to its end; then
 * follow every disk of every point through its chain, which tells whom each fault concerns. Nothing is
 * written into it, so a set may be read-only, and a backup may run meanwhile.
 */
#include "clock.h"
#include "image_check.h"
#include "targets.h"
#include "verify_parts.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- point records that are no good ---- */

struct bad_point {
    char id[NP_POINT_ID_MAX];
    struct np_error error;
};

struct bad_points {
    struct bad_point *list; /* owned */
    size_t count;
    uint64_t more; /* that found no place */
};

static void bad_points_clear(struct bad_points *bad)
{
    free(bad->list);
}

static void note_bad_point(void *ctx, const char *id, const struct np_error *err)
{
    struct bad_points *bad = ctx;
    struct bad_point *larger =
        bad->count < NP_VERIFY_SHOWN ? realloc(bad->list, (bad->count + 1) * sizeof(*larger)) : NULL;
    if (larger == NULL) {
        bad->more++;
        return;
    }
    bad->list = larger;
    bad->list[bad->count] = (struct bad_point){.error = *err};
    snprintf(bad->list[bad->count].id, NP_POINT_ID_MAX, "%s", id != NULL ? id : "");
    bad->count++;
}

static void add_lost(struct np_verify_result *result, const struct bad_point *bad)
{
    struct np_verify_lost *larger = realloc(result->lost, (result->lost_count + 1) * sizeof(*larger));
    if (larger == NULL)
        return;
    result->lost = larger;
    larger[result->lost_count].unchecked = bad->error.class != NP_DAMAGED;
    snprintf(larger[result->lost_count++].id, NP_POINT_ID_MAX, "%s", bad->id);
}

/* Is that point the damaged one, or does it build on it? What is below is known already. */
static bool is_built_on(const struct np_verify_result *result, const struct np_verify_damage *damage,
                        size_t below, const char *id)
{
    size_t low = 0, high = below;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (np_point_id_compare(result->points.list[middle].id, id) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < below && strcmp(result->points.list[low].id, id) == 0 ? damage->affects[low]
                                                                       : strcmp(id, damage->point) == 0;
}

/* What builds on a point whose record is no good. Its state, and that of each such point, np_verify_judge
 * finds. */
static void mark_built_on(const struct np_verify_request *request, const struct np_verify_result *result,
                          struct np_verify_damage *damage)
{
    for (size_t i = 0; i < result->points.count; i++) {
        const struct np_point *point = &result->points.list[i];
        for (size_t j = 0; j < point->disk_count && !damage->affects[i]; j++)
            if (point->disks[j].parent[0] != '\0' && np_targets_want(&request->disks, point->disks[j].target))
                damage->affects[i] = is_built_on(result, damage, i, point->disks[j].parent);
    }
}

/* One that speaks of the whole set stands in the way of every restore. */
static void add_bad_point(const struct np_verify_request *request, struct np_ledger *ledger,
                          const struct bad_point *bad)
{
    struct np_verify_result *result = ledger->result;
    const struct np_fault fault = {
        .scope = NP_FAULT_NONE, .pos = NP_NO_OFFSET, .number = NP_NO_OFFSET, .error = bad->error};
    struct np_verify_damage *damage = np_ledger_add(ledger, NULL, &fault);
    if (bad->id[0] != '\0')
        add_lost(result, bad);
    if (damage != NULL && bad->id[0] != '\0') {
        snprintf(damage->point, sizeof(damage->point), "%s", bad->id);
        snprintf(damage->file, sizeof(damage->file), "points/%s.json", bad->id);
    }
    if (damage != NULL && bad->id[0] != '\0')
        mark_built_on(request, result, damage);
    for (size_t i = 0; bad->id[0] == '\0' && i < result->points.count; i++) {
        if (damage != NULL)
            damage->affects[i] = true;
        result->states[i] = NP_VERIFY_AFFECTED;
    }
}

/* ---- one stream ---- */

struct check {
    const struct np_verify_request *request;
    struct np_verify_result *result;
    struct np_ledger *ledger;
    struct np_origin *origin;
    size_t asked; /* index of the only point that is asked for, or SIZE_MAX */

    struct np_ledger_slot *slot; /* whose stream is being checked; of a file, of any of its disks */
    size_t stream, streams;
    uint64_t before, total; /* bytes of the streams before it, and of all */
};

/* A stream in a file holds several disks, each with a slot of its own. */
static const struct np_ledger_slot *slot_of_fault(const struct check *check, const struct np_fault *fault)
{
    if (check->origin->stream == NULL || fault->disk == NULL)
        return check->slot;
    const struct np_point_disk *disk =
        np_point_disk_of(&check->origin->points.list[check->slot->point], fault->disk->target);
    return disk != NULL ? np_ledger_slot_of(check->ledger, disk) : check->slot;
}

static void take_fault(void *ctx, const struct np_fault *fault)
{
    const struct check *check = ctx;
    np_log_debug("%s", fault->error.message);
    np_ledger_add(check->ledger, slot_of_fault(check, fault), fault);
}

static void show_progress(void *ctx, const struct np_verify_counts *counts)
{
    const struct check *check = ctx;
    const char *slash = strrchr(check->slot->disk->file, '/');
    const struct np_progress progress = {
        .target = slash != NULL ? slash + 1 : check->slot->disk->file,
        .disk = check->stream,
        .disks = check->streams,
        .disk_done = counts->pos - check->before,
        .disk_total = check->slot->disk->stream_size,
        .done = counts->pos,
        .total = check->total,
    };
    check->request->progress.show(check->request->progress.ctx, &progress);
}

/* What keeps a stream from being opened is a fault of all that it holds. */
static void take_unopened(const struct check *check, const struct np_error *err)
{
    const struct np_fault fault = {
        .scope = NP_FAULT_STREAM, .pos = NP_NO_OFFSET, .number = NP_NO_OFFSET, .error = *err};
    np_log_debug("%s", err->message);
    np_ledger_add(check->ledger, check->slot, &fault);
}

static int check_opened(struct check *check, struct np_stream *stream, struct np_error *err)
{
    const struct np_verify_request *request = check->request;
    const struct np_verify_options options = {
        .depth = request->depth,
        .workers = request->workers,
        .part = check->result->part - 1,
        .parts = check->result->parts,
        .cancel = request->cancel,
        .report = take_fault,
        .progress = request->progress.show != NULL ? show_progress : NULL,
        .ctx = check,
    };
    return np_verify_stream(&options, stream, &check->result->counts, err);
}

static int check_stream(struct check *check, struct np_error *err)
{
    const struct np_ledger_slot *slot = check->slot;
    struct np_error mine = NP_ERROR_INIT;
    struct np_origin_disk opened;
    int checked = 0;
    check->before = check->result->counts.pos;
    if (np_cancel_check(check->request->cancel, err) < 0)
        return -1;
    if (np_origin_open_stream(check->origin, &check->origin->points.list[slot->point], slot->disk, &opened,
                              &mine) < 0) {
        take_unopened(check, &mine);
        check->result->counts.pos += slot->disk->stream_size;
    } else {
        checked = check_opened(check, opened.streams[0], err);
        np_origin_close_disk(check->origin, &opened);
    }
    check->stream++;
    check->result->streams++;
    return checked;
}

/* ---- which streams ---- */

/* A path that cannot be followed to its end is followed as far as it goes: np_verify_judge tells of it. */
static void want_path(struct check *check, const struct np_point_disk *disk)
{
    const struct np_points *points = &check->origin->points;
    while (disk != NULL && disk->stored) {
        np_ledger_slot_of(check->ledger, disk)->wanted = true;
        const char *parent = disk->parent, *target = disk->target;
        disk = NULL;
        for (size_t i = 0; parent[0] != '\0' && i < points->count; i++)
            if (strcmp(points->list[i].id, parent) == 0)
                disk = np_point_disk_of(&points->list[i], target);
    }
}

static void want_streams(struct check *check)
{
    const struct np_points *points = &check->origin->points;
    for (size_t i = 0; i < points->count; i++)
        for (size_t j = 0; j < points->list[i].disk_count; j++) {
            const struct np_point_disk *disk = &points->list[i].disks[j];
            if (!disk->stored || !np_targets_want(&check->request->disks, disk->target))
                continue;
            if (check->asked == SIZE_MAX)
                np_ledger_slot_of(check->ledger, disk)->wanted = true;
            else if (check->asked == i)
                want_path(check, disk);
        }
    for (size_t i = 0; i < check->ledger->slot_count; i++)
        if (check->ledger->slots[i].wanted) {
            check->streams++;
            check->total += check->ledger->slots[i].disk->stream_size;
        }
}

/* In the order of the points. All disks of a file are in its one stream. */
static int check_streams(struct check *check, struct np_error *err)
{
    const struct np_points *points = &check->origin->points;
    want_streams(check);
    if (check->origin->stream != NULL) {
        check->streams = 1;
        check->slot = np_ledger_slot_of(check->ledger, &points->list[0].disks[0]);
        check->total = check->slot->disk->stream_size;
        return check_stream(check, err);
    }
    for (size_t i = 0; i < points->count; i++)
        for (size_t j = 0; j < points->list[i].disk_count; j++) {
            check->slot = points->list[i].disks[j].stored
                              ? np_ledger_slot_of(check->ledger, &points->list[i].disks[j])
                              : NULL;
            if (check->slot != NULL && check->slot->wanted && check_stream(check, err) < 0)
                return -1;
        }
    return 0;
}

static int check_asked(const struct np_verify_request *request, const struct np_points *points,
                       struct np_error *err)
{
    for (size_t i = 0; i < request->disks.count; i++) {
        bool known = false;
        for (size_t j = 0; j < points->count && !known; j++)
            known = np_point_disk_of(&points->list[j], request->disks.list[i]) != NULL;
        if (!known)
            return np_fail(err, NP_UNCHECKED, "%s: no restore point in it has a disk '%s'", request->input,
                           request->disks.list[i]);
    }
    return 0;
}

/* ---- a set or a file ---- */

static int run_checks(struct check *check, const struct bad_points *bad, struct np_error *err)
{
    const struct np_point *asked = NULL;
    struct np_origin *origin = check->origin;
    if (np_ledger_init(check->ledger, check->result, err) < 0)
        return -1;
    for (size_t i = 0; i < bad->count; i++)
        add_bad_point(check->request, check->ledger, &bad->list[i]);
    check->result->damaged += bad->more;
    if (check->request->until != NULL &&
        np_points_find(&origin->points, check->request->until, &asked, err) < 0)
        return -1;
    check->asked = asked != NULL ? (size_t)(asked - origin->points.list) : SIZE_MAX;
    if (check_asked(check->request, &origin->points, err) < 0 || check_streams(check, err) < 0)
        return -1;
    return np_verify_judge(check->request, origin, check->ledger, check->asked, err);
}

static int verify_origin(const struct np_verify_request *request, struct np_verify_result *result,
                         struct np_error *err)
{
    NP_CLEANUP(np_origin_close) struct np_origin origin = {.fd = -1};
    NP_CLEANUP(np_ledger_clear) struct np_ledger ledger = {0};
    NP_CLEANUP(bad_points_clear) struct bad_points bad = {0};
    if (np_origin_open_all(request->input, note_bad_point, &bad, &origin, err) < 0)
        return -1;
    snprintf(result->domain, sizeof(result->domain), "%s", origin.domain);
    result->points = origin.points; /* the result's own from the end of this function on */
    result->of_set = origin.set != NULL;
    struct check check = {.request = request, .result = result, .ledger = &ledger, .origin = &origin};
    int done = run_checks(&check, &bad, err);
    origin.points = (struct np_points){0};
    return done;
}

/* ---- an image ---- */

static int verify_image(const struct np_verify_request *request, struct np_verify_result *result,
                        struct np_error *err)
{
    NP_CLEANUP(np_origin_close) struct np_origin origin = {.fd = -1};
    if (np_origin_open(request->input, request->until, false, &origin, err) < 0)
        return -1;
    snprintf(result->domain, sizeof(result->domain), "%s", origin.domain);
    snprintf(result->image_point, sizeof(result->image_point), "%s", origin.point->id);
    const struct np_image_check check = {
        .path = request->image,
        .format = request->format,
        .target = request->disks.list[0],
        .workers = request->workers,
        .cancel = request->cancel,
        .progress = request->progress,
    };
    if (np_image_check(&check, &origin, err) == 0)
        return 0;
    return err->class == NP_DAMAGED && result->image_point[0] != '\0'
               ? np_error_context(err, "point %s", result->image_point)
               : -1;
}

/* ---- the sample ---- */

static int check_part(const struct np_verify_result *result, struct np_error *err)
{
    if (result->part <= result->parts)
        return 0;
    return np_fail(err, NP_USAGE, "--sample-part: there %s %u part%s of that size, and no part %u",
                   result->parts == 1 ? "is" : "are", result->parts, result->parts == 1 ? "" : "s",
                   result->part);
}

/* ---- the whole ---- */

static int conclude(const struct np_verify_request *request, const struct np_verify_result *result,
                    struct np_error *err)
{
    if (strcmp(request->input, "-") == 0 && result->damaged > 0)
        return np_fail(
            err, NP_DAMAGED,
            "standard input: damaged, and checking ended there: what is behind the first damage was "
            "not looked at");
    const char *what = strcmp(request->input, "-") == 0 ? "standard input" : request->input;
    if (result->damaged > 0)
        return np_fail(err, NP_DAMAGED, "%s: damaged in %ju place%s%s", what, (uintmax_t)result->damaged,
                       result->damaged == 1 ? "" : "s",
                       result->unchecked > 0 ? ", and not all of it could be checked" : "");
    if (result->unchecked > 0)
        return np_fail(err, NP_UNCHECKED,
                       "%s: %ju thing%s could not be checked; nothing that could be is damaged", what,
                       (uintmax_t)result->unchecked, result->unchecked == 1 ? "" : "s");
    return 0;
}

/* The file of what could not be opened: the stream, or of a set, whose points have messages of their own,
 * set.json, where that is what is told of. */
static const char *file_of_end(const struct np_verify_request *request, const struct np_error *err)
{
    struct stat st;
    bool set = stat(request->input, &st) == 0 && S_ISDIR(st.st_mode);
    return !set ? request->input : strstr(err->message, "set.json") != NULL ? "set.json" : "";
}

/* Damage that ended all, before it was known what there is. @return false: the error is what is told, as of
 * an image, of which it says all */
static bool list_end(const struct np_verify_request *request, struct np_verify_result *result,
                     const struct np_error *err)
{
    NP_CLEANUP(np_ledger_clear) struct np_ledger ledger = {0};
    struct np_error ignored = NP_ERROR_INIT;
    const struct np_fault fault = {
        .scope = NP_FAULT_NONE, .pos = NP_NO_OFFSET, .number = NP_NO_OFFSET, .error = *err};
    if (np_ledger_init(&ledger, result, &ignored) < 0)
        return false;
    struct np_verify_damage *damage = np_ledger_add(&ledger, NULL, &fault);
    if (damage != NULL && request->image == NULL)
        snprintf(damage->file, sizeof(damage->file), "%s", file_of_end(request, err));
    return request->image == NULL;
}

int np_app_verify(const struct np_verify_request *request, struct np_verify_result *result,
                  struct np_error *err)
{
    double began = np_clock_seconds();
    *result = (struct np_verify_result){0};
    np_verify_turn_choose(request, result);
    if (check_part(result, err) < 0)
        return -1;
    if (result->parts > 1)
        np_log_info("part %u of %u of the payloads", result->part, result->parts);
    bool pipe = strcmp(request->input, "-") == 0;
    int done = request->image != NULL ? verify_image(request, result, err)
               : pipe                 ? np_verify_pipe(request, result, err)
                                      : verify_origin(request, result, err);
    result->seconds = np_clock_seconds() - began;
    if (done == 0)
        np_verify_turn_keep(request, result);
    if (done < 0 && err->class == NP_FAILED)
        err->class = NP_UNCHECKED;
    bool listed =
        done < 0 && err->class == NP_DAMAGED && result->damaged == 0 && list_end(request, result, err);
    if (done < 0 && !listed && (err->class != NP_UNCHECKED || result->damaged == 0))
        return -1;
    if (done < 0 && !listed) /* the damage decides what is returned */
        np_log_warning("%s", err->message);
    *err = (struct np_error)NP_ERROR_INIT;
    np_ledger_sort(result);
    return conclude(request, result, err);
}

void np_verify_result_clear(struct np_verify_result *result)
{
    for (size_t i = 0; i < result->damage_count; i++) {
        free(result->damages[i].message);
        free(result->damages[i].affects);
    }
    free(result->damages);
    free(result->states);
    free(result->lost);
    np_points_clear(&result->points);
    *result = (struct np_verify_result){0};
}
