#include "nbdpull/chain.h"

#include "chain_link.h"
#include "chain_parts.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

/* A layer farther behind than this many windows (what a leaf of the index describes at most) seeks. */
#define SEEK_WINDOWS 1024

/* ---- opening ---- */

int np_chain_open_layer(struct np_chain *chain, struct np_stream *stream, uint16_t disk_id, bool hashes,
                        struct np_error *err)
{
    struct np_chain_layer *layer = &chain->layers[chain->count++];
    *layer = (struct np_chain_layer){.stream = stream,
                                     .disk = np_meta_disk_by_id(np_stream_meta(stream), disk_id)};
    if (layer->disk == NULL) {
        np_fail(err, NP_DAMAGED, "%s has no disk %u", np_stream_name(stream), disk_id);
        return np_error_where(err, chain->target, NP_NO_OFFSET);
    }
    if (chain->count > 1 && layer[-1].stream != NULL &&
        np_chain_link_check(layer[-1].stream, layer[-1].disk, stream, layer->disk, err) < 0)
        return np_error_where(err, chain->target, NP_NO_OFFSET);
    layer->geometry = layer->disk->geometry;
    if (np_cursor_open(stream, disk_id, hashes, &layer->cursor, err) < 0)
        return np_error_where(err, chain->target, NP_NO_OFFSET);
    return 0;
}

void np_chain_set_reaches(struct np_chain *chain)
{
    chain->geometry = chain->layers[0].geometry;
    uint64_t smallest = chain->geometry.size;
    bool same = true;
    for (size_t i = 0; i < chain->count; i++) {
        uint64_t size = chain->layers[i].geometry.size;
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

struct np_chain *np_chain_new(size_t count, const char *target, struct np_error *err)
{
    assert(count > 0);
    NP_CLEANUP(close_chain) struct np_chain *chain = calloc(1, sizeof(*chain));
    if (chain != NULL)
        chain->layers = calloc(count, sizeof(*chain->layers));
    if (chain != NULL && chain->layers != NULL) {
        snprintf(chain->target, sizeof(chain->target), "%s", target);
        return NP_STEAL(chain);
    }
    np_fail_errno(err, NP_FAILED, ENOMEM, "%s: cannot read a chain of %zu streams", target, count);
    return NULL;
}

int np_chain_open(struct np_stream *const *streams, const uint16_t *disk_ids, size_t count,
                  const char *target, bool hashes, struct np_chain **out, struct np_error *err)
{
    NP_CLEANUP(close_chain) struct np_chain *chain = np_chain_new(count, target, err);
    if (chain == NULL)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (np_chain_open_layer(chain, streams[i], disk_ids[i], hashes, err) < 0)
            return -1;
    }
    const struct np_chain_layer *root = &chain->layers[count - 1];
    if (np_chain_link_check_root(root->stream, root->disk, err) < 0)
        return np_error_where(err, chain->target, NP_NO_OFFSET);
    np_chain_set_reaches(chain);
    *out = NP_STEAL(chain);
    return 0;
}

void np_chain_close(struct np_chain *chain)
{
    if (chain == NULL)
        return;
    for (size_t i = 0; i < chain->count; i++)
        np_cursor_close(chain->layers[i].cursor);
    free(chain->lost);
    free(chain->layers);
    free(chain);
}

const struct np_geometry *np_chain_geometry(const struct np_chain *chain)
{
    return &chain->geometry;
}

/* ---- layers ---- */

/* Take the layer's next entry. */
static int step_layer(const struct np_chain *chain, struct np_chain_layer *layer, struct np_error *err)
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
                                     : np_window_length(&layer->geometry, layer->start));
    /* The cursor has checked the order. Should it ever not, this must not end in a silent mixture. */
    if (layer->start >= before)
        return 0;
    np_fail(err, NP_DAMAGED, "%s: the index is not in guest order", np_stream_name(layer->stream));
    return np_error_where(err, chain->target, layer->start);
}

/* Leave all entries that end at or before a guest offset. */
static int bring_layer_to(const struct np_chain *chain, struct np_chain_layer *layer, uint64_t offset,
                          struct np_error *err)
{
    const uint64_t far = (uint64_t)SEEK_WINDOWS * chain->geometry.chunk;
    while (layer->end <= offset) {
        if (offset - layer->end > far && np_cursor_seek(layer->cursor, offset, err) < 0)
            return np_error_where(err, chain->target, offset);
        if (step_layer(chain, layer, err) < 0)
            return -1;
    }
    while (layer->loss.length > 0 && layer->loss.offset + layer->loss.length <= offset)
        if (np_chain_next_loss(layer, err) < 0)
            return -1;
    return 0;
}

static bool covers(const struct np_chain_layer *layer, uint64_t offset)
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
    if (chain->lost != NULL)
        memset(chain->lost, 0, window->granules * sizeof(*chain->lost));
    chain->at = window->end;
    chain->phase = RECORDS;
}

unsigned np_chain_visible_granules(const struct np_chain *chain, const struct np_chain_layer *layer)
{
    const struct window *window = &chain->window;
    if (layer->reach >= window->end)
        return window->granules;
    if (layer->reach <= window->offset)
        return 0;
    return (unsigned)((layer->reach - window->offset) / chain->geometry.granule);
}

