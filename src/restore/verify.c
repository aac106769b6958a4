#include "nbdpull/verify.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/log.h"
#include "nbdpull/queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ITEMS_PER_WORKER 4
#define THREADS_MAX 64

/* One DATA record for the workers: only its header travels, so each worker reads into a buffer of its own,
 * which its processor still holds when it is hashed. */
struct item {
    struct np_record_header header;
    const struct np_meta_disk *disk;
};

struct verify {
    const struct np_verify_options *options;
    struct np_stream *stream;
    struct np_queue free, todo;
    struct item *items;
    size_t chunk;    /* the largest of the stream's disks */
    bool files_told; /* a fault of a file was; only the walk tells of files, and only it looks */

    pthread_mutex_t lock; /* guards all below; taken alone */
    struct np_verify_counts *counts;
    bool failed;
    struct np_error error; /* of a worker that could not begin */

    struct np_cancel_entry cancel_entry;
    pthread_t threads[THREADS_MAX];
    unsigned thread_count;
};

/* Spread by the stream as well: else the first part would hold every stream of a few records. */
unsigned np_verify_part(const struct np_record_header *header, unsigned parts)
{
    uint8_t key[16];
    np_put_le64(key, header->stream_id);
    np_put_le64(key + 8, header->number);
    return (unsigned)(np_hash64(key, sizeof(key)) % parts);
}

static void report(struct verify *verify, const struct np_fault *fault)
{
    pthread_mutex_lock(&verify->lock);
    verify->options->report(verify->options->ctx, fault);
    pthread_mutex_unlock(&verify->lock);
    if (fault->scope == NP_FAULT_FILES)
        verify->files_told = true;
}

static void fail(struct verify *verify, const struct np_error *err)
{
    pthread_mutex_lock(&verify->lock);
    if (!verify->failed)
        verify->error = *err;
    verify->failed = true;
    pthread_mutex_unlock(&verify->lock);
    np_queue_close(&verify->free);
    np_queue_close(&verify->todo);
}

static void on_cancel(void *ctx)
{
    struct verify *verify = ctx;
    struct np_error err = NP_ERROR_INIT;
    if (np_cancel_check(verify->options->cancel, &err) < 0)
        fail(verify, &err);
}

static bool has_failed(struct verify *verify)
{
    pthread_mutex_lock(&verify->lock);
    bool failed = verify->failed;
    pthread_mutex_unlock(&verify->lock);
    return failed;
}

/* ---- workers ---- */

/* @param expanded a chunk, or NULL when nothing is to be expanded */
static void check_item(struct verify *verify, const struct item *item, void *body, void *expanded,
                       struct np_verify_counts *counts)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_record record;
    int good = np_stream_record(verify->stream, &item->header, body, &record, &err);
    if (good == 0 && expanded != NULL) {
        good =
            np_window_expand(&item->disk->geometry, &record, np_stream_name(verify->stream), expanded, &err);
        counts->expanded += good == 0 ? item->header.length : 0;
    }
    counts->checked++;
    counts->read += item->header.table_len + (uint64_t)item->header.data_len;
    if (good == 0)
        return;
    np_error_where(&err, item->disk->target, item->header.offset);
    struct np_fault fault = np_fault_of(&item->header, item->disk, &err);
    report(verify, &fault);
}

static void work(struct verify *verify, void *body, void *expanded)
{
    struct np_verify_counts counts = {0};
    for (struct item *item; (item = np_queue_take(&verify->todo)) != NULL;) {
        if (!has_failed(verify))
            check_item(verify, item, body, expanded, &counts);
        np_queue_put(&verify->free, item);
    }
    pthread_mutex_lock(&verify->lock);
    verify->counts->checked += counts.checked;
    verify->counts->read += counts.read;
    verify->counts->expanded += counts.expanded;
    pthread_mutex_unlock(&verify->lock);
}

static void *worker_thread(void *ctx)
{
    struct verify *verify = ctx;
    bool deep = verify->options->depth == NP_VERIFY_DEEP;
    NP_AUTO_FREE void *body = malloc(NP_DATA_TABLE_MAX + verify->chunk);
    NP_AUTO_FREE void *expanded = deep ? malloc(verify->chunk) : NULL;
    if (body != NULL && (expanded != NULL || !deep)) {
        work(verify, body, expanded);
        return NULL;
    }
    struct np_error err = NP_ERROR_INIT;
    np_fail_errno(&err, NP_FAILED, ENOMEM, "cannot start a worker");
    fail(verify, &err);
    return NULL;
}

