/*
 * A backup run, in design's order: lock, recover, refuse early, intent, guardian, freeze, job and checkpoint
 * in one call, thaw, pull, check that the job is ours, end it, sync, commit, prune, clear the intent.
 */
#include "backup_parts.h"

#include "clock.h"
#include "recovery.h"
#include "workdir.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/log.h"

#include <stdio.h>
#include <string.h>

void np_run_clear(struct np_run *run)
{
    np_run_close_sources(run);
    np_run_close_bases(run);
    np_run_free_blobs(run);
    np_run_free_guard(run);
    np_guardian_leave(&run->guardian);
    np_job_free(run->job);
    np_points_clear(&run->points);
    np_intent_clear(&run->intent);
    np_set_close(run->set);
    free(run->disks);
    if (run->workdir_made)
        close(run->workdir_fd);
    free(run->workdir);
    free(run->scratch_place);
    np_domain_disks_clear(&run->all);
    np_domain_free(run->domain);
    np_virt_close(run->virt);
}

static int look_at_domain(struct np_run *run, struct np_error *err)
{
    bool active = false, saved = false;
    if (np_domain_is_active(run->domain, &active, err) < 0)
        return -1;
    if (!active && np_domain_is_saved(run->domain, &saved, err) < 0)
        return -1;
    run->reach = active ? &np_reach_job : &np_reach_images;
    snprintf(run->result->guest, sizeof(run->result->guest), "%s", active ? "" : saved ? "saved" : "off");
    snprintf(run->result->domain, sizeof(run->result->domain), "%s", np_domain_name(run->domain));
    run->result->domain_uuid = np_domain_uuid(run->domain);
    return np_domain_disks(run->domain, &run->all, err);
}

int np_run_open_domain(struct np_run *run, struct np_error *err)
{
    if (np_virt_open(run->request->uri, run->request->cancel, &run->virt, err) < 0 ||
        np_domain_find(run->virt, run->request->domain, &run->domain, err) < 0)
        return -1;
    return look_at_domain(run, err);
}

/* Recovery may have ended a guest that a killed run had started. */
static int look_again(struct np_run *run, struct np_error *err)
{
    bool active;
    if (np_domain_is_active(run->domain, &active, err) < 0)
        return -1;
    if (active == (run->reach == &np_reach_job))
        return 0;
    np_domain_disks_clear(&run->all);
    np_backup_result_clear(run->result);
    free(NP_STEAL(run->disks));
    run->disk_count = 0;
    return look_at_domain(run, err) < 0 ? -1 : np_run_select(run, err);
}

static int open_set(struct np_run *run, struct np_error *err)
{
    if (run->request->set == NULL)
        return 0;
    struct np_uuid uuid = np_domain_uuid(run->domain);
    if (np_set_open(run->request->set, NP_SET_CREATE, run->request->command, &run->set, err) < 0)
        return -1;
    if (np_set_bind(run->set, np_domain_name(run->domain), &uuid, err) == 0 &&
        np_recover(run->set, run->domain, run->request->cancel, &run->frozen_before, err) == 0 &&
        np_set_remove_debris(run->set, err) == 0)
        return 0;
    np_set_abandon(run->set);
    return -1;
}

static int write_configs(struct np_run *run, struct np_error *err)
{
    for (size_t i = 0; i < run->blob_count; i++)
        if (np_set_config_write(run->set, run->result->point, run->blobs[i].name, run->blobs[i].bytes,
                                run->blobs[i].size, err) < 0)
            return -1;
    return 0;
}

static void left_out_disk(const struct np_backup_disk *from, struct np_point_disk *to)
{
    *to = (struct np_point_disk){.stored = false, .virtual_size = from->virtual_size};
    snprintf(to->target, sizeof(to->target), "%s", from->target);
    snprintf(to->why, sizeof(to->why), "%s", from->why);
}

static const struct np_run_disk *stored_disk(const struct np_run *run, const struct np_backup_disk *result)
{
    for (size_t i = 0; i < run->disk_count; i++)
        if (run->disks[i].result == result)
            return &run->disks[i];
    return NULL;
}

