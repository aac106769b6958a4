/*
 * What is to be done about one point.
 *
 * A point exists when its record is durable, and never before: a record that was lost looks like one that was
 * never written. Three things tell them apart. A record that is there, damaged or not, was committed, for it
 * appears whole or not at all. So was what set.json counts as committed. And so was what has files while a
 * later point has some: a run begins by removing the files of all that was not committed. That leaves the
 * highest number in the set, if it has no record: only who knows that the run came to its end may say so
 * (--points), and while an intent names it, its run has not.
 *
 * The checkpoint of such a point does no harm. A run that fails deletes its checkpoint, so libvirt does not
 * have it and the next increment scans; and where the deletion had to wait, the point still holds the disk as
 * it was when that bitmap began, for no stream gets its END unless every read succeeded while the job ran.
 */
#include "repair_parts.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct group {
    struct np_repair *repair;
    const struct np_set_file *any;  /* for id and number */
    const struct np_set_file *file; /* of the record, or NULL */
    const struct np_point *record;  /* that could be read, or NULL */
    struct np_repair_stream *streams;
    size_t stream_count;
};

static void group_clear(struct group *group)
{
    for (size_t i = 0; i < group->stream_count; i++)
        np_repair_stream_clear(&group->streams[i]);
    free(group->streams);
}

/* ---- is it a point? ---- */

static bool is_asked(const struct np_repair *repair, uint64_t number)
{
    for (size_t i = 0; i < repair->request->points.count; i++)
        if (strtoull(repair->request->points.list[i], NULL, 10) == number)
            return true;
    return false;
}

/* @return 1, or 0 after a step that says why not */
static int is_point(const struct group *group, struct np_error *err)
{
    struct np_repair *repair = group->repair;
    const char *id = group->any->id;
    if (group->file != NULL || group->any->number <= np_set_committed(repair->set))
        return 1;
    if (repair->intended && strcmp(repair->intent.point_id, id) == 0)
        return np_repair_add(repair, NP_REPAIR_UNSURE, id, group->any->name, NULL, err,
                             "the run of %s did not come to its end; the next backup into the set takes "
                             "back what it left",
                             repair->intent.started);
    if (group->any->number <= repair->committed || is_asked(repair, group->any->number))
        return 1;
    return np_repair_add(repair, NP_REPAIR_UNSURE, id, group->any->name, NULL, err,
                         "point %s has no record, and no later point shows that it ever had one: the next "
                         "backup removes its files; if you know that its backup ended well, --points %s "
                         "rebuilds it",
                         id, id);
}

/* ---- what the streams make of it ---- */

static const struct np_repair_stream *stream_of(const struct group *group,
                                                const struct np_meta_point_disk *listed)
{
    for (size_t i = 0; i < group->stream_count; i++) {
        const struct np_repair_stream *stream = &group->streams[i];
        if (stream->meta != NULL && strcmp(stream->file->target, listed->target) == 0 &&
            np_uuid_equal(&stream->meta->disks[0].state, &listed->state))
            return stream;
    }
    return NULL;
}

static const struct np_meta *any_meta(const struct group *group)
{
    for (size_t i = 0; i < group->stream_count; i++)
        if (group->streams[i].meta != NULL)
            return group->streams[i].meta;
    return NULL;
}

/* Every stream lists all disks of the point: one that is missing is noticed. @param missing out, or "" */
static int assemble(const struct group *group, const struct np_meta *meta, struct np_point *point,
                    char missing[NP_TARGET_MAX], struct np_error *err)
{
    *point = (struct np_point){.uuid = meta->point, .quiesced = meta->quiesced};
    snprintf(point->id, sizeof(point->id), "%s", meta->point_id);
    snprintf(point->level, sizeof(point->level), "%s", meta->level);
    snprintf(point->time, sizeof(point->time), "%s", meta->created);
    snprintf(point->checkpoint, sizeof(point->checkpoint), "%s", meta->checkpoint);
    snprintf(point->guest, sizeof(point->guest), "%s", meta->guest);
    point->disks = calloc(meta->point_disk_count + 1, sizeof(*point->disks));
    if (point->disks == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "point %s", meta->point_id);
    missing[0] = '\0';
    for (size_t i = 0; i < meta->point_disk_count; i++) {
        const struct np_meta_point_disk *listed = &meta->point_disks[i];
        struct np_point_disk *disk = &point->disks[point->disk_count++];
        const struct np_repair_stream *stream = stream_of(group, listed);
        if (!np_uuid_is_nil(&listed->stream) &&
            (stream == NULL || !np_uuid_equal(&stream->meta->point, &meta->point) ||
             strcmp(stream->meta->created, meta->created) != 0)) {
            snprintf(missing, NP_TARGET_MAX, "%s", listed->target);
            return 0;
        }
        if (!np_uuid_is_nil(&listed->stream)) {
            *disk = stream->disk;
            continue;
        }
        snprintf(disk->target, sizeof(disk->target), "%s", listed->target);
        snprintf(disk->why, sizeof(disk->why), "%s", listed->why);
    }
    return 0;
}

/* ---- what is in the way ---- */

static bool names_stream(const struct np_point *record, const char *file)
{
    for (size_t i = 0; record != NULL && i < record->disk_count; i++)
        if (record->disks[i].stored && strcmp(record->disks[i].file, file) == 0)
            return true;
    return false;
}

