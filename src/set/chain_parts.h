/**
 * @file chain_parts.h
 * What is inside an np_chain; for chain.c, and for chain_damaged.c: chains of which parts are lost.
 */
#ifndef NBDPULL_SET_CHAIN_PARTS_H
#define NBDPULL_SET_CHAIN_PARTS_H

#include "nbdpull/chain.h"

/* One stream of the chain. */
struct np_chain_layer {
    struct np_stream *stream; /* borrowed; NULL: of a damaged chain, and nothing is left of it */
    const struct np_meta_disk *disk;
    struct np_geometry geometry;
    struct np_cursor *cursor;

    /* Granules that end here or before have the same length in this stream, in all newer ones, and now.
     * Others of its granules are of no use to the point: they were cut off since, or their end was. */
    uint64_t reach;

    /* The entry that the merge has reached, and its guest range, for DATA the window's. Both ends are 0
     * before the first entry and UINT64_MAX after the last. */
    struct np_entry entry;
    uint64_t start, end;

    /* Of a damaged chain: the loss that the merge has reached; of no length after the last. */
    struct np_losses *losses; /* borrowed */
    struct np_loss loss;
};

/* What a granule of the window lost, and who serves instead of it. */
struct np_chain_lost {
    bool is;
    struct np_loss loss;
    size_t layer, instead;
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
    LOSSES,  /* in a window of a damaged chain: all is decided, what is lost is to be told */
    ZEROES,  /* in a window: all is decided, its zeroes are to be told */
};

struct np_chain {
    char target[NP_TARGET_MAX];
    struct np_geometry geometry;   /* of the newest stream */
    struct np_chain_layer *layers; /* newest first */
    size_t count;
    enum phase phase;
    uint64_t at;                 /* BETWEEN: what lies before is told, but for the run */
    uint64_t run_start, run_end; /* zeroes up to `at` not told yet, because more may follow; equal: none */
    struct np_chain_layer *used; /* its entry went out with the last step, and must be left now; or NULL */
    struct window window;
    struct np_chain_lost *lost; /* of a damaged chain: one for each granule of the window; else NULL */
    bool older;                 /* what is lost is taken from older layers, not as zeroes */
};

/* ---- chain.c ---- */

/** A chain without layers yet; NULL: no memory. */
struct np_chain *np_chain_new(size_t count, const char *target, struct np_error *err);

/** The next older layer. */
int np_chain_open_layer(struct np_chain *chain, struct np_stream *stream, uint16_t disk_id, bool hashes,
                        struct np_error *err);

/** When all layers are there. */
void np_chain_set_reaches(struct np_chain *chain);

/** How many granules, from the window's first, a layer may decide. */
unsigned np_chain_visible_granules(const struct np_chain *chain, const struct np_chain_layer *layer);

/**
 * Granule i of the window is decided.
 * @param layer that has it; if the granule is lost in a newer one, it serves instead. NULL: none has it
 */
void np_chain_decide(struct np_chain *chain, const struct np_chain_layer *layer, unsigned i, bool zero);

/* ---- chain_damaged.c ---- */

/** Take the layer's next loss. */
int np_chain_next_loss(struct np_chain_layer *layer, struct np_error *err);

/** A layer's records are asked: its losses decide what is open of the window. */
int np_chain_decide_by_losses(struct np_chain *chain, struct np_chain_layer *layer, struct np_error *err);

/** All layers are asked: nobody has what is still open. */
void np_chain_lose_rest(struct np_chain *chain);

/** The window's next run of granules that lost the same. @return 1 a step, 0 no more */
int np_chain_next_lost(struct np_chain *chain, struct np_chain_step *step);

/** A LOST step. @return 1 */
int np_chain_give_lost(struct np_chain_step *step, const struct np_chain_lost *lost, uint64_t start,
                       uint64_t end);

/** How far, in whole windows, a layer's loss decides from `at` on. @param end of what is decided otherwise */
uint64_t np_chain_loss_end(const struct np_chain *chain, const struct np_chain_layer *layer, uint64_t end);

#endif