static int start(struct verify *verify, struct np_error *err)
{
    unsigned workers = verify->options->workers;
    size_t count = (size_t)ITEMS_PER_WORKER * workers;
    if (np_queue_init(&verify->free, count, err) < 0 || np_queue_init(&verify->todo, count, err) < 0)
        return -1;
    verify->items = calloc(count, sizeof(*verify->items));
    if (verify->items == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot make %zu items", count);
    for (size_t i = 0; i < count; i++)
        np_queue_put(&verify->free, &verify->items[i]);
    np_cancel_add(verify->options->cancel, &verify->cancel_entry, on_cancel, verify);
    for (; verify->thread_count < workers; verify->thread_count++) {
        int failed = pthread_create(&verify->threads[verify->thread_count], NULL, worker_thread, verify);
        if (failed != 0) {
            struct np_error mine = NP_ERROR_INIT;
            np_fail_errno(&mine, NP_FAILED, failed, "cannot start thread %u of %u", verify->thread_count + 1,
                          workers);
            fail(verify, &mine);
            return 0; /* finish has the error */
        }
    }
    return 0;
}

static int finish(struct verify *verify, struct np_error *err)
{
    np_queue_close(&verify->todo);
    for (unsigned i = 0; i < verify->thread_count; i++)
        pthread_join(verify->threads[i], NULL);
    np_cancel_remove(verify->options->cancel, &verify->cancel_entry);
    if (verify->failed)
        *err = verify->error;
    /* Who asked may not have come to our hook yet, and the walk has ended already. */
    return verify->failed ? -1 : np_cancel_check(verify->options->cancel, err);
}

static void verify_clear(struct verify *verify)
{
    free(verify->items);
    np_queue_clear(&verify->todo);
    np_queue_clear(&verify->free);
    pthread_mutex_destroy(&verify->lock);
}

/* ---- the walk ---- */

static bool is_wanted(const struct np_verify_options *options, const struct np_record_header *header)
{
    return options->depth != NP_VERIFY_QUICK &&
           (options->parts <= 1 || np_verify_part(header, options->parts) == options->part);
}

/* Few and small: files of the guest, and what only newer versions know. */
static void check_other(struct verify *verify, const struct np_record_header *header)
{
    struct np_error err = NP_ERROR_INIT;
    if (np_stream_sums(verify->stream, header, &err) == 0)
        return;
    struct np_fault fault = np_fault_of(header, NULL, &err);
    report(verify, &fault);
}

/* What np_stream_open, the cursors and the walk itself have read and checked. */
static bool is_structure(uint8_t type)
{
    return type == NP_RECORD_META || type == NP_RECORD_INDEX || type == NP_RECORD_DIR ||
           type == NP_RECORD_END;
}

static void take(struct verify *verify, const struct np_record_header *header,
                 const struct np_meta_disk *disk)
{
    const struct np_verify_options *options = verify->options;
    if (is_structure(header->type))
        return;
    verify->counts->records++;
    verify->counts->payloads += header->type == NP_RECORD_DATA;
    if (header->type == NP_RECORD_ZERO)
        return;
    if (header->type != NP_RECORD_DATA) {
        if (options->depth != NP_VERIFY_QUICK)
            check_other(verify, header);
        return;
    }
    if (!is_wanted(options, header))
        return;
    struct item *item = np_queue_take(&verify->free);
    if (item == NULL)
        return; /* finish has the error */
    *item = (struct item){.header = *header, .disk = disk};
    np_queue_put(&verify->todo, item);
}

static void walk_stream(struct verify *verify, struct np_walk *walk)
{
    const struct np_verify_options *options = verify->options;
    struct np_record_header header;
    const struct np_meta_disk *disk;
    struct np_fault fault;
    uint64_t before = verify->counts->pos;
    for (enum np_walk_found found;
         !has_failed(verify) && (found = np_walk_next(walk, &header, &disk, &fault)) != NP_WALK_END;) {
        if (found == NP_WALK_FAULT)
            report(verify, &fault);
        else
            take(verify, &header, disk);
        verify->counts->pos = before + np_walk_pos(walk);
        if (options->progress != NULL)
            options->progress(options->ctx, verify->counts);
    }
    verify->counts->pos = before + np_stream_size(verify->stream);
}

/* All sums of their records are right, or that was told; what is left is how the parts fit together. */
static void check_files(struct verify *verify)
{
    for (size_t i = 0; np_stream_blob_name(verify->stream, i) != NULL; i++) {
        struct np_fault fault = {
            .scope = NP_FAULT_FILES, .pos = NP_NO_OFFSET, .number = NP_NO_OFFSET, .error = NP_ERROR_INIT};
        if (has_failed(verify) || verify->files_told)
            return;
        if (np_stream_blob_check(verify->stream, i, verify->options->cancel, &fault.error) < 0 &&
            !np_cancel_requested(verify->options->cancel))
            report(verify, &fault);
    }
}

static void close_walk(struct np_walk **walk)
{
    np_walk_close(*walk);
}

int np_verify_stream(const struct np_verify_options *options, struct np_stream *stream,
                     struct np_verify_counts *counts, struct np_error *err)
{
    NP_CLEANUP(close_walk) struct np_walk *walk = NULL;
    NP_CLEANUP(verify_clear)
    struct verify verify = {.options = options,
                            .stream = stream,
                            .counts = counts,
                            .chunk = NP_CHUNK_MIN,
                            .lock = PTHREAD_MUTEX_INITIALIZER,
                            .error = NP_ERROR_INIT};
    const struct np_meta *meta = np_stream_meta(stream);
    np_log_debug("checking %s", np_stream_name(stream));
    for (size_t i = 0; i < meta->disk_count; i++)
        verify.chunk = np_max_u64(verify.chunk, meta->disks[i].geometry.chunk);
    if (np_walk_open(stream, options->cancel, &walk, err) < 0 || start(&verify, err) < 0)
        return -1;
    walk_stream(&verify, walk);
    if (options->depth != NP_VERIFY_QUICK)
        check_files(&verify);
    return finish(&verify, err);
}