static int commit(struct np_run *run, struct np_error *err)
{
    if (run->set == NULL)
        return 0;

    const struct np_backup_result *result = run->result;
    NP_CLEANUP(np_point_clear) struct np_point point = {.uuid = run->point, .disk_count = result->disk_count};
    snprintf(point.id, sizeof(point.id), "%s", result->point);
    snprintf(point.level, sizeof(point.level), "%s", run->result->level);
    snprintf(point.guest, sizeof(point.guest), "%s", result->guest);
    snprintf(point.time, sizeof(point.time), "%s", result->time);
    snprintf(point.checkpoint, sizeof(point.checkpoint), "%s", result->checkpoint);
    point.quiesced = result->quiesced;
    point.disks = calloc(result->disk_count, sizeof(*point.disks));
    if (point.disks == NULL)
        return np_fail(err, NP_FAILED, "out of memory at the commit");
    for (size_t i = 0; i < result->disk_count; i++) {
        const struct np_run_disk *disk = stored_disk(run, &result->disks[i]);
        if (disk != NULL)
            point.disks[i] = disk->point;
        else
            left_out_disk(&result->disks[i], &point.disks[i]);
    }
    if (write_configs(run, err) < 0 || np_cancel_check(run->request->cancel, err) < 0)
        return -1;
    np_guardian_commits(&run->guardian);
    return np_set_commit(run->set, &point, err);
}

/* All that must be undone when it fails. */
static int begin_to_commit(struct np_run *run, struct np_error *err)
{
    struct np_cancel *cancel = run->request->cancel;
    if (np_run_plan_freeze(run, err) < 0 || np_run_name_workdir(run, err) < 0 ||
        np_run_intend(run, err) < 0 || np_run_make_workdir(run, err) < 0 ||
        np_cancel_check(cancel, err) < 0 || np_run_begin_frozen(run, err) < 0)
        return -1;
    if (np_cancel_check(cancel, err) < 0 || np_run_check_disks(run, err) < 0 ||
        np_run_collect_blobs(run, err) < 0 || run->reach->open(run, err) < 0 ||
        np_run_check_bitmaps(run, err) < 0 || np_run_pull(run, err) < 0)
        return -1;
    np_run_close_sources(run);
    return run->reach->end(run, err) < 0 ? -1 : commit(run, err);
}

/* The point exists: what fails from here on is said, but takes nothing back. The next run tries again. */
static void tidy(struct np_run *run)
{
    struct np_error err = NP_ERROR_INIT;
    bool removed = np_workdir_remove(run->workdir, &err) == 0;
    if (!removed)
        np_log_warning("%s", err.message);
    if (run->set != NULL)
        np_prune(run->set, run->domain, &run->all, run->request->keep_checkpoints);
    bool stopped = np_run_stop_guest(run, &err) == 0;
    if (!stopped)
        np_log_warning("%s", err.message);
    run->unsure = !stopped; /* its guardian goes on trying */
    if (run->set != NULL && removed && stopped && !run->frozen_before &&
        np_set_intent_clear(run->set, &err) < 0)
        np_log_warning("%s", err.message);
    np_run_dismiss_guardian(run);
}

int np_app_backup(const struct np_backup_request *request, struct np_backup_result *result,
                  struct np_error *err)
{
    double began = np_clock_seconds();
    *result = (struct np_backup_result){0};
    NP_CLEANUP(np_run_clear) struct np_run run = {.request = request, .result = result};

    if (np_run_open_domain(&run, err) < 0 || np_run_select(&run, err) < 0 || open_set(&run, err) < 0)
        return -1;
    if (look_again(&run, err) < 0 || run.reach->check(&run, err) < 0 || np_run_choose_levels(&run, err) < 0 ||
        np_run_check_threshold(&run, err) < 0 || np_run_note_removed(&run, err) < 0 ||
        np_run_identify(&run, err) < 0 || begin_to_commit(&run, err) < 0) {
        np_run_blame_guard(&run, err);
        np_run_undo(&run);
        result->point[0] = result->checkpoint[0] = '\0';
        result->quiesced = false;
        return -1;
    }
    tidy(&run);
    result->seconds = np_clock_seconds() - began;
    return 0;
}

void np_backup_result_clear(struct np_backup_result *result)
{
    free(result->disks);
    result->disks = NULL;
    result->disk_count = 0;
}
