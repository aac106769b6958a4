/*
 * A guest that is off, with a disk that only its QEMU can read: it is started, paused, for the time of the
 * run, which then goes as on a running guest. Not so that libvirt ends it with our connection: that would end
 * a guest too which somebody has resumed meanwhile. Intent and guardian see to it.
 */
#include "backup_parts.h"

#include "nbdpull/log.h"

#include <assert.h>
#include <string.h>

static const struct np_domain_disk *only_running(const struct np_run *run)
{
    for (size_t i = 0; i < run->disk_count; i++)
        if (run->disks[i].domain_disk->why_running != NULL)
            return run->disks[i].domain_disk;
    return NULL;
}

void np_run_choose_reach(struct np_run *run)
{
    if (run->reach == &np_reach_images && !run->estimate && only_running(run) != NULL)
        run->reach = &np_reach_paused;
}

static int paused_check(struct np_run *run, struct np_error *err)
{
    const struct np_domain_disk *disk = only_running(run);
    assert(disk != NULL); /* or this would not be how the disks are reached */
    if (strcmp(run->result->guest, "saved") != 0)
        return 0;
    np_error_where(err, disk->target, NP_NO_OFFSET);
    return np_fail(
        err, NP_FAILED,
        "disk %s can be backed up only while the guest runs: %s; and the guest has a saved memory, "
        "which would be lost if it were started for the backup: start it (virsh start), or leave the "
        "disk out with -x %s",
        disk->target, disk->why_running, disk->target);
}

/* What cannot be looked at now is compared. */
static int paused_probe(struct np_run *run, struct np_run_disk *disk, bool *usable, struct np_error *err)
{
    *usable = false;
    return disk->domain_disk->why_running != NULL ? 0 : np_reach_images.probe(run, disk, usable, err);
}

static int paused_expect(struct np_run *run, struct np_run_disk *disk, uint64_t *bytes, bool *known,
                         struct np_error *err)
{
    *bytes = 0;
    *known = false;
    return disk->domain_disk->why_running != NULL ? 0 : np_reach_images.expect(run, disk, bytes, known, err);
}

static int paused_intend(struct np_run *run, struct np_error *err)
{
    run->intent.guest_started = true;
    return np_reach_job.intend(run, err);
}

/* The images say that the bitmaps are good; libvirt may have lost the checkpoints that they belong to. */
static int tell_checkpoints(struct np_run *run, struct np_error *err)
{
    for (size_t i = 0; i < run->disk_count; i++) {
        struct np_run_disk *disk = &run->disks[i];
        bool usable = true;
        if (disk->mode == NP_MODE_BITMAP && np_reach_job.probe(run, disk, &usable, err) < 0)
            return -1;
        if (!usable)
            return np_fail(err, NP_FAILED,
                           "disk %s: its bitmap is not usable once the guest's QEMU runs; use --scan",
                           disk->domain_disk->target);
    }
    return 0;
}

static int paused_begin(struct np_run *run, struct np_error *err)
{
    np_log_debug(
        "domain %s is off, and a disk can be read only by its QEMU: it is started, paused, for the backup",
        np_domain_name(run->domain));
    run->start_tried = true;
    if (np_domain_start_paused(run->domain, run->socket, err) < 0)
        return -1;
    run->guest_started = true;
    if (np_run_give_workdir(run, err) < 0 || tell_checkpoints(run, err) < 0)
        return -1;
    return np_reach_job.begin(run, err);
}

static int paused_open(struct np_run *run, struct np_error *err)
{
    return np_reach_job.open(run, err);
}

static int paused_end(struct np_run *run, struct np_error *err)
{
    return np_reach_job.end(run, err);
}

/* A start that failed may have started it all the same: only its mark tells. */
int np_run_stop_guest(struct np_run *run, struct np_error *err)
{
    const char *name = np_domain_name(run->domain);
    enum np_stopped how;
    if (!run->start_tried)
        return 0;
    if (np_domain_stop_paused(run->domain, run->socket, &how, err) < 0)
        return -1;
    if (how == NP_STOPPED_HAS_RUN)
        np_log_warning("domain %s was started paused for the backup, and has run since then or may have: it "
                       "is left as it is; `virsh resume %s` lets it go on, `virsh destroy %s` ends it",
                       name, name, name);
    else if (run->guest_started && (how == NP_STOPPED_RESUMED || how == NP_STOPPED_NOT_OURS))
        np_log_warning(
            "domain %s, which was started paused for the backup, was taken over by somebody: it is left "
            "as it is",
            name);
    else if (how == NP_STOPPED_NOT_OURS) /* libvirtd may have died between the start and the mark */
        np_log_warning("domain %s is paused, and this run may have started it: `virsh destroy %s` ends it",
                       name, name);
    run->start_tried = run->guest_started = false;
    return 0;
}

static int paused_undo(struct np_run *run, bool *deferred, struct np_error *err)
{
    struct np_error why = NP_ERROR_INIT;
    int undone = np_reach_job.undo(run, deferred, err);
    int stopped = np_run_stop_guest(run, &why);
    if (undone < 0 && stopped < 0)
        np_log_warning("%s", why.message);
    else if (stopped < 0)
        *err = why;
    return undone < 0 ? undone : stopped;
}

const struct np_reach np_reach_paused = {
    .check = paused_check,
    .probe = paused_probe,
    .expect = paused_expect,
    .intend = paused_intend,
    .begin = paused_begin,
    .open = paused_open,
    .end = paused_end,
    .undo = paused_undo,
};
