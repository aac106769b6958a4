/*
 * The pull engine of one disk. Three kinds of thread and one order:
 *
 *   scheduler   asks for extents and fills slots; puts each slot into `ordered` and, if it has something to
 *               read, into `todo`
 *   workers     take slots from `todo`, each with an NBD connection and a codec state of its own
 *   writer      the thread that called np_backup_run: takes slots from `ordered`, waits until each is done,
 *               writes it and puts it back into `free`
 *
 * `ordered` is first in, first out, so the output does not depend on which worker was faster. A slot has one
 * owner at a time. The first error closes all queues; everyone joins; that error comes out.
 */
#include "nbdpull/backup.h"

#include "nbdpull/bufpool.h"
#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/throttle.h"
#include "pack.h"
#include "read.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#define SLOTS_PER_WORKER 2

struct slot {
    struct np_step step;
    uint8_t *buffer; /* one chunk; exchanged with the worker's when the payload stayed raw */
    uint64_t allocated;
    struct np_packed packed;
    bool done; /* guarded by run.lock */
    uint8_t table[NP_DATA_TABLE_MAX];
};

struct run {
    const struct np_backup_options *options;
    const struct np_source *source;
    const struct np_geometry *geometry;

    struct np_queue free, todo, ordered;
    struct np_throttle throttle;
    struct np_bufpool buffers;
    struct slot *slots;
    size_t slot_count;
    struct np_hash128 *base_hashes;   /* room for each slot's window; NULL without a base */
    struct np_geometry base_geometry; /* of the base */

    pthread_mutex_t lock; /* guards the rest; taken alone */
    pthread_cond_t slot_done;
    bool failed;
    struct np_error error; /* the first one */

    pthread_t threads[NP_WORKERS_MAX + 1];
    unsigned thread_count;
};

unsigned np_backup_default_workers(void)
{
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
    count = count < 1 ? 2 : 2 * count;
    return count > NP_WORKERS_DEFAULT_MAX ? NP_WORKERS_DEFAULT_MAX : (unsigned)count;
}

static void close_queues(struct run *run)
{
    np_queue_close(&run->free);
    np_queue_close(&run->todo);
    np_queue_close(&run->ordered);
    np_throttle_close(&run->throttle);
}

/* Keep the first error, stop everybody. A read that fails because of the interrupt comes second. */
static void fail_run(struct run *run, const struct np_error *err)
{
    pthread_mutex_lock(&run->lock);
    bool first = !run->failed;
    if (first) {
        run->failed = true;
        run->error = *err;
    }
    pthread_cond_broadcast(&run->slot_done);
    pthread_mutex_unlock(&run->lock);
    if (!first)
        return;
    close_queues(run);
    run->source->ops->interrupt(run->source->ctx);
    if (!np_cancel_requested(run->options->told)) /* else it may be its hook that calls, under its lock */
        np_cancel_fail(run->options->told, err);
}

static void on_cancel(void *ctx)
{
    struct run *run = ctx;
    struct np_error err = NP_ERROR_INIT;
    if (np_cancel_check(run->options->cancel, &err) < 0)
        fail_run(run, &err);
}

static uint64_t bytes_to_read(const struct run *run, const struct slot *slot)
{
    return np_map_add_up(run->geometry, slot->step.offset, slot->step.map).data_bytes;
}

static int schedule_all(struct run *run, struct np_schedule *schedule, struct np_error *err)
{
    for (;;) {
        struct slot *slot = np_queue_take(&run->free);
        if (slot == NULL)
            return 0; /* closed: somebody else failed */
        int more = np_schedule_next(schedule, &slot->step, err);
        if (more < 0)
            return -1;
        if (more == 0)
            break;
        slot->done = slot->step.kind != NP_STEP_WINDOW;
        bool work = !slot->done;
        if (work && !np_throttle_take(&run->throttle, bytes_to_read(run, slot)))
            return 0;
        if (!np_queue_put(&run->ordered, slot) || (work && !np_queue_put(&run->todo, slot)))
            return 0;
    }
    np_queue_close(&run->todo);
    np_queue_close(&run->ordered);
    return 0;
}

