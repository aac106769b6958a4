#include "parent.h"

#include "nbdpull/bytes.h"

void np_parent_init(struct np_parent *parent, const struct np_base *base, const struct np_geometry *geometry)
{
    parent->base = base;
    parent->geometry = *geometry;
    parent->geometry.size = base->size;
    parent->more = 1;
    parent->begun = false;
}

static int next_step(struct np_parent *parent, struct np_error *err)
{
    parent->begun = true;
    parent->more = np_chain_next(parent->base->chain, &parent->step, err);
    return parent->more < 0 ? -1 : 0;
}

/* Leave behind all steps that end at or before offset. A DATA step ends with its window. */
static int catch_up(struct np_parent *parent, uint64_t offset, struct np_error *err)
{
    if (!parent->begun && next_step(parent, err) < 0)
        return -1;
    while (parent->more > 0 && parent->step.offset + parent->step.length <= offset)
        if (next_step(parent, err) < 0)
            return -1;
    return 0;
}

int np_parent_zero_run(struct np_parent *parent, uint64_t offset, uint64_t *run, struct np_error *err)
{
    *run = 0;
    if (catch_up(parent, offset, err) < 0)
        return -1;
    const struct np_chain_step *step = &parent->step;
    if (parent->more == 0 || step->kind != NP_CHAIN_ZERO || step->offset > offset)
        return 0;
    uint64_t end = step->offset + step->length;
    if (end == parent->base->size && end % parent->geometry.chunk != 0)
        end =
            np_align_down(end, parent->geometry.granule); /* the granule with the old end is no plain zero */
    end = np_align_down(end, parent->geometry.chunk);
    *run = end > offset ? end - offset : 0;
    return 0;
}

static void mark_zero(const struct np_parent *parent, uint64_t window, uint64_t window_end,
                      struct np_parent_window *to)
{
    const struct np_chain_step *step = &parent->step;
    uint64_t from = np_max_u64(step->offset, window),
             end = np_min_u64(step->offset + step->length, window_end);
    for (; from < end; from += parent->geometry.granule)
        np_map_set(to->map, (unsigned)((from - window) / parent->geometry.granule), NP_GRANULE_ZERO);
}

static void mark_data(const struct np_parent *parent, uint64_t window, struct np_parent_window *to)
{
    unsigned granules = np_window_granules(&parent->geometry, window);
    for (unsigned i = 0; i < granules; i++)
        if (np_map_get(parent->step.take, i) == NP_GRANULE_DATA) {
            np_map_set(to->map, i, NP_GRANULE_DATA);
            to->hashes[i] = np_chain_step_hash(&parent->step, i);
        }
}

int np_parent_window(struct np_parent *parent, uint64_t offset, struct np_parent_window *window,
                     struct np_error *err)
{
    memset(window->map, 0, sizeof(window->map));
    if (offset >= parent->base->size)
        return 0;
    uint64_t end = offset + np_window_length(&parent->geometry, offset);
    if (catch_up(parent, offset, err) < 0)
        return -1;
    while (parent->more > 0 && parent->step.offset < end) {
        if (parent->step.kind == NP_CHAIN_ZERO)
            mark_zero(parent, offset, end, window);
        else
            mark_data(parent, offset, window);
        if (parent->step.offset + parent->step.length > end)
            break; /* zeroes that go on in the next window */
        if (next_step(parent, err) < 0)
            return -1;
    }
    return 0;
}
