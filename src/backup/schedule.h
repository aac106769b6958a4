/**
 * @file schedule.h
 * From extents to windows: cuts what block status says along the grid, in guest order, in memory that does
 * not depend on the number of extents.
 */
#ifndef NP_SCHEDULE_H
#define NP_SCHEDULE_H

#include "parent.h"

#define NP_SCHEDULE_EXTENTS 1024

/** One step: a window with something to do, or a run of whole windows that are zero. What is out of scope is
 * left out. */
struct np_step {
    enum {
        NP_STEP_WINDOW, /**< map says which granules to read (data), are zero, or are absent */
        NP_STEP_ZERO,   /**< whole windows that read as zeroes, and in the base held no data */
    } kind;
    uint64_t offset; /**< begins a window */
    uint64_t length; /**< ends a window or the disk */
    uint8_t map[NP_MAP_BYTES_MAX];
    struct np_parent_window base; /**< WINDOW: what the base held; all absent without one */
};

struct np_schedule {
    const struct np_source *source;
    void *reader; /**< borrowed */
    const struct np_geometry *geometry;
    enum np_scope scope;
    uint64_t position; /**< where the next step begins, a window */
    bool based;
    struct np_parent parent; /**< when based */
    uint64_t cover_from;     /**< from here on everything is stored: the disk has grown */
    struct np_extent extents[NP_SCHEDULE_EXTENTS];
    size_t count, next; /**< extents[next..count) lie at or after position */
};

/**
 * @param reader of the source; borrowed, as are the others
 * @param base   NULL: none; then NP_SCOPE_DIRTY is what is dirty alone
 */
void np_schedule_init(struct np_schedule *schedule, const struct np_source *source, void *reader,
                      const struct np_geometry *geometry, enum np_scope scope, const struct np_base *base);

/**
 * The next step in guest order.
 * @param step out; its base.hashes, when there is a base, has room for the granules of a window
 * @return 1, 0 at the disk's end, -1 error
 */
int np_schedule_next(struct np_schedule *schedule, struct np_step *step, struct np_error *err);

/** What block status says from offset on, for as far as one answer says the same. For the trust check. */
int np_schedule_extent(struct np_schedule *schedule, uint64_t offset, struct np_extent *extent,
                       struct np_error *err);

#endif
