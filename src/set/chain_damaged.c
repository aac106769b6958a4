/* A chain of which parts are lost: what its layers' losses decide, where their records do not. */
#include "chain_parts.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"

#include <assert.h>
#include <errno.h>

static void close_chain(struct np_chain **chain)
{
    np_chain_close(*chain);
}

int np_chain_next_loss(struct np_chain_layer *layer, struct np_error *err)
{
    int got = np_losses_next(layer->losses, &layer->loss, err);
    if (got == 0)
        layer->loss = (struct np_loss){0};
    return got < 0 ? -1 : 0;
}

/* ---- opening ---- */

/* The grid of a layer that is gone is that of the others. */
static int set_grids(struct np_chain *chain, struct np_error *err)
{
    const struct np_chain_layer *known = NULL;
    for (size_t i = 0; i < chain->count && known == NULL; i++)
        known = chain->layers[i].stream != NULL ? &chain->layers[i] : NULL;
    assert(known != NULL);
    for (size_t i = 0; i < chain->count; i++) {
        struct np_chain_layer *layer = &chain->layers[i];
        if (layer->stream == NULL) {
            layer->geometry.chunk = known->geometry.chunk;
            layer->geometry.granule = known->geometry.granule;
            layer->start = layer->end = UINT64_MAX;
        } else if (layer->geometry.chunk != known->geometry.chunk ||
                   layer->geometry.granule != known->geometry.granule) {
            np_fail(err, NP_DAMAGED, "%s does not belong to %s: chunk and granule sizes differ",
                    np_stream_name(known->stream), np_stream_name(layer->stream));
            return np_error_where(err, chain->target, NP_NO_OFFSET);
        }
    }
    return 0;
}

int np_chain_open_damaged(const struct np_chain_part *parts, size_t count, const char *target, bool older,
                          struct np_chain **out, struct np_error *err)
{
    NP_CLEANUP(close_chain) struct np_chain *chain = np_chain_new(count, target, err);
    if (chain == NULL)
        return -1;
    chain->older = older;
    chain->lost = calloc(NP_GRANULES_MAX, sizeof(*chain->lost));
    if (chain->lost == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s", target);
    for (size_t i = 0; i < count; i++) {
        struct np_chain_layer *layer = &chain->layers[i];
        if (parts[i].stream == NULL)
            chain->layers[chain->count++].geometry.size = parts[i].size;
        else if (np_chain_open_layer(chain, parts[i].stream, parts[i].disk_id, false, err) < 0)
            return -1;
        layer->losses = parts[i].losses;
        if (np_chain_next_loss(layer, err) < 0)
            return -1;
    }
    if (set_grids(chain, err) < 0)
        return -1;
    np_chain_set_reaches(chain);
    *out = NP_STEAL(chain);
    return 0;
}

/* ---- in a window ---- */

static void lose(struct np_chain *chain, const struct np_loss *loss, size_t layer, unsigned i)
{
    if (!chain->lost[i].is)
        chain->lost[i] = (struct np_chain_lost){true, *loss, layer, chain->count};
    if (!chain->older || layer == chain->count)
        np_chain_decide(chain, NULL, i, true);
}

/* A layer's records are asked: let its losses decide what is open in [loss.offset, its end). */
static void decide_by_loss(struct np_chain *chain, const struct np_chain_layer *layer)
{
    const struct window *window = &chain->window;
    const struct np_loss *loss = &layer->loss;
    unsigned visible = np_chain_visible_granules(chain, layer);
    for (unsigned i = 0; i < visible; i++) {
        uint64_t offset = window->offset + (uint64_t)i * chain->geometry.granule;
        if (window->decided[i] || offset < loss->offset || offset >= loss->offset + loss->length)
            continue;
        if (loss->kind == NP_LOSS_ZERO)
            np_chain_decide(chain, layer, i, true);
        else
            lose(chain, loss, (size_t)(layer - chain->layers), i);
    }
}

int np_chain_decide_by_losses(struct np_chain *chain, struct np_chain_layer *layer, struct np_error *err)
{
    const struct window *window = &chain->window;
    while (layer->loss.length > 0 && layer->loss.offset < window->end) {
        decide_by_loss(chain, layer);
        if (layer->loss.offset + layer->loss.length > window->end)
            break; /* the next window's too */
        if (np_chain_next_loss(layer, err) < 0)
            return -1;
    }
    return 0;
}

/* Nobody has the rest. */
void np_chain_lose_rest(struct np_chain *chain)
{
    const struct np_loss loss = {.kind = NP_LOSS_CERTAIN, .pos = NP_NO_OFFSET};
    for (unsigned i = 0; i < chain->window.granules; i++)
        if (!chain->window.decided[i])
            lose(chain, &loss, chain->count, i);
}

static bool same_loss(const struct np_chain_lost *a, const struct np_chain_lost *b)
{
    return a->is == b->is && a->layer == b->layer && a->instead == b->instead &&
           a->loss.kind == b->loss.kind && a->loss.pos == b->loss.pos;
}

int np_chain_give_lost(struct np_chain_step *step, const struct np_chain_lost *lost, uint64_t start,
                       uint64_t end)
{
    step->kind = NP_CHAIN_LOST;
    step->offset = start;
    step->length = end - start;
    step->loss = lost->loss;
    step->lost_in = lost->layer;
    step->instead = lost->instead;
    return 1;
}

/* The next run of granules that lost the same. @return 1, 0 no more */
int np_chain_next_lost(struct np_chain *chain, struct np_chain_step *step)
{
    struct window *window = &chain->window;
    unsigned from = window->told;
    while (from < window->granules && !chain->lost[from].is)
        from++;
    unsigned to = from;
    while (to < window->granules && same_loss(&chain->lost[to], &chain->lost[from]))
        to++;
    window->told = from < to ? to : 0; /* 0: for the zeroes */
    if (from == to)
        return 0;
    uint64_t start = window->offset + (uint64_t)from * chain->geometry.granule;
    uint64_t end = window->offset + (uint64_t)to * chain->geometry.granule;
    return np_chain_give_lost(step, &chain->lost[from], start, np_min_u64(end, window->end));
}

/* ---- whole windows ---- */

/* How far a layer's loss, of whole windows, decides from `at` on. @param end of what is decided otherwise */
uint64_t np_chain_loss_end(const struct np_chain *chain, const struct np_chain_layer *layer, uint64_t end)
{
    end = np_min_u64(end, np_min_u64(layer->loss.offset + layer->loss.length, layer->reach));
    return end < chain->geometry.size ? np_align_down(end, chain->geometry.chunk) : end;
}
