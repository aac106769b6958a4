#include "backup_parts.h"

#include "targets.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"
#include "nbdpull/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int unknown_disk(const struct np_run *run, const char *target, struct np_error *err)
{
    char names[512] = "";
    size_t used = 0;
    for (size_t i = 0; i < run->all.count && used < sizeof(names); i++)
        used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s", i > 0 ? ", " : "",
                                 run->all.list[i].target);
    np_fail(err, NP_FAILED, "domain '%s' has no disk '%s' (it has: %s)", np_domain_name(run->domain), target,
            names[0] != '\0' ? names : "none");
    return np_error_where(err, target, NP_NO_OFFSET);
}

/* A disk asked for by name must exist and be able to take part. */
static int check_asked(const struct np_run *run, struct np_error *err)
{
    const struct np_targets *include = &run->request->include, *exclude = &run->request->exclude;
    for (size_t i = 0; i < include->count; i++) {
        const struct np_domain_disk *disk = np_domain_disk_of(&run->all, include->list[i]);
        if (disk == NULL)
            return unknown_disk(run, include->list[i], err);
        if (!disk->can_backup) {
            np_fail(err, NP_FAILED, "disk %s cannot be backed up: %s", disk->target, disk->why);
            return np_error_where(err, disk->target, NP_NO_OFFSET);
        }
        if (np_targets_contain(exclude, disk->target))
            return np_fail(err, NP_USAGE, "disk %s is both included and excluded", disk->target);
    }
    for (size_t i = 0; i < exclude->count; i++)
        if (np_domain_disk_of(&run->all, exclude->list[i]) == NULL)
            return unknown_disk(run, exclude->list[i], err);
    return 0;
}

static void describe(const struct np_run *run, const struct np_domain_disk *disk,
                     struct np_backup_disk *result)
{
    const struct np_backup_request *request = run->request;
    snprintf(result->target, sizeof(result->target), "%s", disk->target);
    result->virtual_size = disk->size;
    result->stored = false;
    if (!disk->can_backup) {
        snprintf(result->why, sizeof(result->why), "%s", disk->why);
    } else if (np_targets_contain(&request->exclude, disk->target)) {
        snprintf(result->why, sizeof(result->why), "excluded by -x");
    } else if (!np_targets_want(&request->include, disk->target)) {
        snprintf(result->why, sizeof(result->why), "not among the disks of -i");
    } else {
        result->stored = true;
        if (strcmp(request->level, "copy") != 0 && !disk->can_bitmap)
            snprintf(result->why, sizeof(result->why), "%s was asked for; no checkpoint: %.120s",
                     request->level, disk->why);
        else
            snprintf(result->why, sizeof(result->why), "%s was asked for", request->level);
    }
}

static int add_disk(struct np_run *run, const struct np_domain_disk *disk, struct np_backup_disk *result,
                    struct np_error *err)
{
    if (!np_name_is_safe(disk->target))
        return np_fail(err, NP_FAILED, "disk '%s': its target name cannot be part of a file name",
                       disk->target);
    struct np_run_disk *added = &run->disks[run->disk_count++];
    added->domain_disk = disk;
    added->result = result;
    return 0;
}

