#include "nbdpull/chain.h"

#include "chain_link.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

/* A layer farther behind than this many windows (what a leaf of the index describes at most) seeks. */
#define SEEK_WINDOWS 1024

/* One stream of the chain. */
struct layer {
    struct np_stream *stream; /* borrowed */
    const struct np_meta_disk *disk;
    struct np_cursor *cursor;

    /* Granules that end here or before have the same length in this stream, in all newer ones, and now.
     * Others of its granules are of no use to the point: they were cut off since, or their end was. */
    uint64_t reach;

    /* The entry that the merge has reached, and its guest range, for DATA the window's. Both ends are 0
     * before the first entry and UINT64_MAX after the last. */
    struct np_entry entry;
    uint64_t start, end;
};

/* The window being told: which of its granules are decided, and which of these are zero. */
struct window {
    uint64_t offset, end;
    unsigned granules, undecided;
    size_t layer;  /* the next to be asked */
    unsigned told; /* granules before it are told, once all are decided */
    bool decided[NP_GRANULES_MAX];
    bool zero[NP_GRANULES_MAX];
};

enum phase {
    BETWEEN, /* at the beginning of a window, or at the end of the disk */
    RECORDS, /* in a window: asking one layer after the other */
    ZEROES,  /* in a window: all is decided, its zeroes are to be told */
};

struct np_chain {
    char target[NP_TARGET_MAX];
    struct np_geometry geometry; /* of the newest stream */
    struct layer *layers;        /* newest first */
    size_t count;
    enum phase phase;
    uint64_t at;                 /* BETWEEN: what lies before is told, but for the run */
    uint64_t run_start, run_end; /* zeroes up to `at` not told yet, because more may follow; equal: none */
    struct layer *used;          /* its entry went out with the last step, and must be left now; or NULL */
    struct window window;
};

/* ---- opening ---- */

static int open_layer(struct np_chain *chain, struct np_stream *stream, uint16_t disk_id, bool hashes,
                      struct np_error *err)
{
    struct layer *layer = &chain->layers[chain->count++];
    *layer = (struct layer){.stream = stream, .disk = np_meta_disk_by_id(np_stream_meta(stream), disk_id)};
    if (layer->disk == NULL) {
        np_fail(err, NP_DAMAGED, "%s has no disk %u", np_stream_name(stream), disk_id);
        return np_error_where(err, chain->target, NP_NO_OFFSET);
    }
    if (chain->count > 1 &&
        np_chain_link_check(layer[-1].stream, layer[-1].disk, stream, layer->disk, err) < 0)
        return np_error_where(err, chain->target, NP_NO_OFFSET);
    if (np_cursor_open(stream, disk_id, hashes, &layer->cursor, err) < 0)
        return np_error_where(err, chain->target, NP_NO_OFFSET);
    return 0;
}

static void set_reaches(struct np_chain *chain)
{
    chain->geometry = chain->layers[0].disk->geometry;
    uint64_t smallest = chain->geometry.size;
    bool same = true;
    for (size_t i = 0; i < chain->count; i++) {
        uint64_t size = chain->layers[i].disk->geometry.size;
        same = same && size == chain->geometry.size;
        smallest = np_min_u64(smallest, size);
        /* The short granule at the end agrees only between disks of equal size. */
        chain->layers[i].reach = same ? smallest : np_align_down(smallest, chain->geometry.granule);
    }
}

static void close_chain(struct np_chain **chain)
{
    np_chain_close(*chain);
}

