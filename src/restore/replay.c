#include "replay.h"

#include "nbdpull/bufpool.h"
#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/throttle.h"

#include <errno.h>
#include <stdlib.h>

#define ITEMS_PER_WORKER 2
#define THREADS_MAX 64

struct np_replay {
    const struct np_restore_options *options;
    const struct np_restore_disk *disks;
    size_t disk_count;

    struct np_queue free, todo;
    struct np_throttle throttle;
    struct np_bufpool buffers;
    struct np_replay_item *items;
    size_t item_count;

    pthread_mutex_t lock; /* guards failed, error and digest; taken alone */
    bool failed;
    struct np_error error;    /* the first one */
    struct np_hash128 digest; /* of what the workers that have ended have written */

    struct np_cancel_entry cancel_entry;
    pthread_t threads[THREADS_MAX];
    unsigned thread_count;
};

void np_replay_fail(struct np_replay *replay, const struct np_error *err)
{
    pthread_mutex_lock(&replay->lock);
    if (!replay->failed) {
        replay->failed = true;
        replay->error = *err;
    }
    pthread_mutex_unlock(&replay->lock);
    np_queue_close(&replay->free);
    np_queue_close(&replay->todo);
    np_throttle_close(&replay->throttle);
    if (!np_cancel_requested(replay->options->told)) /* else it may be its hook that calls, under its lock */
        np_cancel_fail(replay->options->told, err);
}

static bool has_failed(struct np_replay *replay)
{
    pthread_mutex_lock(&replay->lock);
    bool failed = replay->failed;
    pthread_mutex_unlock(&replay->lock);
    return failed;
}

static void on_cancel(void *ctx)
{
    struct np_replay *replay = ctx;
    struct np_error err = NP_ERROR_INIT;
    if (np_cancel_check(replay->options->cancel, &err) < 0)
        np_replay_fail(replay, &err);
}

/* Bytes of granule i in the expanded payload. */
static uint32_t payload_bytes(const struct np_replay_item *item, const struct np_record *record, unsigned i)
{
    enum np_granule_state state = np_map_get(record->table, i);
    if (state != NP_GRANULE_DATA && state != NP_GRANULE_DEAD)
        return 0;
    return np_granule_length(item->geometry, record->header.offset, i);
}

/*
 * Write the granules to take, neighbours in one call. The payload is laid out by the record's own map (dead
 * granules have bytes there too), the guest offsets by the grid.
 */
static int write_taken(const struct np_replay_item *item, const struct np_record *record, void *writer,
                       const uint8_t *payload, struct np_error *err)
{
    const struct np_restore_disk *disk = item->disk;
    unsigned granules = np_window_granules(item->geometry, record->header.offset);
    for (unsigned i = 0; i < granules;) {
        uint64_t offset = record->header.offset + (uint64_t)i * item->geometry->granule;
        size_t length = 0;
        for (; i < granules && np_map_get(item->take, i) == NP_GRANULE_DATA; i++) {
            if (np_map_get(record->table, i) != NP_GRANULE_DATA) {
                np_fail(err, NP_DAMAGED,
                        "%s: record %ju does not hold the granule at byte %ju that was looked for",
                        item->name, (uintmax_t)record->header.number, (uintmax_t)offset);
                return np_error_where(err, disk->target_name, offset);
            }
            length += payload_bytes(item, record, i);
        }
        if (length > 0 && disk->ops->write(writer, payload, offset, length, err) < 0)
            return np_error_where(err, disk->target_name, offset);
        payload += length;
        for (; i < granules && np_map_get(item->take, i) != NP_GRANULE_DATA; i++)
            payload += payload_bytes(item, record, i);
    }
    return 0;
}

/* The terms of the granules that were written; their hashes have been checked. */
static void add_to_digest(const struct np_replay_item *item, const struct np_record *record,
                          struct np_hash128 *digest)
{
    const uint8_t *hash = record->table + np_map_bytes(item->geometry);
    unsigned granules = np_window_granules(item->geometry, record->header.offset);
    uint64_t first = record->header.offset / item->geometry->granule;
    for (unsigned i = 0; i < granules; i++) {
        uint32_t length = payload_bytes(item, record, i);
        if (length == 0)
            continue;
        if (np_map_get(item->take, i) == NP_GRANULE_DATA)
            np_digest_add(digest, first + i, length, np_hash128_get(hash));
        hash += NP_HASH128_SIZE;
    }
}

static int do_item(struct np_replay_item *item, void *writer, uint8_t *expanded, struct np_hash128 *digest,
                   struct np_error *err)
{
    struct np_record record = {.header = item->header, .table = item->table, .data = item->data};
    if (item->stream != NULL && np_stream_read(item->stream, item->stream_disk, &item->entry, item->table,
                                               item->data, &record, err) < 0)
        return -1;
    if (np_window_expand(item->geometry, &record, item->name, expanded, err) < 0)
        return -1;
    if (write_taken(item, &record, writer, expanded, err) < 0)
        return -1;
    add_to_digest(item, &record, digest);
    return 0;
}

/* Writers of one worker, opened when the first item of their disk comes. */
static int writer_of(struct np_replay *replay, void **writers, const struct np_restore_disk *disk,
                     void **writer, struct np_error *err)
{
    size_t i = (size_t)(disk - replay->disks);
    if (writers[i] == NULL && disk->ops->writer_open(disk->target, &writers[i], err) < 0)
        return -1;
    *writer = writers[i];
    return 0;
}

