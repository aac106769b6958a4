/*
 * Which points a fault concerns: every disk of every point is followed through its chain, by the indexes, and
 * what it takes from a record that has a fault is a fault of the point.
 */
#include "targets.h"
#include "verify_parts.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/digest.h"

#include <stdlib.h>
#include <string.h>

/* One disk of one point. */
struct trial {
    const struct np_verify_request *request;
    struct np_origin *origin;
    struct np_ledger *ledger;
    size_t point;
    const struct np_point_disk *disk;
    const struct np_point_disk **path; /* as the chain's streams, newest first */
    size_t count;
};

static void free_path(struct trial *trial)
{
    free(trial->path);
}

static void add_taken(const struct np_geometry *geometry, const struct np_chain_step *step,
                      struct np_hash128 *digest)
{
    unsigned granules = np_window_granules(geometry, step->offset);
    const uint8_t *hash = step->entry.hashes;
    for (unsigned i = 0; i < granules; i++) {
        enum np_granule_state state = np_map_get(step->map, i);
        if (np_map_get(step->take, i) == NP_GRANULE_DATA)
            np_digest_add(digest, step->offset / geometry->granule + i,
                          np_granule_length(geometry, step->offset, i), np_hash128_get(hash));
        if (state == NP_GRANULE_DATA || state == NP_GRANULE_DEAD)
            hash += NP_HASH128_SIZE;
    }
}

static int check_digest(const struct trial *trial, const struct np_origin_disk *opened,
                        struct np_hash128 digest, struct np_error *err)
{
    const struct np_totals *totals = np_stream_totals(opened->streams[0], opened->ids[0]);
    if (!totals->digest_known || np_hash128_equal(totals->digest, digest))
        return 0;
    np_fail(err, NP_DAMAGED,
            "disk %s of point %s: its chain does not add up to the digest that %s has of the whole disk: a "
            "stream "
            "of the chain is not the one that this point was built on",
            trial->disk->target, trial->origin->point->id, np_stream_name(opened->streams[0]));
    return np_error_where(err, trial->disk->target, NP_NO_OFFSET);
}

static int follow(const struct trial *trial, const struct np_origin_disk *opened, struct np_error *err)
{
    const struct np_geometry *geometry = np_chain_geometry(opened->chain);
    bool deep = trial->request->depth == NP_VERIFY_DEEP;
    struct np_hash128 digest = {0};
    struct np_chain_step step;
    for (int more; (more = np_chain_next(opened->chain, &step, err)) != 0;) {
        if (more < 0)
            return -1;
        if (np_cancel_check(trial->request->cancel, err) < 0)
            return -1;
        if (step.kind != NP_CHAIN_DATA)
            continue;
        const struct np_ledger_slot *slot = np_ledger_slot_of(trial->ledger, trial->path[step.stream]);
        np_ledger_hit_record(trial->ledger, slot, step.entry.pos, trial->point);
        if (deep)
            add_taken(geometry, &step, &digest);
    }
    return deep ? check_digest(trial, opened, digest, err) : 0;
}

/* @return false: some stream of the path is known to be of no use as a whole, so there is nothing to follow
 */
static bool look_at_path(const struct trial *trial)
{
    bool usable = true;
    for (size_t i = 0; i < trial->count; i++) {
        const struct np_ledger_slot *slot = np_ledger_slot_of(trial->ledger, trial->path[i]);
        usable = !np_ledger_hit_whole(trial->ledger, slot, trial->point, i == 0) && usable;
    }
    return usable;
}

static int resolve(struct trial *trial, struct np_error *err)
{
    struct np_origin *origin = trial->origin;
    if (origin->stream != NULL) {
        trial->path = malloc(sizeof(*trial->path)); /* NOLINT(bugprone-sizeof-expression): of a pointer */
        if (trial->path == NULL)
            return np_fail(err, NP_FAILED, "out of memory");
        trial->path[0] = trial->disk;
        trial->count = 1;
        return 0;
    }
    return np_points_path(&origin->points, origin->point, trial->disk->target, &trial->path, &trial->count,
                          err);
}