int np_chain_open(struct np_stream *const *streams, const uint16_t *disk_ids, size_t count,
                  const char *target, bool hashes, struct np_chain **out, struct np_error *err)
{
    assert(count > 0);
    NP_CLEANUP(close_chain) struct np_chain *chain = calloc(1, sizeof(*chain));
    if (chain != NULL)
        chain->layers = calloc(count, sizeof(*chain->layers));
    if (chain == NULL || chain->layers == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s: cannot read a chain of %zu streams", target, count);
    snprintf(chain->target, sizeof(chain->target), "%s", target);
    for (size_t i = 0; i < count; i++) {
        if (open_layer(chain, streams[i], disk_ids[i], hashes, err) < 0)
            return -1;
    }
    const struct layer *root = &chain->layers[count - 1];
    if (np_chain_link_check_root(root->stream, root->disk, err) < 0)
        return np_error_where(err, chain->target, NP_NO_OFFSET);
    set_reaches(chain);
    *out = NP_STEAL(chain);
    return 0;
}

void np_chain_close(struct np_chain *chain)
{
    if (chain == NULL)
        return;
    for (size_t i = 0; i < chain->count; i++)
        np_cursor_close(chain->layers[i].cursor);
    free(chain->layers);
    free(chain);
}

const struct np_geometry *np_chain_geometry(const struct np_chain *chain)
{
    return &chain->geometry;
}

/* ---- layers ---- */

/* Take the layer's next entry. */
static int step_layer(const struct np_chain *chain, struct layer *layer, struct np_error *err)
{
    int got = np_cursor_next(layer->cursor, &layer->entry, err);
    if (got < 0)
        return np_error_where(err, chain->target, layer->end);
    if (got == 0) {
        layer->start = layer->end = UINT64_MAX;
        return 0;
    }
    uint64_t before = layer->start;
    layer->start = layer->entry.offset;
    layer->end = layer->start + (layer->entry.type == NP_RECORD_ZERO
                                     ? layer->entry.length
                                     : np_window_length(&layer->disk->geometry, layer->start));
    /* The cursor has checked the order. Should it ever not, this must not end in a silent mixture. */
    if (layer->start >= before)
        return 0;
    np_fail(err, NP_DAMAGED, "%s: the index is not in guest order", np_stream_name(layer->stream));
    return np_error_where(err, chain->target, layer->start);
}

/* Leave all entries that end at or before a guest offset. */
static int bring_layer_to(const struct np_chain *chain, struct layer *layer, uint64_t offset,
                          struct np_error *err)
{
    const uint64_t far = (uint64_t)SEEK_WINDOWS * chain->geometry.chunk;
    while (layer->end <= offset) {
        if (offset - layer->end > far && np_cursor_seek(layer->cursor, offset, err) < 0)
            return np_error_where(err, chain->target, offset);
        if (step_layer(chain, layer, err) < 0)
            return -1;
    }
    return 0;
}

static bool covers(const struct layer *layer, uint64_t offset)
{
    return layer->start <= offset && offset < layer->end;
}

/* ---- in a window ---- */

static void enter_window(struct np_chain *chain)
{
    struct window *window = &chain->window;
    window->offset = chain->at;
    window->end = chain->at + np_window_length(&chain->geometry, chain->at);
    window->granules = np_window_granules(&chain->geometry, chain->at);
    window->undecided = window->granules;
    window->layer = 0;
    window->told = 0;
    memset(window->decided, 0, window->granules * sizeof(*window->decided));
    memset(window->zero, 0, window->granules * sizeof(*window->zero));
    chain->at = window->end;
    chain->phase = RECORDS;
}

/* How many granules, from the window's first, a layer may decide. */
static unsigned visible_granules(const struct np_chain *chain, const struct layer *layer)
{
    const struct window *window = &chain->window;
    if (layer->reach >= window->end)
        return window->granules;
    if (layer->reach <= window->offset)
        return 0;
    return (unsigned)((layer->reach - window->offset) / chain->geometry.granule);
}

static void decide_rest_zero(struct np_chain *chain, const struct layer *layer)
{
    struct window *window = &chain->window;
    unsigned visible = visible_granules(chain, layer);
    for (unsigned i = 0; i < visible; i++) {
        if (window->decided[i])
            continue;
        window->decided[i] = window->zero[i] = true;
        window->undecided--;
    }
}

/* Let a DATA entry decide what is open. Afterwards step->taken and step->take are right. */
static void decide_by_map(struct np_chain *chain, const struct layer *layer, struct np_chain_step *step)
{
    struct window *window = &chain->window;
    unsigned visible = visible_granules(chain, layer);
    step->taken = 0;
    memset(step->take, 0, np_map_bytes(&chain->geometry));
    for (unsigned i = 0; i < visible; i++) {
        enum np_granule_state state = np_map_get(layer->entry.map, i);
        if (window->decided[i] || (state != NP_GRANULE_DATA && state != NP_GRANULE_ZERO))
            continue;
        window->decided[i] = true;
        window->undecided--;
        window->zero[i] = state == NP_GRANULE_ZERO;
        if (state == NP_GRANULE_DATA) {
            np_map_set(step->take, i, NP_GRANULE_DATA);
            step->taken++;
        }
    }
}

static void give_data(struct np_chain *chain, struct layer *layer, struct np_chain_step *step)
{
    step->kind = NP_CHAIN_DATA;
    step->offset = chain->window.offset;
    step->length = chain->window.end - chain->window.offset;
    step->stream = (size_t)(layer - chain->layers);
    step->entry = layer->entry;
    memcpy(step->map, layer->entry.map, np_map_bytes(&chain->geometry));
    step->entry.map = step->map;
    chain->used = layer;
}

static int give_zero(struct np_chain_step *step, uint64_t start, uint64_t end)
{
    step->kind = NP_CHAIN_ZERO;
    step->offset = start;
    step->length = end - start;
    return 1;
}

static int fail_never_stored(const struct np_chain *chain, struct np_error *err)
{
    const struct window *window = &chain->window;
    unsigned i = 0;
    while (window->decided[i])
        i++;
    uint64_t offset = window->offset + (uint64_t)i * chain->geometry.granule;
    np_fail(err, NP_DAMAGED,
            "%s and the %zu streams it builds on: the granule at guest byte %" PRIu64 " was never stored",
            np_stream_name(chain->layers[0].stream), chain->count - 1, offset);
    return np_error_where(err, chain->target, offset);
}

/* Ask the layers, newest first. @return 1 a DATA step; 0 all is decided; -1 */
static int next_record(struct np_chain *chain, struct np_chain_step *step, struct np_error *err)
{
    struct window *window = &chain->window;
    while (window->undecided > 0 && window->layer < chain->count) {
        struct layer *layer = &chain->layers[window->layer];
        if (!covers(layer, window->offset)) {
            window->layer++;
        } else if (layer->entry.type == NP_RECORD_ZERO) {
            decide_rest_zero(chain, layer);
            window->layer++;
        } else {
            decide_by_map(chain, layer, step);
            if (step->taken > 0) {
                give_data(chain, layer, step);
                return 1;
            }
            if (step_layer(chain, layer, err) < 0)
                return -1;
        }
    }
    return window->undecided > 0 ? fail_never_stored(chain, err) : 0;
}

/* @return 1 a ZERO step; 0 the window is done; its zeroes at the end, if any, are in the run */
static int next_zeroes(struct np_chain *chain, struct np_chain_step *step)
{
    struct window *window = &chain->window;
    unsigned from = window->told;
    while (from < window->granules && !window->zero[from])
        from++;
    unsigned to = from;
    while (to < window->granules && window->zero[to])
        to++;
    window->told = to;

    uint64_t start = window->offset + (uint64_t)from * chain->geometry.granule;
    if (to < window->granules)
        return give_zero(step, start, window->offset + (uint64_t)to * chain->geometry.granule);
    if (from < to) {
        chain->run_start = start;
        chain->run_end = window->end;
    }
    return 0;
}

/* ---- between windows ---- */

/*
 * How far the disk is zero from `at` on because the newest layer that describes it there says so with a ZERO
 * record: to the record's end, its reach, or the next entry of a newer layer. Ends with a window or the disk.
 * @return `at` when it is not so
 */
static uint64_t zero_end(const struct np_chain *chain)
{
    uint64_t end = chain->geometry.size;
    for (size_t i = 0; i < chain->count; i++) {
        const struct layer *layer = &chain->layers[i];
        if (!covers(layer, chain->at)) {
            end = np_min_u64(end, layer->start);
            continue;
        }
        if (layer->entry.type != NP_RECORD_ZERO)
            return chain->at;
        end = np_min_u64(end, np_min_u64(layer->end, layer->reach));
        if (end < chain->geometry.size)
            end = np_align_down(end, chain->geometry.chunk);
        return np_max_u64(end, chain->at);
    }
    return chain->at;
}

/* @return 1 a step; 0 none yet, the phase or the place has changed; -1 */
static int next_between(struct np_chain *chain, struct np_chain_step *step, struct np_error *err)
{
    for (size_t i = 0; i < chain->count; i++) {
        if (bring_layer_to(chain, &chain->layers[i], chain->at, err) < 0)
            return -1;
    }
    uint64_t end = zero_end(chain);
    if (end > chain->at) {
        if (chain->run_start == chain->run_end)
            chain->run_start = chain->at;
        chain->run_end = chain->at = end;
        return 0;
    }
    if (chain->run_start < chain->run_end) {
        give_zero(step, chain->run_start, chain->run_end);
        chain->run_start = chain->run_end;
        return 1;
    }
    enter_window(chain);
    return 0;
}

/* The run that reaches the disk's end. After it, what each index lists must be what its stream counts: one
 * that lacks a record would give older bytes. */
static int finish(struct np_chain *chain, struct np_chain_step *step, struct np_error *err)
{
    if (chain->run_start != chain->run_end) {
        give_zero(step, chain->run_start, chain->run_end);
        chain->run_start = chain->run_end;
        return 1;
    }
    for (size_t i = 0; i < chain->count; i++)
        if (np_cursor_finish(chain->layers[i].cursor, err) < 0)
            return np_error_where(err, chain->target, NP_NO_OFFSET);
    return 0;
}

static int next_step(struct np_chain *chain, struct np_chain_step *step, struct np_error *err)
{
    int got = 0;
    while (got == 0) {
        switch (chain->phase) {
        case BETWEEN:
            if (chain->at >= chain->geometry.size)
                return finish(chain, step, err);
            got = next_between(chain, step, err);
            break;
        case RECORDS:
            got = next_record(chain, step, err);
            if (got == 0)
                chain->phase = ZEROES;
            break;
        case ZEROES:
            got = next_zeroes(chain, step);
            if (got == 0)
                chain->phase = BETWEEN;
            break;
        }
    }
    return got;
}

int np_chain_next(struct np_chain *chain, struct np_chain_step *step, struct np_error *err)
{
    if (chain->used != NULL && step_layer(chain, NP_STEAL(chain->used), err) < 0)
        return -1;
    return next_step(chain, step, err);
}

int np_chain_seek(struct np_chain *chain, uint64_t offset, struct np_error *err)
{
    uint64_t size = chain->geometry.size;
    uint64_t at = offset < size ? np_align_down(offset, chain->geometry.chunk) : size;
    for (size_t i = 0; i < chain->count; i++) {
        struct layer *layer = &chain->layers[i];
        if (np_cursor_seek(layer->cursor, at, err) < 0)
            return np_error_where(err, chain->target, at);
        layer->start = 0;
        layer->end = at;
    }
    chain->phase = BETWEEN;
    chain->at = chain->run_start = chain->run_end = at;
    chain->used = NULL;
    return 0;
}

struct np_hash128 np_chain_step_hash(const struct np_chain_step *step, unsigned granule)
{
    unsigned before = 0;
    for (unsigned i = 0; i < granule; i++) {
        enum np_granule_state state = np_map_get(step->map, i);
        before += state == NP_GRANULE_DATA || state == NP_GRANULE_DEAD;
    }
    assert(step->entry.hashes != NULL && before < step->entry.hash_count);
    return np_hash128_get(step->entry.hashes + (size_t)before * NP_HASH128_SIZE);
}