void np_chain_decide(struct np_chain *chain, const struct np_chain_layer *layer, unsigned i, bool zero)
{
    struct window *window = &chain->window;
    window->decided[i] = true;
    window->zero[i] = zero;
    window->undecided--;
    if (chain->lost != NULL && chain->lost[i].is)
        chain->lost[i].instead = layer != NULL ? (size_t)(layer - chain->layers) : chain->count;
}

static void decide_rest_zero(struct np_chain *chain, const struct np_chain_layer *layer)
{
    unsigned visible = np_chain_visible_granules(chain, layer);
    for (unsigned i = 0; i < visible; i++)
        if (!chain->window.decided[i])
            np_chain_decide(chain, layer, i, true);
}

/* Let a DATA entry decide what is open. Afterwards step->taken and step->take are right. */
static void decide_by_map(struct np_chain *chain, const struct np_chain_layer *layer,
                          struct np_chain_step *step)
{
    struct window *window = &chain->window;
    unsigned visible = np_chain_visible_granules(chain, layer);
    step->taken = 0;
    memset(step->take, 0, np_map_bytes(&chain->geometry));
    for (unsigned i = 0; i < visible; i++) {
        enum np_granule_state state = np_map_get(layer->entry.map, i);
        if (window->decided[i] || (state != NP_GRANULE_DATA && state != NP_GRANULE_ZERO))
            continue;
        np_chain_decide(chain, layer, i, state == NP_GRANULE_ZERO);
        if (state == NP_GRANULE_DATA) {
            np_map_set(step->take, i, NP_GRANULE_DATA);
            step->taken++;
        }
    }
}

static void give_data(struct np_chain *chain, struct np_chain_layer *layer, struct np_chain_step *step)
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
        struct np_chain_layer *layer = &chain->layers[window->layer];
        if (!covers(layer, window->offset) || layer->entry.type == NP_RECORD_ZERO) {
            if (covers(layer, window->offset))
                decide_rest_zero(chain, layer);
            if (np_chain_decide_by_losses(chain, layer, err) < 0)
                return -1;
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
    if (window->undecided > 0 && chain->lost == NULL)
        return fail_never_stored(chain, err);
    if (window->undecided > 0)
        np_chain_lose_rest(chain);
    return 0;
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
 * In a damaged chain it is zero too where whole windows are lost and nobody has another version.
 * @param lost out: what is lost there; untouched if nothing is
 * @return `at` when it is not so
 */
static uint64_t zero_end(const struct np_chain *chain, struct np_chain_lost *lost)
{
    uint64_t end = chain->geometry.size;
    for (size_t i = 0; i < chain->count; i++) {
        const struct np_chain_layer *layer = &chain->layers[i];
        if (layer->reach <= chain->at)
            continue; /* it may say much of what is here, and none of it is of use */
        if (covers(layer, chain->at)) {
            if (layer->entry.type != NP_RECORD_ZERO)
                return chain->at;
            end = np_min_u64(end, np_min_u64(layer->end, layer->reach));
            if (end < chain->geometry.size)
                end = np_align_down(end, chain->geometry.chunk);
            lost->instead = i;
            return np_max_u64(end, chain->at);
        }
        end = np_min_u64(end, layer->start);
        if (layer->loss.length == 0)
            continue;
        if (layer->loss.offset > chain->at) {
            end = np_min_u64(end, np_align_down(layer->loss.offset, chain->geometry.chunk));
            continue;
        }
        end = np_chain_loss_end(chain, layer, end);
        if (layer->loss.kind != NP_LOSS_ZERO && !lost->is)
            *lost = (struct np_chain_lost){true, layer->loss, i, chain->count};
        if (layer->loss.kind == NP_LOSS_ZERO)
            lost->instead = i;
        if (layer->loss.kind == NP_LOSS_ZERO || !chain->older)
            return np_max_u64(end, chain->at);
    }
    if (chain->lost == NULL)
        return chain->at;
    if (!lost->is)
        *lost = (struct np_chain_lost){
            true, {.kind = NP_LOSS_CERTAIN, .pos = NP_NO_OFFSET}, chain->count, chain->count};
    return np_max_u64(end, chain->at);
}

/* @return 1 a step; 0 none yet, the phase or the place has changed; -1 */
static int next_between(struct np_chain *chain, struct np_chain_step *step, struct np_error *err)
{
    for (size_t i = 0; i < chain->count; i++) {
        if (bring_layer_to(chain, &chain->layers[i], chain->at, err) < 0)
            return -1;
    }
    struct np_chain_lost lost = {0};
    uint64_t start = chain->at, end = zero_end(chain, &lost);
    if (end > start) {
        if (chain->run_start == chain->run_end)
            chain->run_start = start;
        chain->run_end = chain->at = end;
        return lost.is ? np_chain_give_lost(step, &lost, start, end) : 0;
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
        if (chain->layers[i].stream != NULL && np_cursor_finish(chain->layers[i].cursor, err) < 0)
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
                chain->phase = chain->lost != NULL ? LOSSES : ZEROES;
            break;
        case LOSSES:
            got = np_chain_next_lost(chain, step);
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
    assert(chain->lost == NULL); /* losses are only read forwards */
    for (size_t i = 0; i < chain->count; i++) {
        struct np_chain_layer *layer = &chain->layers[i];
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
