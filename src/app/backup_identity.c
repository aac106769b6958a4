#include "backup_parts.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/codec.h"

#include <stdio.h>
#include <string.h>

/* A name is never used twice: a random part for every attempt. */
static int name_checkpoint(struct np_run *run, struct np_error *err)
{
    bool any = false;
    for (size_t i = 0; i < run->disk_count; i++)
        any |= run->disks[i].checkpoint;
    if (!any || run->set == NULL)
        return 0;

    struct np_uuid random;
    if (np_uuid_random(&random, err) < 0)
        return -1;
    snprintf(run->result->checkpoint, sizeof(run->result->checkpoint), NP_CHECKPOINT_PREFIX "%s-%s-%08x",
             np_set_short_id(run->set), run->result->point, np_get_le32(random.bytes));
    return 0;
}

int np_run_identify(struct np_run *run, struct np_error *err)
{
    if (run->set != NULL && np_set_next_id(run->set, run->result->point, err) < 0)
        return -1;
    if (name_checkpoint(run, err) < 0 || np_uuid_random(&run->point, err) < 0)
        return -1;

    for (size_t i = 0; i < run->disk_count; i++) {
        struct np_run_disk *disk = &run->disks[i];
        bool shared = run->set == NULL && i > 0; /* one stream for all disks */
        if (np_uuid_random(&disk->state, err) < 0 || np_uuid_random(&disk->stream, err) < 0)
            return -1;
        if (shared)
            disk->stream = run->disks[0].stream;
        disk->result->stream_uuid = disk->stream;
    }
    return 0;
}

static void describe_point_disk(const struct np_run *run, size_t i, struct np_meta_point_disk *to)
{
    const struct np_backup_disk *from = &run->result->disks[i];
    snprintf(to->target, sizeof(to->target), "%s", from->target);
    snprintf(to->why, sizeof(to->why), "%s", from->why);
    for (size_t j = 0; j < run->disk_count; j++)
        if (run->disks[j].result == from) {
            to->state = run->disks[j].state;
            to->stream = run->disks[j].stream;
        }
}

static void describe_disk(const struct np_run *run, const struct np_run_disk *from, uint16_t id,
                          struct np_meta_disk *to)
{
    const struct np_domain_disk *disk = from->domain_disk;
    to->id = id;
    snprintf(to->target, sizeof(to->target), "%s", disk->target);
    to->geometry = np_run_geometry(from);
    to->logical_block = disk->logical_block;
    to->physical_block = disk->physical_block;
    snprintf(to->source_format, sizeof(to->source_format), "%s", disk->format != NULL ? disk->format : "");
    snprintf(to->level, sizeof(to->level), "%s", from->result->level);
    snprintf(to->how, sizeof(to->how), "%s", from->result->how);
    snprintf(to->why, sizeof(to->why), "%s", from->result->why);
    snprintf(to->image, sizeof(to->image), "%s", disk->source != NULL ? disk->source : "");
    to->image_dev = disk->image_dev;
    to->image_ino = disk->image_ino;
    if (from->checkpoint)
        snprintf(to->checkpoint, sizeof(to->checkpoint), "%s", run->result->checkpoint);
    to->state = from->state;
    if (from->mode != NP_MODE_FULL) {
        const struct np_point_disk *base = from->parent_disk;
        snprintf(to->base_point, sizeof(to->base_point), "%s", from->parent->id);
        if (from->mode == NP_MODE_BITMAP)
            snprintf(to->base_checkpoint, sizeof(to->base_checkpoint), "%s", base->checkpoint);
        to->base_state = base->state;
        to->base_size = base->virtual_size;
        to->base_digest_known = base->digest_known;
        to->base_digest = base->digest;
    }
}

int np_run_meta(const struct np_run *run, size_t first, size_t count, struct np_meta **meta,
                struct np_error *err)
{
    struct np_meta *made = np_meta_new(count, run->result->disk_count, err);
    if (made == NULL)
        return -1;
    made->stream = run->disks[first].stream;
    if (run->set != NULL)
        made->set = *np_set_uuid(run->set);
    snprintf(made->tool, sizeof(made->tool), "nbdpull %s", NBDPULL_VERSION);
    snprintf(made->codec_lib, sizeof(made->codec_lib), "%s", np_codec_libraries());
    snprintf(made->created, sizeof(made->created), "%s", run->result->time);
    snprintf(made->domain_name, sizeof(made->domain_name), "%s", run->result->domain);
    made->domain = run->result->domain_uuid;
    made->quiesced = run->result->quiesced;
    snprintf(made->point_id, sizeof(made->point_id), "%s", run->result->point);
    made->point = run->point;
    snprintf(made->level, sizeof(made->level), "%s", run->result->level);
    snprintf(made->guest, sizeof(made->guest), "%s", run->result->guest);
    snprintf(made->checkpoint, sizeof(made->checkpoint), "%s", run->result->checkpoint);
    for (size_t i = 0; i < run->result->disk_count; i++)
        describe_point_disk(run, i, &made->point_disks[i]);
    for (size_t i = 0; i < count; i++)
        describe_disk(run, &run->disks[first + i], (uint16_t)i, &made->disks[i]);
    *meta = made;
    return 0;
}
