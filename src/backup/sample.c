/*
 * What a disk would come to in a stream, from a part of it: windows are read and packed as a backup does it,
 * and thrown away.
 */
#include "nbdpull/backup.h"

#include "pack.h"
#include "read.h"

#include "nbdpull/cleanup.h"

#include <errno.h>

struct sampler {
    const struct np_backup_options *options;
    const struct np_source *source;
    const struct np_geometry *geometry;
    struct np_geometry base_geometry;
    void *reader;
    struct np_packer packer;
    struct np_schedule *schedule;
    struct np_hash128 *hashes; /* of one window of the base */
    uint8_t *payload, *spare;  /* one chunk each */
    uint64_t data, limit, seen;
    struct np_backup_sample *sample;
    uint8_t table[NP_DATA_TABLE_MAX];
};

static void sampler_clear(struct sampler **pointer)
{
    struct sampler *sampler = *pointer;
    if (sampler == NULL)
        return;
    np_packer_clear(&sampler->packer);
    sampler->source->ops->reader_close(sampler->reader);
    free(sampler->schedule);
    free(sampler->hashes);
    free(sampler->payload);
    free(sampler->spare);
    free(sampler);
}

/* The share of the limit that is used up never runs more than a window ahead of the share of the data seen.
 */
static bool is_due(const struct sampler *sampler)
{
    return sampler->limit >= sampler->data || (double)sampler->sample->read * (double)sampler->data <=
                                                  (double)sampler->seen * (double)sampler->limit;
}

static int take_window(struct sampler *sampler, struct np_step *step, uint64_t length, struct np_error *err)
{
    struct np_packed packed;
    const struct np_pack_base base = {.geometry = &sampler->base_geometry, .window = &step->base};
    bool compare = sampler->options->scope == NP_SCOPE_SCAN && sampler->options->base != NULL;
    if (np_read_window(sampler->source, sampler->reader, sampler->geometry, step, sampler->payload, err) < 0)
        return -1;
    np_pack_window(&sampler->packer, step->offset, step->map, sampler->payload, sampler->spare,
                   sampler->table, compare ? &base : NULL, &packed);
    sampler->sample->read += length;
    sampler->sample->data += packed.length;
    sampler->sample->stored += packed.data_len;
    return 0;
}

static int walk(struct sampler *sampler, struct np_error *err)
{
    struct np_step step = {.base.hashes = sampler->hashes};
    for (int more; (more = np_schedule_next(sampler->schedule, &step, err)) != 0;) {
        if (more < 0 || np_cancel_check(sampler->options->cancel, err) < 0)
            return -1;
        if (step.kind == NP_STEP_ZERO)
            continue;
        uint64_t length = np_map_add_up(sampler->geometry, step.offset, step.map).data_bytes;
        if (length > 0 && is_due(sampler) && take_window(sampler, &step, length, err) < 0)
            return -1;
        sampler->seen += length;
    }
    return 0;
}

static int begin(struct sampler *sampler, struct np_error *err)
{
    const struct np_geometry *geometry = sampler->geometry;
    const struct np_backup_options *options = sampler->options;
    sampler->base_geometry = *geometry;
    if (options->base != NULL)
        sampler->base_geometry.size = options->base->size;
    sampler->schedule = malloc(sizeof(*sampler->schedule));
    sampler->hashes = calloc(geometry->chunk / geometry->granule, sizeof(*sampler->hashes));
    sampler->payload = malloc(geometry->chunk);
    sampler->spare = malloc(geometry->chunk);
    if (sampler->schedule == NULL || sampler->hashes == NULL || sampler->payload == NULL ||
        sampler->spare == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot take a sample");
    if (sampler->source->ops->reader_open(sampler->source->ctx, &sampler->reader, err) < 0)
        return -1;
    np_schedule_init(sampler->schedule, sampler->source, sampler->reader, geometry, options->scope,
                     options->base);
    return np_packer_init(&sampler->packer, options->codec, options->level, geometry, err);
}

int np_backup_sample(const struct np_backup_options *options, const struct np_source *source,
                     const struct np_geometry *geometry, uint64_t data, uint64_t limit,
                     struct np_backup_sample *sample, struct np_error *err)
{
    *sample = (struct np_backup_sample){0};
    NP_CLEANUP(sampler_clear) struct sampler *sampler = calloc(1, sizeof(*sampler));
    if (sampler == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot take a sample");
    sampler->options = options;
    sampler->source = source;
    sampler->geometry = geometry;
    sampler->data = data;
    sampler->limit = limit;
    sampler->sample = sample;
    return begin(sampler, err) < 0 ? -1 : walk(sampler, err);
}