static int work(struct np_replay *replay, void **writers, uint8_t *expanded, struct np_hash128 *digest,
                struct np_error *err)
{
    for (struct np_replay_item *item; (item = np_queue_take(&replay->todo)) != NULL;) {
        void *writer;
        if (has_failed(replay))
            return 0; /* what is still in the queue does not matter any more */
        if (writer_of(replay, writers, item->disk, &writer, err) < 0 ||
            do_item(item, writer, expanded, digest, err) < 0) {
            np_error_where(err, item->disk->target_name, NP_NO_OFFSET);
            return np_error_context(err, "disk %s", item->disk->target_name);
        }
        np_queue_put(&replay->free, item);
    }
    return 0;
}

static void *worker_thread(void *ctx)
{
    struct np_replay *replay = ctx;
    struct np_error err = NP_ERROR_INIT;
    uint8_t *expanded = np_bufpool_get(&replay->buffers);
    struct np_hash128 digest = {0};
    NP_AUTO_FREE void **writers = calloc(replay->disk_count, sizeof(*writers));

    if (writers == NULL)
        np_fail_errno(&err, NP_FAILED, ENOMEM, "cannot start a worker");
    if (writers == NULL || work(replay, writers, expanded, &digest, &err) < 0)
        np_replay_fail(replay, &err);
    for (size_t i = 0; writers != NULL && i < replay->disk_count; i++)
        replay->disks[i].ops->writer_close(writers[i]);
    pthread_mutex_lock(&replay->lock);
    np_digest_join(&replay->digest, digest);
    pthread_mutex_unlock(&replay->lock);
    return NULL;
}

static void replay_free(struct np_replay *replay)
{
    if (replay == NULL)
        return;
    free(replay->items);
    np_bufpool_clear(&replay->buffers);
    np_queue_clear(&replay->todo);
    np_queue_clear(&replay->free);
    np_throttle_clear(&replay->throttle);
    pthread_mutex_destroy(&replay->lock);
    free(replay);
}

static int make_items(struct np_replay *replay, unsigned workers, uint32_t chunk, struct np_error *err)
{
    replay->item_count = (size_t)ITEMS_PER_WORKER * workers;
    if (np_queue_init(&replay->free, replay->item_count, err) < 0 ||
        np_queue_init(&replay->todo, replay->item_count, err) < 0 ||
        np_bufpool_init(&replay->buffers, replay->item_count + workers, chunk, err) < 0)
        return -1;
    replay->items = calloc(replay->item_count, sizeof(*replay->items));
    if (replay->items == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot make %zu items", replay->item_count);
    for (size_t i = 0; i < replay->item_count; i++) {
        replay->items[i].data = np_bufpool_get(&replay->buffers);
        np_queue_put(&replay->free, &replay->items[i]);
    }
    return 0;
}

int np_replay_start(const struct np_restore_options *options, const struct np_restore_disk *disks,
                    size_t disk_count, uint32_t chunk, struct np_replay **replay, struct np_error *err)
{
    struct np_replay *made = calloc(1, sizeof(*made));
    if (made == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot start the restore");
    *made = (struct np_replay){
        .options = options, .disks = disks, .disk_count = disk_count, .error = NP_ERROR_INIT};
    pthread_mutex_init(&made->lock, NULL);
    np_throttle_init(&made->throttle, options->rate);
    if (make_items(made, options->workers, chunk, err) < 0) {
        replay_free(made);
        return -1;
    }
    np_cancel_add(options->cancel, &made->cancel_entry, on_cancel, made);

    for (unsigned i = 0; i < options->workers; i++) {
        int failed = pthread_create(&made->threads[i], NULL, worker_thread, made);
        if (failed != 0) {
            struct np_error mine = NP_ERROR_INIT;
            np_fail_errno(&mine, NP_FAILED, failed, "cannot start thread %u of %u", i + 1, options->workers);
            np_replay_fail(made, &mine);
            return np_replay_finish(made, NULL, err);
        }
        made->thread_count++;
    }
    *replay = made;
    return 0;
}

struct np_replay_item *np_replay_get(struct np_replay *replay)
{
    struct np_replay_item *item = np_queue_take(&replay->free);
    return item != NULL && has_failed(replay) ? NULL : item;
}

void np_replay_put(struct np_replay *replay, struct np_replay_item *item, uint64_t bytes)
{
    np_throttle_take(&replay->throttle, bytes);
    np_queue_put(&replay->todo, item); /* refused only after a failure; items are freed as a whole */
}

void np_replay_return(struct np_replay *replay, struct np_replay_item *item)
{
    np_queue_put(&replay->free, item);
}

int np_replay_finish(struct np_replay *replay, struct np_hash128 *digest, struct np_error *err)
{
    np_queue_close(&replay->todo);
    for (unsigned i = 0; i < replay->thread_count; i++)
        pthread_join(replay->threads[i], NULL);
    np_cancel_remove(replay->options->cancel, &replay->cancel_entry);

    int result = replay->failed ? -1 : 0;
    if (result < 0)
        *err = replay->error;
    if (digest != NULL)
        *digest = replay->digest;
    replay_free(replay);
    return result;
}