int np_run_select(struct np_run *run, struct np_error *err)
{
    struct np_backup_result *result = run->result;
    if (check_asked(run, err) < 0)
        return -1;

    result->disks = calloc(run->all.count + 1, sizeof(*result->disks));
    run->disks = calloc(run->all.count + 1, sizeof(*run->disks));
    if (result->disks == NULL || run->disks == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot list the disks");
    result->disk_count = run->all.count;
    for (size_t i = 0; i < run->all.count; i++) {
        const struct np_domain_disk *disk = &run->all.list[i];
        struct np_backup_disk *described = &result->disks[i];
        describe(run, disk, described);
        if (!described->stored)
            np_log_debug("disk %s is left out: %s", disk->target, described->why);
        else if (add_disk(run, disk, described, err) < 0)
            return -1;
        if (described->stored && disk->is_shareable)
            np_log_warning(
                "disk %s is shareable: what another guest or host writes to it while it is read makes "
                "a torn image, and nothing tells",
                disk->target);
    }
    if (run->disk_count == 0)
        return np_fail(err, NP_FAILED, "domain '%s' has no disk to back up", np_domain_name(run->domain));
    np_run_choose_reach(run);
    return 0;
}

/* ---- disks that came or went while the job began ---- */

static int has_changed(const struct np_domain_disk *disk, const char *how, struct np_error *err)
{
    np_error_where(err, disk->target, NP_NO_OFFSET);
    return np_fail(err, NP_FAILED, "disk %s %s while the backup began; run it again", disk->target, how);
}

/* Of a guest that runs, what its QEMU has is read, whatever it is named by now. */
static bool is_same_source(const struct np_run *run, const struct np_domain_disk *a,
                           const struct np_domain_disk *b)
{
    return run->reach != &np_reach_images ||
           strcmp(a->source != NULL ? a->source : "", b->source != NULL ? b->source : "") == 0;
}

static bool is_wanted(const struct np_run *run, const struct np_domain_disk *disk)
{
    return disk->can_backup && np_targets_want(&run->request->include, disk->target) &&
           !np_targets_contain(&run->request->exclude, disk->target);
}

int np_run_check_disks(struct np_run *run, struct np_error *err)
{
    NP_CLEANUP(np_domain_disks_clear) struct np_domain_disks now = {0};
    if (np_domain_disks(run->domain, &now, err) < 0)
        return -1;
    for (size_t i = 0; i < now.count; i++) {
        const struct np_domain_disk *disk = &now.list[i], *was = np_domain_disk_of(&run->all, disk->target);
        if (was == NULL && is_wanted(run, disk))
            return has_changed(disk, "was attached", err);
        if (was != NULL && is_wanted(run, was) && !is_same_source(run, was, disk))
            return has_changed(disk, "got another image", err);
    }
    for (size_t i = 0; i < run->all.count; i++)
        if (is_wanted(run, &run->all.list[i]) && np_domain_disk_of(&now, run->all.list[i].target) == NULL)
            return has_changed(&run->all.list[i], "was detached", err);
    return 0;
}

/* ---- disks that the domain has no longer ---- */

static bool is_listed(const struct np_backup_result *result, const char *target)
{
    for (size_t i = 0; i < result->disk_count; i++)
        if (strcmp(result->disks[i].target, target) == 0)
            return true;
    return false;
}

/* The newest point that holds the disk; NULL: none does. */
static const struct np_point *newest_with(const struct np_points *points, const char *target)
{
    for (size_t i = points->count; i > 0; i--) {
        const struct np_point_disk *disk = np_point_disk_of(&points->list[i - 1], target);
        if (disk != NULL && disk->stored)
            return &points->list[i - 1];
    }
    return NULL;
}

/* Room for more at the end; what points into the list follows it. */
static int make_room(struct np_run *run, size_t more, struct np_error *err)
{
    struct np_backup_result *result = run->result;
    struct np_backup_disk *disks = calloc(result->disk_count + more + 1, sizeof(*disks));
    if (disks == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot list the disks");
    memcpy(disks, result->disks, result->disk_count * sizeof(*disks));
    for (size_t i = 0; i < run->disk_count; i++)
        run->disks[i].result = disks + (run->disks[i].result - result->disks);
    free(result->disks);
    result->disks = disks;
    return 0;
}

int np_run_note_removed(struct np_run *run, struct np_error *err)
{
    struct np_backup_result *result = run->result;
    if (run->points.count == 0)
        return 0;
    const struct np_point *newest = &run->points.list[run->points.count - 1];
    if (make_room(run, newest->disk_count, err) < 0)
        return -1;
    for (size_t i = 0; i < newest->disk_count; i++) {
        const struct np_point_disk *disk = &newest->disks[i];
        const struct np_point *holder = newest_with(&run->points, disk->target);
        if (is_listed(result, disk->target) || holder == NULL)
            continue;
        struct np_backup_disk *noted = &result->disks[result->disk_count++];
        *noted = (struct np_backup_disk){.virtual_size = disk->virtual_size};
        snprintf(noted->target, sizeof(noted->target), "%s", disk->target);
        snprintf(noted->why, sizeof(noted->why),
                 "the domain has it no longer; point %s is the newest with it", holder->id);
    }
    return 0;
}
