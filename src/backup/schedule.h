/**
 * @file schedule.h
 * From extents to windows: cuts what block status says along the grid, in guest order, in memory that does
 * not depend on the number of extents.
 */
#ifndef NP_SCHEDULE_H
#define NP_SCHEDULE_H

#include "nbdpull/backup.h"

#define NP_SCHEDULE_EXTENTS 1024

/** One step: a window with something to read, or a run of whole windows that are zero or of no concern. */
struct np_step {
    enum {
        NP_STEP_WINDOW, /**< map says which granules to read (data), are zero, or are absent */
        NP_STEP_ZERO,   /**< whole windows that read as zeroes */
        NP_STEP_SKIP,   /**< whole windows out of scope */
    } kind;
    uint64_t offset; /**< begins a window */
    uint64_t length; /**< ends a window or the disk */
    uint8_t map[NP_MAP_BYTES_MAX];
};

struct np_schedule {
    const struct np_source *source;
    void *reader; /**< borrowed */
    const struct np_geometry *geometry;
    enum np_scope scope;
    uint64_t position; /**< where the next step begins, a window */
    struct np_extent extents[NP_SCHEDULE_EXTENTS];
    size_t count, next; /**< extents[next..count) lie at or after position */
};

/** @param reader of the source; borrowed, as are the others */
void np_schedule_init(struct np_schedule *schedule, const struct np_source *source, void *reader,
                      const struct np_geometry *geometry, enum np_scope scope);

/** The next step in guest order, without gaps. @return 1, 0 at the disk's end, -1 error */
int np_schedule_next(struct np_schedule *schedule, struct np_step *step, struct np_error *err);

#endif