/* A stream that a good record names stays, however damaged: much of it may still be read. */
static int plan_streams(const struct group *group, bool record_goes, struct np_error *err)
{
    for (size_t i = 0; i < group->stream_count; i++) {
        const struct np_repair_stream *stream = &group->streams[i];
        const char *file = stream->file->name;
        if (stream->meta != NULL)
            continue;
        bool stays = !record_goes && names_stream(group->record, file);
        if (np_repair_add(group->repair, stays ? NP_REPAIR_LEFT : NP_REPAIR_ASIDE, group->any->id, file, NULL,
                          err, "%s", stream->why) < 0)
            return -1;
    }
    return 0;
}

static bool is_shared(const struct np_repair *repair, const struct np_point *own, const struct np_uuid *uuid)
{
    for (size_t i = 0; i < repair->points.count; i++) {
        const struct np_point *point = &repair->points.list[i];
        for (size_t j = 0; point != own && j < point->disk_count; j++)
            if (point->disks[j].stored && np_uuid_equal(&point->disks[j].stream_uuid, uuid))
                return true;
    }
    return false;
}

/* A copy of another point's record: it claims a stream that another record has, and that is not here. */
static bool is_copy(const struct group *group)
{
    for (size_t i = 0; group->record != NULL && i < group->record->disk_count; i++) {
        const struct np_point_disk *disk = &group->record->disks[i];
        bool here = false;
        for (size_t j = 0; j < group->stream_count; j++)
            here |= group->streams[j].meta != NULL &&
                    np_uuid_equal(&group->streams[j].meta->stream, &disk->stream_uuid);
        if (disk->stored && !here && is_shared(group->repair, group->record, &disk->stream_uuid))
            return true;
    }
    return false;
}

/* ---- together ---- */

static int put_record_aside(const struct group *group, const char *why, struct np_error *err)
{
    if (group->file == NULL)
        return 0;
    return np_repair_add(group->repair, NP_REPAIR_ASIDE, group->any->id, group->file->name, NULL, err, "%s",
                         why);
}

static int plan_rebuild(const struct group *group, struct np_point *point, struct np_error *err)
{
    char name[NP_POINT_ID_MAX + 16];
    const char *why = "its record was lost";
    bool same = false;
    if (group->record != NULL && np_point_same(group->record, point, &same, err) < 0)
        return -1;
    if (same)
        return 0;
    if (group->record != NULL)
        why = "its record differed from what its streams say";
    else if (group->file != NULL)
        why = "its record was damaged";
    snprintf(name, sizeof(name), "points/%s.json", point->id);
    if (put_record_aside(group, why, err) < 0)
        return -1;
    return np_repair_add(group->repair, NP_REPAIR_REBUILD, point->id, name, point, err, "%s", why);
}

static int plan_lost(const struct group *group, const char *missing, struct np_error *err)
{
    const char *id = group->any->id;
    if (group->record != NULL)
        return np_repair_add(group->repair, NP_REPAIR_LEFT, id, group->file->name, NULL, err,
                             "the stream of disk %s is missing or of no use", missing);
    if (put_record_aside(group, "it is damaged", err) < 0)
        return -1;
    if (missing[0] == '\0')
        return np_repair_add(group->repair, NP_REPAIR_LEFT, id, "", NULL, err,
                             "point %s cannot be rebuilt: none of its streams is of use", id);
    return np_repair_add(group->repair, NP_REPAIR_LEFT, id, "", NULL, err,
                         "point %s cannot be rebuilt: its disk %s has no stream that is of use; put a copy "
                         "of it into streams/, and repair again; what is left of it stays in aside/",
                         id, missing);
}

static int plan(struct group *group, struct np_error *err)
{
    NP_CLEANUP(np_point_clear) struct np_point point = {0};
    const struct np_meta *meta = any_meta(group);
    char missing[NP_TARGET_MAX] = "";
    bool copy = is_copy(group);
    if (plan_streams(group, copy, err) < 0)
        return -1;
    if (copy && meta == NULL)
        return put_record_aside(group, "it is a copy of another point's record", err);
    if (meta == NULL && group->record != NULL)
        return group->stream_count > 0 ? 0 : plan_lost(group, group->record->disks[0].target, err);
    if (meta == NULL)
        return plan_lost(group, "", err);
    if (assemble(group, meta, &point, missing, err) < 0)
        return -1;
    return missing[0] != '\0' ? plan_lost(group, missing, err) : plan_rebuild(group, &point, err);
}

int np_repair_plan_point(struct np_repair *repair, size_t first, size_t count, struct np_error *err)
{
    NP_CLEANUP(group_clear)
    struct group group = {.repair = repair, .any = &repair->files.list[first]};
    for (size_t i = first; i < first + count; i++)
        if (repair->files.list[i].record)
            group.file = &repair->files.list[i];
    int go = is_point(&group, err);
    if (go <= 0)
        return go;
    for (size_t i = 0; i < repair->points.count; i++)
        if (strcmp(repair->points.list[i].id, group.any->id) == 0)
            group.record = &repair->points.list[i];
    group.streams = calloc(count, sizeof(*group.streams));
    if (group.streams == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "point %s", group.any->id);
    for (size_t i = first; i < first + count; i++)
        if (!repair->files.list[i].record && np_repair_look(repair, &repair->files.list[i], false,
                                                            &group.streams[group.stream_count++], err) < 0)
            return -1;
    return plan(&group, err);
}
