#include "nbdpull/verify.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ITEMS_PER_WORKER 2
#define THREADS_MAX 64
#define SECTOR 512
#define EXTENTS 64
#define PIECE (1u << 20) /* that is read at once where zeroes are expected */

/* One step of the chain, with its hashes. */
struct item {
    struct np_chain_step step;
    uint8_t hashes[NP_GRANULES_MAX * NP_HASH128_SIZE];
};

struct compare {
    const struct np_verify_image_options *options;
    const struct np_source *source;
    struct np_geometry geometry;
    struct np_queue free, todo;
    struct item *items;

    pthread_mutex_t lock; /* guards all below; taken alone */
    bool failed;          /* for another reason than that the image differs */
    struct np_error error;
    uint64_t differs_at; /* the lowest so far; NP_NO_OFFSET: nowhere */
    uint64_t differs_to;

    struct np_cancel_entry cancel_entry;
    pthread_t threads[THREADS_MAX];
    unsigned thread_count;
};

/* ---- verdicts ---- */

static void fail(struct compare *compare, const struct np_error *err)
{
    pthread_mutex_lock(&compare->lock);
    bool first = !compare->failed;
    if (first)
        compare->error = *err;
    compare->failed = true;
    pthread_mutex_unlock(&compare->lock);
    np_queue_close(&compare->free);
    np_queue_close(&compare->todo);
    if (first)
        compare->source->ops->interrupt(compare->source->ctx);
}

static void on_cancel(void *ctx)
{
    struct compare *compare = ctx;
    struct np_error err = NP_ERROR_INIT;
    if (np_cancel_check(compare->options->cancel, &err) < 0)
        fail(compare, &err);
}

static void differs(struct compare *compare, uint64_t from, uint64_t to)
{
    pthread_mutex_lock(&compare->lock);
    if (from < compare->differs_at) {
        compare->differs_at = from;
        compare->differs_to = to;
    }
    pthread_mutex_unlock(&compare->lock);
}

/* Is what lies at an offset still of interest? What comes before the first difference is. */
static bool matters(struct compare *compare, uint64_t offset)
{
    pthread_mutex_lock(&compare->lock);
    bool does = !compare->failed && offset < compare->differs_at;
    pthread_mutex_unlock(&compare->lock);
    return does;
}

/* ---- comparing ---- */

static int read_image(struct compare *compare, void *reader, void *buffer, uint64_t offset, size_t length,
                      struct np_error *err)
{
    if (compare->source->ops->read(reader, buffer, offset, length, err) == 0)
        return 0;
    return np_error_where(err, compare->options->target, offset);
}

/* Neighbours that come from the same record are read in one piece. */
static int compare_data(struct compare *compare, const struct item *item, void *reader, uint8_t *buffer,
                        struct np_error *err)
{
    const struct np_geometry *geometry = &compare->geometry;
    const struct np_chain_step *step = &item->step;
    unsigned granules = np_window_granules(geometry, step->offset);
    const uint8_t *hash = item->hashes;
    for (unsigned i = 0; i < granules;) {
        uint64_t offset = step->offset + (uint64_t)i * geometry->granule;
        unsigned to = i;
        size_t length = 0;
        for (; to < granules && np_map_get(step->take, to) == NP_GRANULE_DATA; to++)
            length += np_granule_length(geometry, step->offset, to);
        if (length > 0 && read_image(compare, reader, buffer, offset, length, err) < 0)
            return -1;
        const uint8_t *at = buffer;
        for (; i < to; i++, hash += NP_HASH128_SIZE) {
            uint32_t size = np_granule_length(geometry, step->offset, i);
            uint64_t from = step->offset + (uint64_t)i * geometry->granule;
            if (!np_hash128_equal(np_hash128(at, size), np_hash128_get(hash)))
                differs(compare, from, from + size);
            at += size;
        }
        for (; i < granules && np_map_get(step->take, i) != NP_GRANULE_DATA; i++) {
            enum np_granule_state state = np_map_get(step->map, i);
            if (state == NP_GRANULE_DATA || state == NP_GRANULE_DEAD)
                hash += NP_HASH128_SIZE;
        }
    }
    return 0;
}

