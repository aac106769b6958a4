#include "backup_parts.h"

#include "off.h"
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
    if (np_workdir_make(run->workdir, &run->workdir_fd, err) < 0)
        return -1;
    run->workdir_made = true;
    return np_run_give_workdir(run, err);
}

int np_run_give_workdir(struct np_run *run, struct np_error *err)
{
    bool known = false;
    uid_t uid;
    gid_t gid;
    if (np_domain_qemu_owner(run->domain, &known, &uid, &gid, err) < 0)
        return -1;
    return known && geteuid() == 0 ? np_workdir_give(run->workdir_fd, run->workdir, uid, gid, err) : 0;
}

static int job_begin(struct np_run *run, struct np_error *err)
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

static int job_open(struct np_run *run, struct np_error *err)
{
    for (size_t i = 0; i < run->disk_count; i++) {
        struct np_run_disk *disk = &run->disks[i];
        const char *target = disk->domain_disk->target;
        if (np_nbd_source_open(run->socket, target, disk->mode == NP_MODE_BITMAP ? EXPORT_BITMAP : NULL,
                               run->request->cancel, &disk->source, err) < 0) {
            np_error_where(err, target, NP_NO_OFFSET);
            return np_error_context(err, "disk %s", target);
        }
        disk->result->virtual_size = disk->source.size;
        np_log_debug("disk %s: %ju bytes", target, (uintmax_t)disk->source.size);
    }
    return 0;
}

static int job_end(struct np_run *run, struct np_error *err)
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

static int job_check(struct np_run *run, struct np_error *err)
{
    return np_job_check_free(run->domain, err);
}

/* A checkpoint that libvirt has lost is told to it again. */
static int job_probe(struct np_run *run, struct np_run_disk *disk, bool *usable, struct np_error *err)
{
    const char *checkpoint = disk->parent_disk->checkpoint, *target = disk->domain_disk->target;
    struct np_checkpoint_state state;
    if (np_checkpoint_probe(run->domain, checkpoint, target, &state, err) < 0)
        return -1;
    *usable = state.usable;
    disk->dirty = state.dirty_bytes;
    if (state.known)
        return 0;
    if (run->estimate) {
        np_log_info(
            "disk %s: libvirt has lost checkpoint %s; a backup would tell it again and use the bitmap "
            "if it is still there",
            target, checkpoint);
        return 0;
    }

    struct np_error why = NP_ERROR_INIT;
    NP_AUTO_FREE char *xml = NULL;
    size_t size;
    if (np_set_config_read(run->set, disk->parent->id, "checkpoint.xml", &xml, &size, &why) < 0) {
        np_log_warning("disk %s: libvirt has lost checkpoint %s, it cannot be told again, and the disk is "
                       "compared with point %s: %s",
                       target, checkpoint, disk->parent->id, why.message);
        return 0;
    }
    if (xml == NULL || np_checkpoint_redefine(run->domain, xml, checkpoint, &why) < 0) {
        np_log_debug("disk %s: checkpoint %s cannot be redefined: %s", target, checkpoint,
                     xml == NULL ? "its XML is not in the set" : why.message);
        return 0;
    }
    np_log_info("libvirt had lost checkpoint %s; it has been redefined", checkpoint);
    if (np_checkpoint_probe(run->domain, checkpoint, target, &state, err) < 0)
        return -1;
    *usable = state.usable;
    disk->dirty = state.dirty_bytes;
    return 0;
}

static int job_expect(struct np_run *run, struct np_run_disk *disk, uint64_t *bytes, bool *known,
                      struct np_error *err)
{
    *known = true;
    *bytes = disk->dirty;
    if (disk->mode == NP_MODE_BITMAP)
        return 0;
    return np_domain_allocation(run->domain, disk->domain_disk->target, known, bytes, err);
}

/* Socket and checkpoint say it all; what has no room must not be begun. */
static int job_intend(struct np_run *run, struct np_error *err)
{
    return np_run_check_scratch(run, err);
}

/*
 * The bitmaps of a domain that has ended may be out of reach until it runs again: that is no news beside the
 * error, and the intent stays for the next run.
 */
static int drop_checkpoint(struct np_run *run, bool *deferred, struct np_error *err)
{
    struct np_error why = NP_ERROR_INIT;
    bool active = true;
    if (np_off_delete_checkpoint(run->domain, run->result->checkpoint, &why) == 0)
        return 0;
    struct np_error ignored = NP_ERROR_INIT;
    *deferred = np_domain_is_active(run->domain, &active, &ignored) == 0 && !active;
    if (!*deferred) {
        *err = why;
        return np_error_context(err, "the checkpoint of this run could not be removed");
    }
    np_log_debug("checkpoint %s stays, the next backup removes it: %s", run->result->checkpoint, why.message);
    return 0;
}

static int job_undo(struct np_run *run, bool *deferred, struct np_error *err)
{
    struct np_error why = NP_ERROR_INIT;
    int ended = 0, dropped = 0;
    np_run_free_guard(run);
    if (run->job != NULL)
        ended = np_job_end(run->job, err);
    else if (run->begin_tried) /* it has undone itself, unless libvirt went away: then the intent must stay */
        ended = np_job_end_by_socket(run->domain, run->socket, err);
    np_run_resume_guest(run);
    /* A begin that failed has tried to undo itself: if its checkpoint stayed, the intent must stay too. */
    if (run->begin_tried && run->result->checkpoint[0] != '\0' && !np_run_may_stand(run))
        dropped = drop_checkpoint(run, deferred, &why);
    np_job_free(NP_STEAL(run->job));
    if (ended < 0 && dropped < 0)
        np_log_warning("%s", why.message);
    else if (dropped < 0)
        *err = why;
    return ended < 0 ? ended : dropped;
}

const struct np_reach np_reach_job = {
    .check = job_check,
    .probe = job_probe,
    .expect = job_expect,
    .intend = job_intend,
    .begin = job_begin,
    .open = job_open,
    .end = job_end,
    .undo = job_undo,
};
