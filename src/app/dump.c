/*
 * What a set or a stream holds: its points, and with a row function every range of every record.
 */
#include "clock.h"
#include "origin.h"
#include "targets.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/codec.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- rows ---- */

static const char *kind_name(enum np_granule_state state)
{
    static const char *const names[] = {
        [NP_GRANULE_DATA] = "data", [NP_GRANULE_ZERO] = "zero", [NP_GRANULE_DEAD] = "dead"};
    return names[state];
}

static const char *codec_name(uint8_t number)
{
    const struct np_codec *codec = np_codec_find(number);
    return codec != NULL ? codec->name : "unknown";
}

/* Runs of granules in one state; neighbours of a DATA record's map. */
static int emit_window(const struct np_dump_request *request, const struct np_geometry *geometry,
                       const uint8_t *map, struct np_map_row *row, uint64_t window, struct np_error *err)
{
    unsigned granules = np_window_granules(geometry, window);
    const char *codec = row->codec;
    for (unsigned i = 0; i < granules;) {
        enum np_granule_state state = np_map_get(map, i);
        row->offset = window + (uint64_t)i * geometry->granule;
        row->length = 0;
        for (; i < granules && np_map_get(map, i) == state; i++)
            row->length += np_granule_length(geometry, window, i);
        if (state == NP_GRANULE_ABSENT)
            continue;
        row->kind = kind_name(state);
        row->codec = state == NP_GRANULE_ZERO ? "" : codec;
        if (request->row(request->row_ctx, row, err) < 0)
            return -1;
    }
    return 0;
}

static int emit_zero(const struct np_dump_request *request, struct np_map_row *row, uint64_t offset,
                     uint64_t length, struct np_error *err)
{
    row->kind = "zero";
    row->codec = "";
    row->offset = offset;
    row->length = length;
    return request->row(request->row_ctx, row, err);
}

/* ---- by the index ---- */

static void close_cursor(struct np_cursor **cursor)
{
    np_cursor_close(*cursor);
}

/* Header, table with map and hashes, payload, padding. */
static uint64_t entry_size(const struct np_geometry *geometry, const struct np_entry *entry)
{
    uint64_t table = entry->type == NP_RECORD_DATA
                         ? np_map_bytes(geometry) + (uint64_t)entry->hash_count * NP_HASH128_SIZE
                         : 0;
    return np_align_up(NP_RECORD_HEADER_SIZE + table + entry->data_len, NP_RECORD_ALIGN);
}

static int map_stream(const struct np_dump_request *request, struct np_stream *stream,
                      const struct np_meta_disk *disk, const char *point, struct np_error *err)
{
    NP_CLEANUP(close_cursor) struct np_cursor *cursor = NULL;
    struct np_entry entry;
    if (np_cursor_open(stream, disk->id, false, &cursor, err) < 0)
        return -1;
    for (int more; (more = np_cursor_next(cursor, &entry, err)) != 0;) {
        if (more < 0 || np_cancel_check(request->cancel, err) < 0)
            return -1;
        struct np_map_row row = {.point = point,
                                 .target = disk->target,
                                 .codec = codec_name(entry.codec),
                                 .pos = entry.pos,
                                 .size = entry_size(&disk->geometry, &entry)};
        int emitted = entry.type == NP_RECORD_ZERO
                          ? emit_zero(request, &row, entry.offset, entry.length, err)
                          : emit_window(request, &disk->geometry, entry.map, &row, entry.offset, err);
        if (emitted < 0)
            return -1;
    }
    return 0;
}

static int map_disk(const struct np_dump_request *request, struct np_origin *origin,
                    const struct np_point *point, const struct np_point_disk *disk, struct np_error *err)
{
    struct np_origin_disk opened;
    if (np_origin_open_stream(origin, point, disk, &opened, err) < 0)
        return -1;
    const struct np_meta *meta = np_stream_meta(opened.streams[0]);
    int mapped =
        map_stream(request, opened.streams[0], np_meta_disk_by_id(meta, opened.ids[0]), point->id, err);
    np_origin_close_disk(origin, &opened);
    return mapped;
}

/* A name that no point knows is a mistake, not an empty map. */
static int check_asked(const struct np_dump_request *request, const struct np_points *points,
                       struct np_error *err)
{
    for (size_t i = 0; i < request->disks.count; i++) {
        const char *wanted = request->disks.list[i];
        bool known = false;
        for (size_t j = 0; j < points->count; j++)
            known = known || np_point_disk_of(&points->list[j], wanted) != NULL;
        if (!known)
            return np_fail(err, NP_FAILED, "%s: no restore point in it has a disk '%s'",
                           strcmp(request->input, "-") == 0 ? "standard input" : request->input, wanted);
    }
    return 0;
}

