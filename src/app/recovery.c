#include "backup_parts.h"

#include "workdir.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/log.h"

#include <string.h>

/*
 * An intent that is still there belongs to a run that did not come to its end. If its point was committed,
 * only what comes after the commit is left to do; else all that it began is taken back.
 */
static int was_committed(struct np_set *set, const char *id, bool *committed, struct np_error *err)
{
    NP_CLEANUP(np_points_clear) struct np_points points = {0};
    *committed = false;
    if (np_set_points(set, &points, err) < 0)
        return -1;
    for (size_t i = 0; i < points.count; i++)
        *committed |= strcmp(points.list[i].id, id) == 0;
    return 0;
}

/* A directory that does not go holds nothing that a later run needs: it must not stop them all. */
static void remove_workdir(const struct np_intent *intent, const char *done)
{
    struct np_error err = NP_ERROR_INIT;
    if (intent->work_dir[0] != '\0' && np_workdir_remove(intent->work_dir, &err) < 0)
        np_log_warning("the run of %s did not come to its end; all it left is gone now but its directory, "
                       "remove that by hand: %s",
                       intent->started, err.message);
    else
        np_log_info("the run of %s did not come to its end: %s", intent->started, done);
}

int np_recover(struct np_set *set, struct np_domain *domain, struct np_error *err)
{
    struct np_intent intent;
    bool found, committed;
    if (np_set_intent_read(set, &intent, &found, err) < 0)
        return -1;
    if (!found)
        return 0;
    if (was_committed(set, intent.point_id, &committed, err) < 0)
        return -1;

    if (np_job_end_by_socket(domain, intent.socket, err) < 0)
        return np_error_context(err, "what the run of %s left cannot be put right", intent.started);
    if (!committed) {
        if (intent.checkpoint[0] != '\0' && np_checkpoint_delete(domain, intent.checkpoint, err) < 0)
            return np_error_context(err, "what the run of %s left cannot be put right", intent.started);
        if (np_set_remove_point_files(set, intent.point_id, err) < 0)
            return -1;
    }
    remove_workdir(&intent, committed
                                ? "its point is committed; its job, socket and scratch are gone now"
                                : "its job, checkpoint, socket, scratch and partial streams are gone now");
    return np_set_intent_clear(set, err);
}