static int compare_piece_zero(struct compare *compare, void *reader, uint8_t *buffer, uint64_t offset,
                              size_t length, struct np_error *err)
{
    if (read_image(compare, reader, buffer, offset, length, err) < 0)
        return -1;
    if (np_is_zero(buffer, length))
        return 0;
    size_t first = 0;
    while (buffer[first] == 0)
        first++;
    uint64_t end = np_min_u64(np_align_up(offset + first + 1, compare->geometry.granule), offset + length);
    differs(compare, offset + first, end);
    return 0;
}

static int compare_zero(struct compare *compare, uint64_t from, uint64_t to, void *reader, uint8_t *buffer,
                        struct np_error *err)
{
    const struct np_source_ops *ops = compare->source->ops;
    while (from < to && matters(compare, from)) {
        struct np_extent extents[EXTENTS];
        size_t count;
        if (ops->extents(reader, from, to - from, extents, EXTENTS, &count, err) < 0)
            return np_error_where(err, compare->options->target, from);
        for (size_t i = 0; i < count; i++) {
            uint64_t end = extents[i].offset + extents[i].length;
            if (extents[i].flags & NP_EXTENT_ZERO)
                from = end;
            for (; from < end && matters(compare, from); from += np_min_u64(PIECE, end - from))
                if (compare_piece_zero(compare, reader, buffer, from, np_min_u64(PIECE, end - from), err) < 0)
                    return -1;
        }
    }
    return 0;
}

static int compare_item(struct compare *compare, const struct item *item, void *reader, uint8_t *buffer,
                        struct np_error *err)
{
    const struct np_chain_step *step = &item->step;
    if (!matters(compare, step->offset))
        return 0;
    return step->kind == NP_CHAIN_DATA
               ? compare_data(compare, item, reader, buffer, err)
               : compare_zero(compare, step->offset, step->offset + step->length, reader, buffer, err);
}

static int work(struct compare *compare, void *reader, uint8_t *buffer, struct np_error *err)
{
    for (struct item *item; (item = np_queue_take(&compare->todo)) != NULL;) {
        if (compare_item(compare, item, reader, buffer, err) < 0)
            return -1;
        np_queue_put(&compare->free, item);
    }
    return 0;
}

static void *worker_thread(void *ctx)
{
    struct compare *compare = ctx;
    struct np_error err = NP_ERROR_INIT;
    void *reader = NULL;
    NP_AUTO_FREE uint8_t *buffer = malloc(np_max_u64(compare->geometry.chunk, PIECE));
    if (buffer == NULL)
        np_fail_errno(&err, NP_FAILED, ENOMEM, "cannot start a worker");
    if (buffer == NULL || compare->source->ops->reader_open(compare->source->ctx, &reader, &err) < 0 ||
        work(compare, reader, buffer, &err) < 0)
        fail(compare, &err);
    compare->source->ops->reader_close(reader);
    return NULL;
}

/* ---- feeding ---- */

static void fill_item(struct item *item, const struct np_chain_step *step)
{
    item->step = *step;
    item->step.entry.map = item->step.map;
    if (step->kind == NP_CHAIN_DATA)
        memcpy(item->hashes, step->entry.hashes, (size_t)step->entry.hash_count * NP_HASH128_SIZE);
    item->step.entry.hashes = item->hashes;
}

static int feed(struct compare *compare, struct np_chain *chain, struct np_error *err)
{
    struct np_chain_step step;
    for (int more; (more = np_chain_next(chain, &step, err)) != 0;) {
        struct item *item = more < 0 ? NULL : np_queue_take(&compare->free);
        if (more < 0)
            return -1;
        if (item == NULL || !matters(compare, step.offset))
            return 0;
        fill_item(item, &step);
        np_queue_put(&compare->todo, item);
        if (compare->options->progress != NULL)
            compare->options->progress(compare->options->ctx, step.offset + step.length);
    }
    return 0;
}