/* Keep only the point that was asked for. */
static void keep_only(struct np_points *points, const struct np_point *wanted)
{
    size_t kept = 0;
    for (size_t i = 0; i < points->count; i++) {
        if (&points->list[i] == wanted) {
            struct np_point point = points->list[i];
            points->list[i] = points->list[kept];
            points->list[kept++] = point;
        }
    }
    for (size_t i = kept; i < points->count; i++)
        np_point_clear(&points->list[i]);
    points->count = kept;
}

static int dump_origin(const struct np_dump_request *request, struct np_dump_result *result,
                       struct np_error *err)
{
    NP_CLEANUP(np_origin_close) struct np_origin origin = {.fd = -1};
    if (np_origin_open(request->input, request->until, true, &origin, err) < 0 ||
        check_asked(request, &origin.points, err) < 0)
        return -1;
    for (size_t i = 0; i < origin.points.count && request->row != NULL; i++) {
        const struct np_point *point = &origin.points.list[i];
        if (request->until != NULL && point != origin.point)
            continue;
        for (size_t j = 0; j < point->disk_count; j++)
            if (point->disks[j].stored && np_targets_want(&request->disks, point->disks[j].target) &&
                map_disk(request, &origin, point, &point->disks[j], err) < 0)
                return -1;
    }
    if (request->until != NULL)
        keep_only(&origin.points, origin.point);
    snprintf(result->domain, sizeof(result->domain), "%s", origin.domain);
    result->domain_uuid = origin.domain_uuid;
    if (origin.set != NULL)
        result->set = *np_set_uuid(origin.set);
    result->points = origin.points;
    origin.points = (struct np_points){0};
    if (request->until != NULL || origin.bad.class == NP_OK)
        return 0;
    *err = origin.bad;
    return -1;
}

/* ---- from a pipe ---- */

static void free_reader(struct np_reader **reader)
{
    np_reader_free(*reader);
}

static int map_record(const struct np_dump_request *request, const struct np_meta *meta,
                      const struct np_record *record, struct np_error *err)
{
    const struct np_record_header *header = &record->header;
    const struct np_meta_disk *disk = np_meta_disk_by_id(meta, header->disk);
    if (request->row == NULL || disk == NULL || !np_targets_want(&request->disks, disk->target))
        return 0;
    struct np_map_row row = {.point = meta->point_id,
                             .target = disk->target,
                             .codec = codec_name(header->codec),
                             .pos = header->pos,
                             .size = np_record_size(header)};
    if (header->type == NP_RECORD_ZERO)
        return emit_zero(request, &row, header->offset, header->length, err);
    if (header->type == NP_RECORD_DATA)
        return emit_window(request, &disk->geometry, record->table, &row, header->offset, err);
    return 0;
}

static int dump_pipe(const struct np_dump_request *request, struct np_dump_result *result,
                     struct np_error *err)
{
    NP_CLEANUP(np_pipe_close) struct np_pipe pipe = {0};
    NP_CLEANUP(free_reader) struct np_reader *reader = NULL;
    const struct np_input input = np_origin_pipe_input(&pipe);
    struct np_record record;
    if (np_pipe_open(request->in_fd, false, "standard input", request->cancel, &pipe, err) < 0 ||
        np_reader_new(&input, "standard input", &reader, err) < 0)
        return -1;
    const struct np_meta *meta = np_reader_meta(reader);
    NP_CLEANUP(np_points_clear)
    struct np_points points = {.list = calloc(1, sizeof(struct np_point)), .name = strdup("standard input")};
    if (points.list == NULL || points.name == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "standard input");
    points.count = 1;
    const struct np_point *found;
    if (np_origin_point_of_meta(meta, "-", &points.list[0], err) < 0 ||
        np_points_find(&points, request->until, &found, err) < 0 || check_asked(request, &points, err) < 0)
        return -1;
    for (int more; (more = np_reader_next(reader, &record, err)) != 0;)
        if (more < 0 || np_cancel_check(request->cancel, err) < 0 ||
            map_record(request, meta, &record, err) < 0)
            return -1;

    for (size_t i = 0; i < meta->disk_count; i++)
        np_origin_add_totals(&points.list[0].disks[i], np_reader_totals(reader, meta->disks[i].id),
                             np_reader_pos(reader));
    result->points = points;
    points = (struct np_points){0};
    snprintf(result->domain, sizeof(result->domain), "%s", meta->domain_name);
    result->domain_uuid = meta->domain;
    return 0;
}

int np_app_dump(const struct np_dump_request *request, struct np_dump_result *result, struct np_error *err)
{
    *result = (struct np_dump_result){0};
    return strcmp(request->input, "-") == 0 ? dump_pipe(request, result, err)
                                            : dump_origin(request, result, err);
}

void np_dump_result_clear(struct np_dump_result *result)
{
    np_points_clear(&result->points);
}
