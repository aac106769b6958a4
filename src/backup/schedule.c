#include "schedule.h"

#include "nbdpull/bytes.h"

void np_schedule_init(struct np_schedule *schedule, const struct np_source *source, void *reader,
                      const struct np_geometry *geometry, enum np_scope scope)
{
    schedule->source = source;
    schedule->reader = reader;
    schedule->geometry = geometry;
    schedule->scope = scope;
    schedule->position = 0;
    schedule->count = schedule->next = 0;
}

/* The extent that holds `offset`; asks the source when none is left. */
static int extent_at(struct np_schedule *schedule, uint64_t offset, struct np_extent *extent,
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

static enum np_granule_state state_of(const struct np_schedule *schedule, uint32_t flags)
{
    if (schedule->scope == NP_SCOPE_DIRTY && !(flags & NP_EXTENT_DIRTY))
        return NP_GRANULE_ABSENT;
    return flags & NP_EXTENT_ZERO ? NP_GRANULE_ZERO : NP_GRANULE_DATA;
}

/* As many whole windows as the extent holds (or all up to the disk's end): 0 when it holds none. */
static uint64_t whole_windows(const struct np_geometry *geometry, const struct np_extent *extent)
{
    uint64_t end = extent->offset + extent->length;
    if (end != geometry->size)
        end = np_align_down(end, geometry->chunk);
    return end > extent->offset ? end - extent->offset : 0;
}

/*
 * What the pieces of one granule add up to. A granule is stored whole: it is in scope when any byte of it is
 * dirty, and then it is read when any byte of it is data, dirty or not. So both facts are kept per granule
 * until its last byte has been seen.
 */
struct granule_facts {
    bool in_scope, data;
};

static void note(struct granule_facts *facts, const struct np_schedule *schedule, uint32_t flags)
{
    facts->in_scope |= schedule->scope == NP_SCOPE_ALL || (flags & NP_EXTENT_DIRTY);
    facts->data |= !(flags & NP_EXTENT_ZERO);
}

static enum np_granule_state verdict(const struct granule_facts *facts)
{
    if (!facts->in_scope)
        return NP_GRANULE_ABSENT;
    return facts->data ? NP_GRANULE_DATA : NP_GRANULE_ZERO;
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
        if (extent_at(schedule, at, &extent, err) < 0)
            return -1;
        uint64_t extent_end = np_min_u64(extent.offset + extent.length, end);
        while (at < extent_end) {
            unsigned index = (unsigned)((at - step->offset) / granule);
            uint64_t granule_end = np_min_u64(step->offset + (uint64_t)(index + 1) * granule, end);
            note(&facts, schedule, extent.flags);
            at = np_min_u64(extent_end, granule_end);
            if (at == granule_end) {
                np_map_set(step->map, index, verdict(&facts));
                facts = (struct granule_facts){false, false};
            }
        }
    }
    return 0;
}

/* A window whose granules all came out alike needs no map. */
static void simplify(const struct np_schedule *schedule, struct np_step *step)
{
    unsigned granules = np_window_granules(schedule->geometry, step->offset);
    enum np_granule_state first = np_map_get(step->map, 0);
    for (unsigned i = 1; i < granules; i++)
        if (np_map_get(step->map, i) != first)
            return;
    if (first == NP_GRANULE_ZERO)
        step->kind = NP_STEP_ZERO;
    else if (first == NP_GRANULE_ABSENT)
        step->kind = NP_STEP_SKIP;
}

int np_schedule_next(struct np_schedule *schedule, struct np_step *step, struct np_error *err)
{
    const struct np_geometry *geometry = schedule->geometry;
    if (schedule->position >= geometry->size)
        return 0;

    struct np_extent extent;
    if (extent_at(schedule, schedule->position, &extent, err) < 0)
        return -1;

    step->offset = schedule->position;
    enum np_granule_state state = state_of(schedule, extent.flags);
    uint64_t whole = state == NP_GRANULE_DATA ? 0 : whole_windows(geometry, &extent);
    if (whole > 0) {
        step->kind = state == NP_GRANULE_ZERO ? NP_STEP_ZERO : NP_STEP_SKIP;
        step->length = whole;
    } else {
        step->kind = NP_STEP_WINDOW;
        step->length = np_window_length(geometry, step->offset);
        if (map_window(schedule, step, err) < 0)
            return -1;
        simplify(schedule, step);
    }
    schedule->position += step->length;
    return 1;
}