/* Beyond the disk's end, where a format counts in sectors. */
static int check_size(struct compare *compare, struct np_error *err)
{
    uint64_t size = compare->geometry.size, has = compare->source->size;
    if (has == size || has == np_align_up(size, SECTOR))
        return 0;
    np_fail(err, NP_DAMAGED, "%s: it has %ju bytes, and disk %s has %ju at that point",
            compare->options->image, (uintmax_t)has, compare->options->target, (uintmax_t)size);
    return np_error_where(err, compare->options->target, np_min_u64(has, size));
}

static int check_tail(struct compare *compare, struct np_error *err)
{
    uint64_t size = compare->geometry.size, tail = compare->source->size - size;
    uint8_t bytes[SECTOR] = {0};
    void *reader;
    if (tail == 0)
        return 0;
    if (compare->source->ops->reader_open(compare->source->ctx, &reader, err) < 0)
        return -1;
    int read = read_image(compare, reader, bytes, size, tail, err);
    compare->source->ops->reader_close(reader);
    if (read == 0 && !np_is_zero(bytes, tail))
        differs(compare, size, size + tail);
    return read;
}

static int start(struct compare *compare, struct np_error *err)
{
    unsigned workers = compare->options->workers;
    size_t count = (size_t)ITEMS_PER_WORKER * workers;
    if (np_queue_init(&compare->free, count, err) < 0 || np_queue_init(&compare->todo, count, err) < 0)
        return -1;
    compare->items = calloc(count, sizeof(*compare->items));
    if (compare->items == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot make %zu items", count);
    for (size_t i = 0; i < count; i++)
        np_queue_put(&compare->free, &compare->items[i]);
    np_cancel_add(compare->options->cancel, &compare->cancel_entry, on_cancel, compare);
    for (; compare->thread_count < workers; compare->thread_count++) {
        int failed = pthread_create(&compare->threads[compare->thread_count], NULL, worker_thread, compare);
        if (failed != 0) {
            struct np_error mine = NP_ERROR_INIT;
            np_fail_errno(&mine, NP_FAILED, failed, "cannot start thread %u of %u", compare->thread_count + 1,
                          workers);
            fail(compare, &mine);
            return 0; /* finish has the error */
        }
    }
    return 0;
}

static int finish(struct compare *compare, struct np_error *err)
{
    np_queue_close(&compare->todo);
    for (unsigned i = 0; i < compare->thread_count; i++)
        pthread_join(compare->threads[i], NULL);
    np_cancel_remove(compare->options->cancel, &compare->cancel_entry);
    if (!compare->failed)
        return 0;
    *err = compare->error;
    return -1;
}

static void compare_clear(struct compare *compare)
{
    free(compare->items);
    np_queue_clear(&compare->todo);
    np_queue_clear(&compare->free);
    pthread_mutex_destroy(&compare->lock);
}

int np_verify_image(const struct np_verify_image_options *options, struct np_chain *chain,
                    const struct np_source *source, struct np_error *err)
{
    NP_CLEANUP(compare_clear)
    struct compare compare = {.options = options,
                              .source = source,
                              .geometry = *np_chain_geometry(chain),
                              .lock = PTHREAD_MUTEX_INITIALIZER,
                              .error = NP_ERROR_INIT,
                              .differs_at = NP_NO_OFFSET};
    struct np_error mine = NP_ERROR_INIT;
    if (check_size(&compare, err) < 0 || start(&compare, err) < 0)
        return -1;
    if (feed(&compare, chain, &mine) < 0)
        fail(&compare, &mine);
    if (finish(&compare, err) < 0 || check_tail(&compare, err) < 0)
        return -1;
    if (compare.differs_at == NP_NO_OFFSET)
        return 0;
    np_fail(err, NP_DAMAGED, "%s: it is not disk %s of that point: guest bytes %ju to %ju differ first",
            options->image, options->target, (uintmax_t)compare.differs_at,
            (uintmax_t)(compare.differs_to - 1));
    return np_error_range(err, options->target, compare.differs_at, compare.differs_to - compare.differs_at);
}
