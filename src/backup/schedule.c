#include "schedule.h"

#include "nbdpull/bytes.h"

void np_schedule_init(struct np_schedule *schedule, const struct np_source *source, void *reader,
                      const struct np_geometry *geometry, enum np_scope scope, const struct np_base *base)
{
    schedule->source = source;
    schedule->reader = reader;
    schedule->geometry = geometry;
    schedule->scope = scope;
    schedule->position = 0;
    schedule->count = schedule->next = 0;
    schedule->based = base != NULL;
    schedule->cover_from = UINT64_MAX;
    if (base != NULL) {
        np_parent_init(&schedule->parent, base, geometry);
        schedule->cover_from = np_geometry_cover_from(geometry, true, base->size);
    }
}

/* Asks the source when no extent is left. */
int np_schedule_extent(struct np_schedule *schedule, uint64_t offset, struct np_extent *extent,
                       struct np_error *err)
{
    while (schedule->next < schedule->count) {
        const struct np_extent *e = &schedule->extents[schedule->next];
        if (offset < e->offset + e->length) {
            uint64_t skipped = offset - e->offset;
            *extent = (struct np_extent){offset, e->length - skipped, e->flags};
            return 0;
        }
        schedule->next++;
    }

    uint64_t left = schedule->geometry->size - offset;
    size_t count = 0;
    if (schedule->source->ops->extents(schedule->reader, offset, left, schedule->extents, NP_SCHEDULE_EXTENTS,
                                       &count, err) < 0)
        return -1;
    if (count == 0 || count > NP_SCHEDULE_EXTENTS || schedule->extents[0].offset != offset ||
        schedule->extents[0].length == 0 || schedule->extents[0].length > left) {
        np_fail(err, NP_FAILED, "block status at byte %ju made no progress", (uintmax_t)offset);
        return np_error_where(err, NULL, offset);
    }
    schedule->count = count;
    schedule->next = 0;
    *extent = schedule->extents[0];
    return 0;
}

/* As many whole windows as the extent holds (or all up to the disk's end): 0 when it holds none. */
static uint64_t whole_windows(const struct np_geometry *geometry, const struct np_extent *extent)
{
    uint64_t end = extent->offset + extent->length;
    if (end != geometry->size)
        end = np_align_down(end, geometry->chunk);
    return end > extent->offset ? end - extent->offset : 0;
}

/* What the pieces of one granule add up to. */
struct granule_facts {
    bool dirty, data;
};

/*
 * The rule. A granule is stored whole: it is in scope when any byte of it is dirty, and then it is read when
 * any byte of it is data, dirty or not.
 * @param base    what the base held; absent: unknown, or there was no such granule
 * @param covered it must be stored, because the disk grew there
 */
static enum np_granule_state verdict(enum np_scope scope, struct granule_facts facts,
                                     enum np_granule_state base, bool covered)
{
    enum np_granule_state now = facts.data ? NP_GRANULE_DATA : NP_GRANULE_ZERO;
    bool differs = now == NP_GRANULE_ZERO && base == NP_GRANULE_DATA;
    switch (scope) {
    case NP_SCOPE_ALL:
        return now;
    case NP_SCOPE_DIRTY:
        return facts.dirty || covered || differs ? now : NP_GRANULE_ABSENT;
    case NP_SCOPE_SCAN: /* data is read; the packer compares it */
        return facts.data || covered || differs ? now : NP_GRANULE_ABSENT;
    }
    return now;
}

static struct granule_facts facts_of(uint32_t flags)
{
    return (struct granule_facts){.dirty = (flags & NP_EXTENT_DIRTY) != 0, .data = !(flags & NP_EXTENT_ZERO)};
}

/*
 * A run of whole windows from position on that all have one verdict, without a look at each. Zeroes may
 * differ from the base, so there a run goes only as far as the base is zero too.
 */
