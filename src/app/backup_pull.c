#include "backup_parts.h"

#include "clock.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/log.h"
#include "nbdpull/pipe.h"

#include <stdio.h>
#include <string.h>

static void free_writer(struct np_writer **writer)
{
    np_writer_free(*writer);
}

static void free_meta(struct np_meta **meta)
{
    np_meta_free(*meta);
}

static void close_stream_file(struct np_stream_file **file)
{
    np_stream_file_close(*file);
}

/* ---- progress ---- */

struct watch {
    struct np_run *run;
    size_t disk;
    uint64_t total;
};

static void watch_progress(void *ctx, const struct np_backup_counts *counts)
{
    const struct watch *watch = ctx;
    struct np_run *run = watch->run;
    const struct np_run_disk *disk = &run->disks[watch->disk];
    np_run_guard_wrote(run, run->stored + counts->stored);
    if (run->request->progress.show == NULL)
        return;
    const struct np_progress progress = {
        .target = disk->domain_disk->target,
        .disk = watch->disk,
        .disks = run->disk_count,
        .disk_done = counts->read,
        .disk_total = disk->allocated,
        .done = run->done + counts->read,
        .total = watch->total,
    };
    run->request->progress.show(run->request->progress.ctx, &progress);
}

/* Only for eyes on a terminal: one more pass of block status tells how much there is to read. */
static int measure_all(struct np_run *run, uint64_t *total, struct np_error *err)
{
    *total = 0;
    for (size_t i = 0; i < run->disk_count && run->request->progress.show != NULL; i++) {
        struct np_run_disk *disk = &run->disks[i];
        const struct np_geometry geometry = np_run_geometry(disk);
        struct np_backup_sums sums;
        if (np_backup_measure(&disk->source, &geometry, np_run_scope(disk), NULL, run->request->cancel, &sums,
                              err) < 0)
            return np_error_where(err, disk->domain_disk->target, NP_NO_OFFSET);
        disk->allocated = sums.data;
        *total += disk->allocated;
    }
    return 0;
}

/* ---- one disk into a writer ---- */

static int pull_disk(struct np_run *run, size_t i, uint16_t id, uint64_t total,
                     const struct np_geometry *geometry, struct np_writer *writer, struct np_error *err)
{
    struct np_run_disk *disk = &run->disks[i];
    struct np_base base;
    bool based = disk->mode != NP_MODE_FULL;
    if (based && np_run_begin_base(disk, &base, err) < 0)
        return -1;
    struct watch watch = {.run = run, .disk = i, .total = total};
    const struct np_backup_options options = {
        .workers = run->request->workers,
        .rate = run->request->rate,
        .codec = run->request->codec,
        .level = run->request->codec_level,
        .scope = np_run_scope(disk),
        .base = based ? &base : NULL,
        .cancel = run->request->cancel,
        .told = run->set == NULL ? run->request->cancel : NULL, /* the writer may wait at a pipe */
        .progress = watch_progress,
        .progress_ctx = &watch,
    };
    double began = np_clock_seconds();
    if (np_backup_run(&options, &disk->source, geometry, id, disk->domain_disk->target, writer,
                      &disk->result->counts, err) < 0)
        return -1;
    bool digest = based && base.digest_known;
    if (np_writer_disk_end(writer, id, digest ? &disk->result->counts.replaced : NULL, err) < 0)
        return -1;
    disk->result->seconds = np_clock_seconds() - began;
    run->done += disk->result->counts.read;
    run->stored += disk->result->counts.stored;
    np_log_debug("disk %s: %ju bytes read, %ju stored in %.2f s", disk->domain_disk->target,
                 (uintmax_t)disk->result->counts.read, (uintmax_t)disk->result->counts.stored,
                 disk->result->seconds);
    return 0;
}

static int write_blobs(const struct np_run *run, struct np_writer *writer, struct np_error *err)
{
    for (size_t i = 0; i < run->blob_count; i++)
        if (np_writer_blob(writer, run->blobs[i].name, run->blobs[i].bytes, run->blobs[i].size, err) < 0)
            return -1;
    return 0;
}

