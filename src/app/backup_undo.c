/*
 * After a failure, and after an estimate: everything is taken back.
 */
#include "backup_parts.h"

#include "workdir.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/log.h"

void np_run_close_sources(struct np_run *run)
{
    for (size_t i = 0; i < run->disk_count; i++)
        np_nbd_source_close(&run->disks[i].source);
}

static void warn(const char *what, int result, struct np_error *err, bool *clean)
{
    if (result == 0)
        return;
    np_log_warning("%s: %s", what, err->message);
    *err = (struct np_error)NP_ERROR_INIT;
    *clean = false;
}

/* Its own record is asked for and not read: other points, damaged or not, say nothing about it. */
bool np_run_may_stand(struct np_run *run)
{
    struct np_error err = NP_ERROR_INIT;
    bool has = false;
    run->may_stand = run->set != NULL && run->result->point[0] != '\0' &&
                     (np_set_has_record(run->set, run->result->point, &has, &err) < 0 || has);
    return run->may_stand;
}

/* @param deferred out; the checkpoint is left for the next run */
static bool undo_job(struct np_run *run, bool *deferred)
{
    struct np_error err = NP_ERROR_INIT;
    bool clean = true;

    np_run_close_sources(run);
    warn("what was begun could not be taken back", run->reach->undo(run, deferred, &err), &err, &clean);
    /* To thaw it was tried, and said; the guardian tries again. */
    clean = clean && !run->frozen && !run->frozen_before;
    run->unsure = !clean;
    if (run->workdir_made && clean) /* a job that may run fills its scratch: that is to be seen */
        warn("socket and scratch could not be removed", np_workdir_remove(run->workdir, &err), &err, &clean);
    free(NP_STEAL(run->workdir));
    free(NP_STEAL(run->scratch_place));
    if (run->workdir_made)
        close(run->workdir_fd);
    run->workdir_made = run->begin_tried = false;
    return clean;
}

bool np_run_undo_job(struct np_run *run)
{
    bool deferred = false;
    bool clean = undo_job(run, &deferred);
    np_run_dismiss_guardian(run);
    return clean && !deferred;
}

/* The guardian is ended before the set is given up: it holds the lock in there. */
static void undo_set(struct np_run *run, bool deferred, bool clean)
{
    struct np_error err = NP_ERROR_INIT;
    if (run->result->point[0] != '\0')
        warn("what was written could not be removed",
             np_set_remove_point_files(run->set, run->result->point, &err), &err, &clean);
    clean = clean && !run->may_stand;
    if (clean && !deferred && run->intent_written)
        warn("the intent could not be cleared", np_set_intent_clear(run->set, &err), &err, &clean);
    np_run_dismiss_guardian(run);
    if (clean && !deferred)
        np_set_abandon(run->set);
    else if (!clean)
        np_log_warning("%sthe next backup into %s puts the rest right",
                       run->guardian.pid != 0 ? "the guardian of this run goes on trying for a minute, then "
                                              : "",
                       np_set_path(run->set));
}

void np_run_undo(struct np_run *run)
{
    bool deferred = false;
    bool clean = undo_job(run, &deferred);
    if (run->set != NULL)
        undo_set(run, deferred, clean);
    else
        np_run_dismiss_guardian(run);
}
