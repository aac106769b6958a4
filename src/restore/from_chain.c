#include "nbdpull/restore.h"

#include "replay.h"

#include <string.h>

static uint64_t taken_bytes(const struct np_geometry *geometry, const struct np_chain_step *step)
{
    return np_map_add_up(geometry, step->offset, step->take).data_bytes;
}

int np_restore_survey(struct np_chain *chain, struct np_cancel *cancel, struct np_restore_plan *plan,
                      struct np_error *err)
{
    struct np_chain_step step;
    *plan = (struct np_restore_plan){0};
    for (int more; (more = np_chain_next(chain, &step, err)) != 0;) {
        if (more < 0 || np_cancel_check(cancel, err) < 0)
            return -1;
        if (step.kind == NP_CHAIN_ZERO)
            plan->zero_bytes += step.length;
        if (step.kind == NP_CHAIN_LOST)
            plan->lost_bytes += step.length;
        if (step.kind != NP_CHAIN_DATA)
            continue;
        plan->data_bytes += taken_bytes(np_chain_geometry(chain), &step);
        plan->stored_bytes += step.entry.data_len;
        plan->records++;
    }
    return 0;
}

static void fill_item(struct np_replay_item *item, const struct np_chain_step *step,
                      struct np_stream *const *streams, const uint16_t *ids,
                      const struct np_restore_disk *disk)
{
    item->disk = disk;
    memcpy(item->take, step->take, sizeof(item->take));
    item->stream = streams[step->stream];
    item->stream_disk = ids[step->stream];
    item->name = np_stream_name(item->stream);
    item->entry = step->entry;
    item->geometry = &np_meta_disk_by_id(np_stream_meta(item->stream), item->stream_disk)->geometry;
    memcpy(item->map, step->entry.map, np_map_bytes(item->geometry));
    item->entry.map = item->map;
    item->entry.hashes = NULL;
}

static int feed(struct np_replay *replay, const struct np_restore_options *options, struct np_chain *chain,
                struct np_stream *const *streams, const uint16_t *ids, const struct np_restore_disk *disk,
                struct np_restore_counts *counts, struct np_error *err)
{
    struct np_chain_step step;
    for (int more; (more = np_chain_next(chain, &step, err)) != 0;) {
        if (more < 0 || np_cancel_check(options->cancel, err) < 0)
            return -1;
        counts->covered = step.offset + step.length;
        if (step.kind == NP_CHAIN_LOST && options->lost(options->lost_ctx, &step, err) < 0)
            return -1;
        if (step.kind == NP_CHAIN_DATA) {
            struct np_replay_item *item = np_replay_get(replay);
            if (item == NULL)
                return 0; /* np_replay_finish has the error */
            fill_item(item, &step, streams, ids, disk);
            const uint64_t bytes = taken_bytes(&disk->geometry, &step);
            counts->written += bytes;
            counts->read += step.entry.data_len;
            np_replay_put(replay, item, bytes);
        }
        if (options->progress != NULL)
            options->progress(options->progress_ctx, counts);
    }
    return 0;
}

/* The streams were opened for the survey before; buffers and target have the sizes of then. */
static int check_geometry(const struct np_chain *chain, const struct np_restore_disk *disk,
                          struct np_error *err)
{
    const struct np_geometry *now = np_chain_geometry(chain);
    if (now->size == disk->geometry.size && now->chunk == disk->geometry.chunk &&
        now->granule == disk->geometry.granule)
        return 0;
    np_fail(err, NP_DAMAGED, "disk %s: its streams were exchanged while they were read", disk->target_name);
    return np_error_where(err, disk->target_name, NP_NO_OFFSET);
}

/*
 * The proof that the chain as a whole gave the disk of the point: every granule that was written had its hash
 * checked, and together they add up to what the newest stream says of the whole disk.
 */
static int check_digest(struct np_stream *newest, uint16_t id, struct np_hash128 digest,
                        const struct np_restore_disk *disk, struct np_error *err)
{
    const struct np_totals *totals = np_stream_totals(newest, id);
    if (!totals->digest_known || np_hash128_equal(totals->digest, digest))
        return 0;
    np_fail(err, NP_DAMAGED,
            "disk %s: what was restored does not add up to the digest that %s has of the whole disk: a "
            "stream of the "
            "chain is not the one that this point was built on, or is damaged; restore an older point, and "
            "take a "
            "new full",
            disk->target_name, np_stream_name(newest));
    return np_error_where(err, disk->target_name, NP_NO_OFFSET);
}

int np_restore_chain(const struct np_restore_options *options, struct np_chain *chain,
                     struct np_stream *const *streams, const uint16_t *ids,
                     const struct np_restore_disk *disk, struct np_restore_counts *counts,
                     struct np_error *err)
{
    struct np_replay *replay;
    *counts = (struct np_restore_counts){0};
    if (check_geometry(chain, disk, err) < 0 ||
        np_replay_start(options, disk, 1, disk->geometry.chunk, &replay, err) < 0)
        return -1;

    struct np_error mine = NP_ERROR_INIT;
    if (feed(replay, options, chain, streams, ids, disk, counts, &mine) < 0) {
        np_error_where(&mine, disk->target_name, NP_NO_OFFSET);
        np_replay_fail(replay, &mine);
    }
    if (np_replay_finish(replay, &counts->digest, err) < 0)
        return -1;
    return options->lost != NULL ? 0 : check_digest(streams[0], ids[0], counts->digest, disk, err);
}
