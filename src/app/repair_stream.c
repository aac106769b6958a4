#include "origin.h"
#include "repair_parts.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/codec.h"
#include "nbdpull/file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define CODEC_ENTRIES_MAX 4096 /* looked at for one that is compressed */

static void close_stream(struct np_stream **stream)
{
    np_stream_close(*stream);
}

static void close_input(struct np_stream_input **input)
{
    np_stream_input_close(*input);
}

static void close_cursor(struct np_cursor **cursor)
{
    np_cursor_close(*cursor);
}

void np_repair_stream_clear(struct np_repair_stream *stream)
{
    np_meta_free(stream->meta);
    *stream = (struct np_repair_stream){0};
}

/* What was asked for is not in the stream; what was used is. It is for people only, so damage is not said. */
static void name_codec(struct np_stream *stream, uint16_t id, char name[NP_CODEC_NAME_MAX])
{
    NP_CLEANUP(close_cursor) struct np_cursor *cursor = NULL;
    struct np_error ignored = NP_ERROR_INIT;
    struct np_entry entry = {0};
    snprintf(name, NP_CODEC_NAME_MAX, "none");
    if (np_cursor_open(stream, id, false, &cursor, &ignored) < 0)
        return;
    for (int i = 0; i < CODEC_ENTRIES_MAX && np_cursor_next(cursor, &entry, &ignored) == 1; i++) {
        const struct np_codec *codec = entry.codec == 0 ? NULL : np_codec_find(entry.codec);
        if (codec != NULL) {
            snprintf(name, NP_CODEC_NAME_MAX, "%s", codec->name);
            return;
        }
    }
}

static int take(struct np_stream *stream, uint64_t size, struct np_repair_stream *to, struct np_error *err)
{
    const struct np_meta *meta = np_stream_meta(stream);
    NP_CLEANUP(np_point_clear) struct np_point point = {0};
    if (np_origin_point_of_meta(meta, to->file->name, &point, err) < 0)
        return -1;
    to->disk = point.disks[0];
    np_origin_add_totals(&to->disk, np_stream_totals(stream, meta->disks[0].id), size);
    name_codec(stream, meta->disks[0].id, to->disk.codec);
    to->meta = np_meta_copy(meta, err);
    return to->meta == NULL ? -1 : 0;
}

static bool belongs(const struct np_repair *repair, const struct np_meta *meta, bool any_set,
                    struct np_repair_stream *to)
{
    const struct np_set_file *file = to->file;
    const char *what = NULL;
    if (!any_set && !np_uuid_equal(&meta->set, &repair->uuid))
        what = "it is of another backup set";
    else if (meta->disk_count != 1 || strcmp(meta->disks[0].target, file->target) != 0)
        what = "it is of another disk";
    else if (strcmp(meta->point_id, file->id) != 0)
        what = "it is of another point";
    to->foreign = what != NULL;
    if (what != NULL)
        snprintf(to->why, sizeof(to->why), "%s (disk %s, point %s)", what, meta->disks[0].target,
                 meta->point_id[0] != '\0' ? meta->point_id : "none");
    return what == NULL;
}

int np_repair_look(struct np_repair *repair, const struct np_set_file *file, bool any_set,
                   struct np_repair_stream *to, struct np_error *err)
{
    NP_CLEANUP(close_input) struct np_stream_input *opened = NULL;
    NP_CLEANUP(close_stream) struct np_stream *stream = NULL;
    struct np_input_at input;
    struct np_error mine = NP_ERROR_INIT;
    *to = (struct np_repair_stream){.file = file};
    if (np_cancel_check(repair->request->cancel, err) < 0)
        return -1;
    if (np_set_file_open(repair->set, file->name, &opened, &input, &mine) < 0 ||
        np_stream_open(&input, file->name, &stream, &mine) < 0) {
        if (mine.class != NP_DAMAGED) { /* it may be good, once it can be read */
            *err = mine;
            return -1;
        }
        snprintf(to->why, sizeof(to->why), "%.500s", mine.message);
        return 0;
    }
    if (!belongs(repair, np_stream_meta(stream), any_set, to))
        return 0;
    return take(stream, input.size, to, err);
}

/* ---- which set they are of ---- */

struct tally {
    struct np_uuid set;
    size_t count;
};

struct tallies {
    struct tally *list;
    size_t used;
};

typedef void on_meta(struct np_repair *repair, const struct np_meta *meta, void *ctx);

static void count_one(struct np_repair *repair, const struct np_meta *meta, void *ctx)
{
    struct tallies *tallies = ctx;
    size_t i = 0;
    (void)repair;
    while (i < tallies->used && !np_uuid_equal(&tallies->list[i].set, &meta->set))
        i++;
    if (i == tallies->used)
        tallies->list[tallies->used++] = (struct tally){.set = meta->set};
    tallies->list[i].count++;
}

/* The files are sorted by number, so the domain's name is the newest that it had. */
static void take_domain(struct np_repair *repair, const struct np_meta *meta, void *ctx)
{
    (void)ctx;
    snprintf(repair->domain_name, sizeof(repair->domain_name), "%s", meta->domain_name);
    repair->domain = meta->domain;
}

static int each_stream(struct np_repair *repair, bool any_set, on_meta *tell, void *ctx, struct np_error *err)
{
    for (size_t i = 0; i < repair->files.count; i++) {
        if (repair->files.list[i].record)
            continue;
        NP_CLEANUP(np_repair_stream_clear) struct np_repair_stream stream = {0};
        if (np_repair_look(repair, &repair->files.list[i], any_set, &stream, err) < 0)
            return -1;
        if (stream.meta != NULL && !np_uuid_is_nil(&stream.meta->set))
            tell(repair, stream.meta, ctx);
    }
    return 0;
}

int np_repair_find_set(struct np_repair *repair, struct np_error *err)
{
    NP_AUTO_FREE struct tally *list = calloc(repair->files.count + 1, sizeof(*list));
    struct tallies tallies = {.list = list};
    size_t best = 0, equal = 0;
    if (list == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s", repair->request->input);
    if (each_stream(repair, true, count_one, &tallies, err) < 0)
        return -1;
    for (size_t i = 0; i < tallies.used; i++) {
        if (list[i].count > list[best].count)
            best = i;
    }
    for (size_t i = 0; i < tallies.used; i++)
        equal += list[i].count == list[best].count;
    if (equal != 1)
        return np_fail(err, NP_DAMAGED,
                       tallies.used == 0
                           ? "%s: set.json cannot be rebuilt: no stream is whole; put a copy of it back"
                           : "%s: set.json cannot be rebuilt: the streams are of several backup sets, as "
                             "many of one as of another; take out those that do not belong here",
                       repair->request->input);
    repair->uuid = list[best].set;
    return each_stream(repair, false, take_domain, NULL, err);
}