static void *scheduler_thread(void *ctx)
{
    struct run *run = ctx;
    const struct np_source_ops *ops = run->source->ops;
    struct np_error err = NP_ERROR_INIT;
    void *reader = NULL;
    struct np_schedule *schedule = malloc(sizeof(*schedule));

    int result = schedule == NULL ? np_fail_errno(&err, NP_FAILED, ENOMEM, "cannot plan the disk")
                                  : ops->reader_open(run->source->ctx, &reader, &err);
    if (result == 0) {
        np_schedule_init(schedule, run->source, reader, run->geometry, run->options->scope,
                         run->options->base);
        result = schedule_all(run, schedule, &err);
    }
    if (result < 0)
        fail_run(run, &err);
    ops->reader_close(reader);
    free(schedule);
    return NULL;
}

static int work_slot(struct run *run, void *reader, struct np_packer *packer, struct slot *slot,
                     uint8_t **private, struct np_error *err)
{
    if (np_read_window(run->source, reader, run->geometry, &slot->step, *private, err) < 0)
        return -1;

    const struct np_pack_base base = {.geometry = &run->base_geometry, .window = &slot->step.base};
    const bool compare = run->options->scope == NP_SCOPE_SCAN;
    slot->allocated = bytes_to_read(run, slot);
    np_pack_window(packer, slot->step.offset, slot->step.map, *private, slot->buffer, slot->table,
                   compare ? &base : NULL, &slot->packed);
    if (slot->packed.data == *private) {
        uint8_t *raw = *private;
        *private = slot->buffer;
        slot->buffer = raw;
    }

    pthread_mutex_lock(&run->lock);
    slot->done = true;
    pthread_cond_signal(&run->slot_done);
    pthread_mutex_unlock(&run->lock);
    return 0;
}

static int work_all(struct run *run, void **reader, struct np_packer *packer, struct np_error *err)
{
    if (run->source->ops->reader_open(run->source->ctx, reader, err) < 0 ||
        np_packer_init(packer, run->options->codec, run->options->level, run->geometry, err) < 0)
        return -1;

    uint8_t *private = np_bufpool_get(&run->buffers);
    for (struct slot *slot; (slot = np_queue_take(&run->todo)) != NULL;)
        if (work_slot(run, *reader, packer, slot, &private, err) < 0)
            return -1;
    return 0;
}

static void *worker_thread(void *ctx)
{
    struct run *run = ctx;
    struct np_error err = NP_ERROR_INIT;
    struct np_packer packer = {0};
    void *reader = NULL;

    if (work_all(run, &reader, &packer, &err) < 0)
        fail_run(run, &err);
    np_packer_clear(&packer);
    run->source->ops->reader_close(reader);
    return NULL;
}

static bool wait_done(struct run *run, const struct slot *slot)
{
    pthread_mutex_lock(&run->lock);
    while (!slot->done && !run->failed)
        pthread_cond_wait(&run->slot_done, &run->lock);
    bool good = !run->failed;
    pthread_mutex_unlock(&run->lock);
    return good;
}

/* The digest of the base without the granules that are stored anew. */
static void take_out(const struct run *run, const struct np_step *step, struct np_hash128 *digest)
{
    unsigned granules = np_window_granules(run->geometry, step->offset);
    uint64_t first = step->offset / run->geometry->granule;
    for (unsigned i = 0; i < granules; i++)
        if (np_map_get(step->map, i) != NP_GRANULE_ABSENT && np_map_get(step->base.map, i) == NP_GRANULE_DATA)
            np_digest_subtract(digest, first + i, np_granule_length(&run->base_geometry, step->offset, i),
                               step->base.hashes[i]);
}

static int write_slot(struct run *run, struct slot *slot, uint16_t disk, struct np_writer *writer,
                      struct np_backup_counts *counts, struct np_error *err)
{
    const struct np_step *step = &slot->step;
    counts->covered = step->offset + step->length;
    if (step->kind == NP_STEP_ZERO) {
        counts->zero += step->length;
        return np_writer_zero(writer, disk, step->offset, step->length, err);
    }

    struct np_map_sums sums = np_map_add_up(run->geometry, step->offset, step->map);
    counts->allocated += slot->allocated;
    counts->read += slot->allocated;
    counts->zero += sums.zero_bytes;
    if (run->options->base != NULL)
        take_out(run, step, &counts->replaced);
    if (sums.live == 0) /* a scan found all of it as it was */
        return 0;
    if (sums.zero_bytes == step->length) /* all of it turned out to be zero */
        return np_writer_zero(writer, disk, step->offset, step->length, err);
    counts->data += slot->packed.length;
    counts->stored += slot->packed.data_len;
    return np_writer_data(writer, disk, &slot->packed, err);
}

