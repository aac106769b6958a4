/*
 * A stream from a pipe, in one pass: the reader checks every record against all that came before it. Where it
 * ends because of damage nothing behind can be checked, for the pipe cannot be read again.
 */
#include "verify_parts.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/restore.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A target that takes everything: what is left of a restore is that it expands and checks. */
static int open_nothing(void *target, void **writer, struct np_error *err)
{
    (void)err;
    *writer = target;
    return 0;
}

static int write_nothing(void *writer, const void *bytes, uint64_t offset, size_t length,
                         struct np_error *err)
{
    (void)writer, (void)bytes, (void)offset, (void)length, (void)err;
    return 0;
}

static void close_nothing(void *writer)
{
    (void)writer;
}

static const struct np_target_ops nothing = {
    .name = "nothing",
    .writer_open = open_nothing,
    .write = write_nothing,
    .writer_close = close_nothing,
};

static void free_reader(struct np_reader **reader)
{
    np_reader_free(*reader);
}

static void show_progress(const struct np_progress_hook *hook, uint64_t pos)
{
    const struct np_progress progress = {.target = "", .done = pos};
    if (hook->show != NULL)
        hook->show(hook->ctx, &progress);
}

static void show_deep(void *ctx, const struct np_restore_counts *counts)
{
    show_progress(ctx, counts->covered);
}

static int read_deep(const struct np_verify_request *request, struct np_reader *reader, struct np_error *err)
{
    const struct np_meta *meta = np_reader_meta(reader);
    struct np_progress_hook hook = request->progress;
    const struct np_restore_options options = {
        .workers = request->workers, .cancel = request->cancel, .progress = show_deep, .progress_ctx = &hook};
    struct np_restore_counts counts;
    char target; /* only its address is used */
    NP_AUTO_FREE struct np_restore_disk *disks = calloc(meta->disk_count, sizeof(*disks));
    if (disks == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "standard input");
    for (size_t i = 0; i < meta->disk_count; i++)
        disks[i] = (struct np_restore_disk){.target_name = meta->disks[i].target,
                                            .id = meta->disks[i].id,
                                            .geometry = meta->disks[i].geometry,
                                            .ops = &nothing,
                                            .target = &target};
    return np_restore_reader(&options, reader, disks, meta->disk_count, NULL, NULL, &counts, err);
}

static int read_sums(const struct np_verify_request *request, struct np_reader *reader, struct np_error *err)
{
    struct np_record record;
    int more;
    while ((more = np_reader_next(reader, &record, err)) > 0) {
        if (np_cancel_check(request->cancel, err) < 0)
            return -1;
        show_progress(&request->progress, np_reader_pos(reader));
    }
    return more;
}

static void add_totals(struct np_verify_result *result, struct np_reader *reader)
{
    const struct np_meta *meta = np_reader_meta(reader);
    for (size_t i = 0; i < meta->disk_count; i++) {
        const struct np_totals *totals = np_reader_totals(reader, meta->disks[i].id);
        np_origin_add_totals(&result->points.list[0].disks[i], totals, np_reader_pos(reader));
        result->counts.records += totals->records;
        result->counts.read += totals->stored_bytes;
    }
    result->counts.pos = np_reader_pos(reader);
    result->streams = 1;
}

static int read_stream(const struct np_verify_request *request, struct np_verify_result *result,
                       struct np_reader *reader, struct np_error *err)
{
    const struct np_meta *meta = np_reader_meta(reader);
    const struct np_point *point;
    snprintf(result->domain, sizeof(result->domain), "%s", meta->domain_name);
    result->points.list = calloc(1, sizeof(*result->points.list));
    result->points.name = strdup("standard input");
    if (result->points.list == NULL || result->points.name == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "standard input");
    result->points.count = 1;
    if (np_origin_point_of_meta(meta, "-", &result->points.list[0], err) < 0 ||
        np_points_find(&result->points, request->until, &point, err) < 0)
        return -1;
    int read =
        request->depth == NP_VERIFY_DEEP ? read_deep(request, reader, err) : read_sums(request, reader, err);
    add_totals(result, reader);
    return read;
}

int np_verify_pipe(const struct np_verify_request *request, struct np_verify_result *result,
                   struct np_error *err)
{
    NP_CLEANUP(np_pipe_close) struct np_pipe pipe = {0};
    NP_CLEANUP(free_reader) struct np_reader *reader = NULL;
    NP_CLEANUP(np_ledger_clear) struct np_ledger ledger = {0};
    const struct np_input input = np_origin_pipe_input(&pipe);
    struct np_error mine = NP_ERROR_INIT;
    if (np_pipe_open(request->in_fd, false, "standard input", request->cancel, &pipe, err) < 0)
        return -1;
    int read = np_reader_new(&input, "standard input", &reader, &mine);
    if (read == 0)
        read = read_stream(request, result, reader, &mine);
    if (np_ledger_init(&ledger, result, err) < 0)
        return -1;
    if (read == 0)
        result->states[0] = NP_VERIFY_GOOD;
    if (read == 0 || mine.class != NP_DAMAGED) {
        *err = mine;
        return read;
    }
    const struct np_fault fault = {
        .scope = NP_FAULT_STREAM, .pos = NP_NO_OFFSET, .number = NP_NO_OFFSET, .error = mine};
    struct np_verify_damage *damage = np_ledger_add(&ledger, NULL, &fault);
    if (damage != NULL)
        snprintf(damage->file, sizeof(damage->file), "-");
    if (result->points.count == 0)
        return 0;
    result->states[0] = NP_VERIFY_AFFECTED;
    if (damage != NULL) {
        damage->affects[0] = true;
        snprintf(damage->point, sizeof(damage->point), "%s", result->points.list[0].id);
    }
    return 0;
}
