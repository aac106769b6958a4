#include "nbdpull/backup.h"

#include "schedule.h"

#include "nbdpull/cleanup.h"

#include <errno.h>

static uint64_t step_bytes(const struct np_geometry *geometry, const struct np_step *step)
{
    return step->kind == NP_STEP_WINDOW ? np_map_add_up(geometry, step->offset, step->map).data_bytes : 0;
}

static int measure(struct np_schedule *schedule, struct np_cancel *cancel, uint64_t *bytes,
                   struct np_error *err)
{
    struct np_step step;
    for (int more; (more = np_schedule_next(schedule, &step, err)) != 0;) {
        if (more < 0 || np_cancel_check(cancel, err) < 0)
            return -1;
        *bytes += step_bytes(schedule->geometry, &step);
    }
    return 0;
}

int np_backup_measure(const struct np_source *source, const struct np_geometry *geometry, enum np_scope scope,
                      struct np_cancel *cancel, uint64_t *bytes, struct np_error *err)
{
    void *reader = NULL;
    NP_AUTO_FREE struct np_schedule *schedule = malloc(sizeof(*schedule));
    *bytes = 0;
    if (schedule == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot plan the disk");
    if (source->ops->reader_open(source->ctx, &reader, err) < 0)
        return -1;
    np_schedule_init(schedule, source, reader, geometry, scope, NULL);
    int result = measure(schedule, cancel, bytes, err);
    source->ops->reader_close(reader);
    return result;
}