/* What the commit record will say of the disk. */
static void record_disk(struct np_run *run, struct np_run_disk *disk, const struct np_writer *writer,
                        uint16_t id, const char *file)
{
    const struct np_totals *totals = np_writer_totals(writer, id);
    const struct np_domain_disk *domain_disk = disk->domain_disk;
    struct np_point_disk *to = &disk->point;
    *to = (struct np_point_disk){
        .stored = true,
        .stream_uuid = disk->stream,
        .state = disk->state,
        .virtual_size = disk->source.size,
        .stream_size = np_writer_size(writer),
        .data_bytes = totals->data_bytes,
        .zero_bytes = totals->zero_bytes,
        .stored_bytes = totals->stored_bytes,
        .digest_known = totals->digest_known,
        .digest = totals->digest,
        .image_dev = domain_disk->image_dev,
        .image_ino = domain_disk->image_ino,
        .has_below = disk->has_below,
        .below = disk->below,
    };
    snprintf(to->target, sizeof(to->target), "%s", domain_disk->target);
    snprintf(to->level, sizeof(to->level), "%s", disk->result->level);
    snprintf(to->how, sizeof(to->how), "%s", disk->result->how);
    snprintf(to->why, sizeof(to->why), "%s", disk->result->why);
    snprintf(to->parent, sizeof(to->parent), "%s", disk->result->parent);
    snprintf(to->codec, sizeof(to->codec), "%s", run->request->codec_text);
    snprintf(to->file, sizeof(to->file), "%s", file);
    snprintf(to->image, sizeof(to->image), "%s", domain_disk->source != NULL ? domain_disk->source : "");
    if (disk->checkpoint)
        snprintf(to->checkpoint, sizeof(to->checkpoint), "%s", run->result->checkpoint);
    snprintf(disk->result->file, sizeof(disk->result->file), "%s", file);
    disk->result->stream_bytes = np_writer_size(writer);
}

/* ---- to a set: one stream for each disk ---- */

static int pull_to_set(struct np_run *run, size_t i, uint64_t total, struct np_error *err)
{
    struct np_run_disk *disk = &run->disks[i];
    NP_CLEANUP(free_meta) struct np_meta *meta = NULL;
    NP_CLEANUP(close_stream_file) struct np_stream_file *file = NULL;
    NP_CLEANUP(free_writer) struct np_writer *writer = NULL;
    struct np_sink sink;

    if (np_run_meta(run, i, 1, &meta, err) < 0 ||
        np_set_stream_create(run->set, run->result->point, disk->domain_disk->target, &file, err) < 0)
        return -1;
    np_stream_file_sink(file, &sink);
    if (np_writer_new(&sink, meta, &writer, err) < 0 ||
        pull_disk(run, i, 0, total, &meta->disks[0].geometry, writer, err) < 0 ||
        write_blobs(run, writer, err) < 0 || np_writer_finish(writer, err) < 0)
        return -1;
    record_disk(run, disk, writer, 0, np_stream_file_name(file));
    run->result->stream_bytes += np_writer_size(writer);
    return np_stream_file_sync(file, err);
}

/* ---- to standard output: one stream with all disks ---- */

static int append_to_pipe(void *ctx, struct iovec *pieces, int count, struct np_error *err)
{
    return np_pipe_writev(ctx, pieces, count, err);
}

static int pull_to_pipe(struct np_run *run, uint64_t total, struct np_error *err)
{
    NP_CLEANUP(np_pipe_close) struct np_pipe pipe = {0};
    const struct np_sink sink = {.append = append_to_pipe, .ctx = &pipe};
    NP_CLEANUP(free_meta) struct np_meta *meta = NULL;
    NP_CLEANUP(free_writer) struct np_writer *writer = NULL;

    if (np_pipe_open(run->request->out_fd, true, "standard output", run->request->cancel, &pipe, err) < 0 ||
        np_run_meta(run, 0, run->disk_count, &meta, err) < 0 || np_writer_new(&sink, meta, &writer, err) < 0)
        return -1;
    for (size_t i = 0; i < run->disk_count; i++)
        if (pull_disk(run, i, (uint16_t)i, total, &meta->disks[i].geometry, writer, err) < 0)
            return -1;
    if (write_blobs(run, writer, err) < 0 || np_writer_finish(writer, err) < 0)
        return -1;
    run->result->stream_bytes = np_writer_size(writer);
    return np_pipe_sync(&pipe, err); /* a full disk behind a network may say so only now */
}

int np_run_pull(struct np_run *run, struct np_error *err)
{
    uint64_t total;
    if (measure_all(run, &total, err) < 0)
        return -1;
    if (run->set == NULL)
        return pull_to_pipe(run, total, err);
    for (size_t i = 0; i < run->disk_count; i++)
        if (pull_to_set(run, i, total, err) < 0)
            return -1;
    return 0;
}
