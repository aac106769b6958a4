#include "backup_parts.h"

#include "workdir.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define EXPORT_BITMAP "dirty" /* name of the bitmap in the export */

int np_run_name_workdir(struct np_run *run, struct np_error *err)
{
    const char *parent = run->request->scratch_dir != NULL ? run->request->scratch_dir : NP_WORKDIR_DEFAULT;
    NP_AUTO_FREE char *absolute = realpath(parent, NULL);
    if (absolute == NULL)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot use it for socket and scratch", parent);
    if (np_workdir_name(absolute, &run->workdir, err) < 0)
        return -1;
    run->scratch_place = NP_STEAL(absolute);
    int length = snprintf(run->socket, sizeof(run->socket), "%s/" NP_WORKDIR_SOCKET, run->workdir);
    if (length >= (int)sizeof(run->socket))
        return np_fail(err, NP_FAILED,
                       "%s: too long for a socket path (108 bytes); choose a shorter --scratch-dir",
                       run->workdir);
    for (size_t i = 0; i < run->disk_count; i++)
        snprintf(run->disks[i].scratch, sizeof(run->disks[i].scratch), "%s/%s" NP_WORKDIR_SCRATCH,
                 run->workdir, run->disks[i].domain_disk->target);
    return 0;
}

/* Socket and scratch are made by QEMU's user, so the directory is given to it; only root can. */
int np_run_make_workdir(struct np_run *run, struct np_error *err)
{
    bool known = false;
    uid_t uid;
    gid_t gid;
    if (np_domain_qemu_owner(run->domain, &known, &uid, &gid, err) < 0)
        return -1;
    bool give = known && geteuid() == 0;
    if (np_workdir_make(run->workdir, give ? &uid : NULL, &gid, err) < 0)
        return -1;
    run->workdir_made = true;
    return 0;
}

int np_run_begin_job(struct np_run *run, struct np_error *err)
{
    NP_AUTO_FREE struct np_job_disk *disks = calloc(run->disk_count, sizeof(*disks));
    if (disks == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot begin the job");
    for (size_t i = 0; i < run->disk_count; i++)
        disks[i] = (struct np_job_disk){
            .target = run->disks[i].domain_disk->target,
            .scratch = run->disks[i].scratch,
            .export_name = run->disks[i].domain_disk->target,
            .incremental =
                run->disks[i].mode == NP_MODE_BITMAP ? run->disks[i].parent_disk->checkpoint : NULL,
            .bitmap = run->disks[i].mode == NP_MODE_BITMAP ? EXPORT_BITMAP : NULL,
            .checkpoint = run->disks[i].checkpoint && run->result->checkpoint[0] != '\0',
        };
    const struct np_job_spec spec = {
        .socket = run->socket,
        .checkpoint = run->result->checkpoint[0] != '\0' ? run->result->checkpoint : NULL,
        .disks = disks,
        .disk_count = run->disk_count,
        .all = &run->all,
    };
    run->begin_tried = true;
    np_log_debug("begin: socket %s, checkpoint %s", run->socket, spec.checkpoint ? spec.checkpoint : "none");
    if (np_domain_is_running(run->domain, &run->guest_ran, err) < 0 ||
        np_job_begin(run->domain, &spec, &run->job, err) < 0)
        return -1;
    np_guardian_begun(&run->guardian);
    return np_run_guard_begin(run, err);
}

int np_run_open_sources(struct np_run *run, struct np_error *err)
{
    for (size_t i = 0; i < run->disk_count; i++) {
        struct np_run_disk *disk = &run->disks[i];
        const char *target = disk->domain_disk->target;
        if (np_nbd_source_open(run->socket, target, disk->mode == NP_MODE_BITMAP ? EXPORT_BITMAP : NULL,
                               &disk->source, err) < 0) {
            np_error_where(err, target, NP_NO_OFFSET);
            return np_error_context(err, "disk %s", target);
        }
        disk->result->virtual_size = disk->source.size;
        np_log_debug("disk %s: %ju bytes", target, (uintmax_t)disk->source.size);
    }
    return 0;
}

void np_run_close_sources(struct np_run *run)
{
    for (size_t i = 0; i < run->disk_count; i++)
        np_nbd_source_close(&run->disks[i].source);
}

int np_run_end_job(struct np_run *run, struct np_error *err)
{
    struct np_error ignored = NP_ERROR_INIT;
    if (np_run_guard_end(run, err) < 0 || np_job_check_ours(run->job, err) < 0)
        return -1;
    if (np_job_scratch_used(run->job, &run->result->scratch_bytes, &ignored) < 0)
        np_log_debug("%s", ignored.message);
    if (np_job_end(run->job, err) < 0)
        return -1;
    np_log_debug("scratch: %" PRIu64 " bytes were used", run->result->scratch_bytes);
    np_run_resume_guest(run);
    return 0;
}

static void warn(const char *what, int result, struct np_error *err, bool *clean)
{
    if (result == 0)
        return;
    np_log_warning("%s: %s", what, err->message);
    *err = (struct np_error)NP_ERROR_INIT;
    *clean = false;
}

/*
 * A domain that has ended keeps its checkpoint until it runs again: that is no news beside the error, and the
 * intent stays for the next run.
 * @return true when it is left for then
 */
static bool drop_checkpoint(struct np_run *run, bool *clean)
{
    struct np_error err = NP_ERROR_INIT;
    bool active = true;
    if (np_domain_is_active(run->domain, &active, &err) == 0 && !active) {
        np_log_debug("checkpoint %s stays until the domain runs; the next backup removes it",
                     run->result->checkpoint);
        return true;
    }
    err = (struct np_error)NP_ERROR_INIT;
    warn("the checkpoint of this run could not be removed",
         np_checkpoint_delete(run->domain, run->result->checkpoint, &err), &err, clean);
    return false;
}

/*
 * A record that could neither be made durable nor be taken back: the point may stand, so it keeps its
 * checkpoint. The intent stays too, and the next run sees what became of it.
 */
static bool may_stand(const struct np_run *run)
{
    struct np_error err = NP_ERROR_INIT;
    const struct np_point *point;
    NP_CLEANUP(np_points_clear) struct np_points points = {0};
    if (run->set == NULL)
        return false;
    if (np_set_points(run->set, &points, &err) < 0)
        return true;
    return points.count > 0 && np_points_find(&points, run->result->point, &point, &err) == 0;
}

/* @param deferred out; the checkpoint is left for the next run */
static bool undo_job(struct np_run *run, bool *deferred)
{
    struct np_error err = NP_ERROR_INIT;
    bool clean = true;

    np_run_close_sources(run);
    np_run_free_guard(run);
    if (run->job != NULL)
        warn("the backup job could not be ended", np_job_end(run->job, &err), &err, &clean);
    else if (run->begin_tried) /* it has undone itself, unless libvirt went away: then the intent must stay */
        warn("the backup job may run", np_job_end_by_socket(run->domain, run->socket, &err), &err, &clean);
    np_run_resume_guest(run);
    if (run->job != NULL && run->result->checkpoint[0] != '\0' && !may_stand(run))
        *deferred = drop_checkpoint(run, &clean);
    clean = clean && !run->frozen; /* to thaw it was tried, and said; the guardian tries again */
    run->unsure = !clean;
    if (run->workdir_made)
        warn("socket and scratch could not be removed", np_workdir_remove(run->workdir, &err), &err, &clean);
    np_job_free(NP_STEAL(run->job));
    free(NP_STEAL(run->workdir));
    free(NP_STEAL(run->scratch_place));
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