/* An increment in a file: what it builds on is not there to be looked at. */
static bool is_increment_alone(const struct trial *trial)
{
    if (trial->origin->stream == NULL)
        return false;
    const struct np_meta *meta = np_stream_meta(trial->origin->stream);
    return !np_uuid_is_nil(&np_meta_disk_by_target(meta, trial->disk->target)->base_state);
}

/* Everything that this increment alone holds is taken from it. */
static int follow_alone(const struct trial *trial, struct np_error *err)
{
    struct np_cursor *cursor;
    struct np_entry entry;
    const struct np_ledger_slot *slot = np_ledger_slot_of(trial->ledger, trial->disk);
    const struct np_meta_disk *disk =
        np_meta_disk_by_target(np_stream_meta(trial->origin->stream), trial->disk->target);
    if (np_cursor_open(trial->origin->stream, disk->id, false, &cursor, err) < 0)
        return -1;
    int more;
    while ((more = np_cursor_next(cursor, &entry, err)) > 0 &&
           (more = np_cancel_check(trial->request->cancel, err)) == 0)
        np_ledger_hit_record(trial->ledger, slot, entry.pos, trial->point);
    np_cursor_close(cursor);
    return more;
}

static int follow_chain(const struct trial *trial, struct np_error *err)
{
    struct np_origin_disk opened;
    if (np_origin_open_disk(trial->origin, trial->disk->target, trial->request->depth == NP_VERIFY_DEEP,
                            &opened, err) < 0)
        return -1;
    int followed = follow(trial, &opened, err);
    np_origin_close_disk(trial->origin, &opened);
    return followed;
}

static int judge_disk(struct trial *trial, struct np_error *err)
{
    struct np_error mine = NP_ERROR_INIT;
    int good = resolve(trial, &mine);
    if (good == 0 && look_at_path(trial))
        good = is_increment_alone(trial) ? follow_alone(trial, &mine) : follow_chain(trial, &mine);
    if (good == 0)
        return 0;
    if (mine.class == NP_INTERRUPTED) {
        *err = mine;
        return -1;
    }
    np_ledger_add_broken(trial->ledger, trial->point, trial->disk, &mine);
    return 0;
}

static int judge_point(const struct np_verify_request *request, struct np_origin *origin,
                       struct np_ledger *ledger, size_t i, struct np_error *err)
{
    const struct np_point *point = &origin->points.list[i];
    enum np_verify_state *state = &ledger->result->states[i];
    origin->point = point;
    if (*state == NP_VERIFY_UNKNOWN)
        *state = NP_VERIFY_GOOD;
    for (size_t j = 0; j < point->disk_count; j++) {
        const struct np_point_disk *disk = &point->disks[j];
        if (!disk->stored || !np_targets_want(&request->disks, disk->target))
            continue;
        NP_CLEANUP(free_path)
        struct trial trial = {
            .request = request, .origin = origin, .ledger = ledger, .point = i, .disk = disk};
        if (np_cancel_check(request->cancel, err) == 0 && judge_disk(&trial, err) == 0)
            continue;
        if (*state == NP_VERIFY_GOOD)
            *state = NP_VERIFY_UNKNOWN;
        return -1;
    }
    return 0;
}

int np_verify_judge(const struct np_verify_request *request, struct np_origin *origin,
                    struct np_ledger *ledger, size_t asked, struct np_error *err)
{
    for (size_t i = 0; i < origin->points.count; i++) {
        if (asked != SIZE_MAX && i != asked)
            ledger->result->states[i] = NP_VERIFY_UNASKED;
        else if (judge_point(request, origin, ledger, i, err) < 0)
            return -1;
    }
    return 0;
}
