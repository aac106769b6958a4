#include "nbdpull/backup.h"

#include "schedule.h"

#include "nbdpull/cleanup.h"

#include <errno.h>

static void add_step(const struct np_geometry *geometry, const struct np_step *step,
                     struct np_backup_sums *sums)
{
    if (step->kind == NP_STEP_ZERO) {
        sums->zero += step->length;
        return;
    }
    struct np_map_sums window = np_map_add_up(geometry, step->offset, step->map);
    sums->data += window.data_bytes;
    sums->zero += window.zero_bytes;
}

static int measure(struct np_schedule *schedule, struct np_hash128 *hashes, struct np_cancel *cancel,
                   struct np_backup_sums *sums, struct np_error *err)
{
    struct np_step step = {.base.hashes = hashes};
    for (int more; (more = np_schedule_next(schedule, &step, err)) != 0;) {
        if (more < 0 || np_cancel_check(cancel, err) < 0)
            return -1;
        add_step(schedule->geometry, &step, sums);
    }
    return 0;
}

int np_backup_measure(const struct np_source *source, const struct np_geometry *geometry, enum np_scope scope,
                      const struct np_base *base, struct np_cancel *cancel, struct np_backup_sums *sums,
                      struct np_error *err)
{
    void *reader = NULL;
    NP_AUTO_FREE struct np_schedule *schedule = malloc(sizeof(*schedule));
    NP_AUTO_FREE struct np_hash128 *hashes = calloc(geometry->chunk / geometry->granule, sizeof(*hashes));
    *sums = (struct np_backup_sums){0};
    if (schedule == NULL || hashes == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot plan the disk");
    if (source->ops->reader_open(source->ctx, &reader, err) < 0)
        return -1;
    np_schedule_init(schedule, source, reader, geometry, scope, base);
    int result = measure(schedule, hashes, cancel, sums, err);
    source->ops->reader_close(reader);
    return result;
}