static int find_run(struct np_schedule *schedule, const struct np_extent *extent, uint64_t *run,
                    enum np_granule_state *state, struct np_error *err)
{
    uint64_t at = schedule->position, base_zero;
    bool covered = at >= schedule->cover_from;
    *run = whole_windows(schedule->geometry, extent);
    *state = verdict(schedule->scope, facts_of(extent->flags), NP_GRANULE_ABSENT, covered);
    if (!covered && *run > 0 && schedule->cover_from < at + *run)
        *run = np_align_down(schedule->cover_from, schedule->geometry->chunk) - at;
    if (*run == 0 || *state == NP_GRANULE_DATA || !schedule->based || at >= schedule->parent.base->size)
        return 0;
    if (!(extent->flags & NP_EXTENT_ZERO)) /* clean data: not looked at, whatever the base held */
        return 0;
    if (np_parent_zero_run(&schedule->parent, at, &base_zero, err) < 0)
        return -1;
    *run = np_min_u64(*run, base_zero);
    return 0;
}

/* Fill the map of the window at step->offset from all extents that touch it. */
static int map_window(struct np_schedule *schedule, struct np_step *step, struct np_error *err)
{
    uint32_t granule = schedule->geometry->granule;
    uint64_t end = step->offset + step->length;
    struct granule_facts facts = {false, false};

    memset(step->map, 0, sizeof(step->map));
    for (uint64_t at = step->offset; at < end;) {
        struct np_extent extent;
        if (np_schedule_extent(schedule, at, &extent, err) < 0)
            return -1;
        uint64_t extent_end = np_min_u64(extent.offset + extent.length, end);
        while (at < extent_end) {
            unsigned index = (unsigned)((at - step->offset) / granule);
            uint64_t start = step->offset + (uint64_t)index * granule;
            uint64_t granule_end = np_min_u64(start + granule, end);
            facts.dirty |= facts_of(extent.flags).dirty;
            facts.data |= facts_of(extent.flags).data;
            at = np_min_u64(extent_end, granule_end);
            if (at == granule_end) {
                np_map_set(step->map, index,
                           verdict(schedule->scope, facts, np_map_get(step->base.map, index),
                                   start >= schedule->cover_from));
                facts = (struct granule_facts){false, false};
            }
        }
    }
    return 0;
}

static bool all_are(const struct np_schedule *schedule, const struct np_step *step, const uint8_t *map,
                    enum np_granule_state state)
{
    unsigned granules = np_window_granules(schedule->geometry, step->offset);
    for (unsigned i = 0; i < granules; i++)
        if (np_map_get(map, i) != state)
            return false;
    return true;
}

static bool base_has_data(const struct np_schedule *schedule, const struct np_step *step)
{
    unsigned granules = np_window_granules(schedule->geometry, step->offset);
    for (unsigned i = 0; i < granules; i++)
        if (np_map_get(step->base.map, i) == NP_GRANULE_DATA)
            return true;
    return false;
}

/* @return 1 a step, 0 nothing to store there, -1 error; the position goes on */
static int take_step(struct np_schedule *schedule, struct np_step *step, struct np_error *err)
{
    struct np_extent extent;
    enum np_granule_state state;
    step->offset = schedule->position;
    if (np_schedule_extent(schedule, schedule->position, &extent, err) < 0 ||
        find_run(schedule, &extent, &step->length, &state, err) < 0)
        return -1;
    if (step->length > 0 && state != NP_GRANULE_DATA) {
        step->kind = NP_STEP_ZERO;
        schedule->position += step->length;
        return state == NP_GRANULE_ZERO;
    }

    step->kind = NP_STEP_WINDOW;
    step->length = np_window_length(schedule->geometry, step->offset);
    schedule->position += step->length;
    memset(step->base.map, 0, sizeof(step->base.map));
    if (schedule->based && np_parent_window(&schedule->parent, step->offset, &step->base, err) < 0)
        return -1;
    if (map_window(schedule, step, err) < 0)
        return -1;
    if (all_are(schedule, step, step->map, NP_GRANULE_ZERO) && !base_has_data(schedule, step))
        step->kind = NP_STEP_ZERO;
    return !all_are(schedule, step, step->map, NP_GRANULE_ABSENT);
}

int np_schedule_next(struct np_schedule *schedule, struct np_step *step, struct np_error *err)
{
    while (schedule->position < schedule->geometry->size) {
        int taken = take_step(schedule, step, err);
        if (taken != 0)
            return taken;
    }
    return 0;
}