static int write_all(struct run *run, uint16_t disk, struct np_writer *writer,
                     struct np_backup_counts *counts, struct np_error *err)
{
    for (struct slot *slot; (slot = np_queue_take(&run->ordered)) != NULL;) {
        if (!wait_done(run, slot))
            return 0; /* the error is in run */
        if (write_slot(run, slot, disk, writer, counts, err) < 0)
            return -1;
        if (run->options->progress != NULL)
            run->options->progress(run->options->progress_ctx, counts);
        np_queue_put(&run->free, slot);
    }
    return 0;
}

static int start_threads(struct run *run, struct np_error *err)
{
    unsigned wanted = run->options->workers + 1;
    for (unsigned i = 0; i < wanted; i++) {
        int failed = pthread_create(&run->threads[i], NULL, i == 0 ? scheduler_thread : worker_thread, run);
        if (failed != 0)
            return np_fail_errno(err, NP_FAILED, failed, "cannot start thread %u of %u", i + 1, wanted);
        run->thread_count++;
    }
    return 0;
}

static int make_base_room(struct run *run, struct np_error *err)
{
    size_t granules = run->geometry->chunk / run->geometry->granule;
    run->base_geometry = *run->geometry;
    run->base_geometry.size = run->options->base->size;
    run->base_hashes = calloc(run->slot_count * granules, sizeof(*run->base_hashes));
    if (run->base_hashes == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot compare with the base");
    for (size_t i = 0; i < run->slot_count; i++)
        run->slots[i].step.base.hashes = run->base_hashes + i * granules;
    return 0;
}

static int run_init(struct run *run, struct np_error *err)
{
    unsigned workers = run->options->workers;
    run->slot_count = (size_t)SLOTS_PER_WORKER * workers;
    pthread_mutex_init(&run->lock, NULL);
    pthread_cond_init(&run->slot_done, NULL);
    np_throttle_init(&run->throttle, run->options->rate);
    if (np_queue_init(&run->free, run->slot_count, err) < 0 ||
        np_queue_init(&run->todo, run->slot_count, err) < 0 ||
        np_queue_init(&run->ordered, run->slot_count, err) < 0 ||
        np_bufpool_init(&run->buffers, run->slot_count + workers, run->geometry->chunk, err) < 0)
        return -1;

    run->slots = calloc(run->slot_count, sizeof(*run->slots));
    if (run->slots == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot make %zu slots", run->slot_count);
    if (run->options->base != NULL && make_base_room(run, err) < 0)
        return -1;
    for (size_t i = 0; i < run->slot_count; i++) {
        run->slots[i].buffer = np_bufpool_get(&run->buffers);
        np_queue_put(&run->free, &run->slots[i]);
    }
    return 0;
}

static void run_clear(struct run *run)
{
    free(run->slots);
    free(run->base_hashes);
    np_bufpool_clear(&run->buffers);
    np_queue_clear(&run->ordered);
    np_queue_clear(&run->todo);
    np_queue_clear(&run->free);
    np_throttle_clear(&run->throttle);
    pthread_cond_destroy(&run->slot_done);
    pthread_mutex_destroy(&run->lock);
}

int np_backup_run(const struct np_backup_options *options, const struct np_source *source,
                  const struct np_geometry *geometry, uint16_t disk, const char *target,
                  struct np_writer *writer, struct np_backup_counts *counts, struct np_error *err)
{
    NP_CLEANUP(run_clear)
    struct run run = {.options = options, .source = source, .geometry = geometry, .error = NP_ERROR_INIT};
    struct np_cancel_entry entry;
    *counts = (struct np_backup_counts){0};
    if (options->base != NULL)
        counts->replaced = options->base->digest;

    if (run_init(&run, err) < 0)
        return -1;
    np_cancel_add(options->cancel, &entry, on_cancel, &run);

    struct np_error mine = NP_ERROR_INIT;
    if (start_threads(&run, &mine) < 0 || write_all(&run, disk, writer, counts, &mine) < 0)
        fail_run(&run, &mine);
    for (unsigned i = 0; i < run.thread_count; i++)
        pthread_join(run.threads[i], NULL);
    np_cancel_remove(options->cancel, &entry);

    if (!run.failed) {
        counts->covered = geometry->size; /* what is out of scope at the end has no step */
        return 0;
    }
    *err = run.error;
    np_error_where(err, target, NP_NO_OFFSET);
    return np_error_context(err, "disk %s", target);
}
