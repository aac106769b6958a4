/*
 * What a backup would read and store. It walks the same way as backup.c as far as the choice of levels, on a
 * set that is open for reading only; then the numbers come from libvirt, or from a job that is undone again.
 */
#include "backup_parts.h"

#include "clock.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define SAMPLE_BYTES (64u << 20) /* read for all disks of a level together, about */

static int open_set(struct np_run *run, struct np_error *err)
{
    const char *path = run->request->set;
    struct np_uuid uuid = np_domain_uuid(run->domain);
    bool found;
    if (path == NULL)
        return 0;
    if (np_set_look(path, &found, err) < 0)
        return -1;
    if (!found)
        return 0; /* as a new one: it has no points */
    if (np_set_open(path, NP_SET_READ, run->request->command, &run->set, err) < 0)
        return -1;
    return np_set_check_domain(run->set, np_domain_name(run->domain), &uuid, err);
}

/* What was chosen for another level. */
static void forget_choice(struct np_run *run)
{
    np_run_close_bases(run);
    np_points_clear(&run->points);
    free(NP_STEAL(run->disks));
    run->disk_count = 0;
    np_backup_result_clear(run->result);
}

static void describe(const struct np_backup_disk *from, struct np_estimate_disk *to)
{
    *to = (struct np_estimate_disk){.stored = from->stored, .virtual_size = from->virtual_size};
    snprintf(to->target, sizeof(to->target), "%s", from->target);
    snprintf(to->level, sizeof(to->level), "%s", from->level);
    snprintf(to->how, sizeof(to->how), "%s", from->how);
    snprintf(to->why, sizeof(to->why), "%s", from->why);
    snprintf(to->parent, sizeof(to->parent), "%s", from->parent);
}

static struct np_estimate_disk *estimate_of(const struct np_run *run, const struct np_run_disk *disk,
                                            struct np_estimate_level *level)
{
    return &level->disks[disk->result - run->result->disks];
}

/* ---- without a job ---- */

static int ask_libvirt(struct np_run *run, struct np_estimate_level *level, struct np_error *err)
{
    for (size_t i = 0; i < run->disk_count; i++) {
        struct np_estimate_disk *to = estimate_of(run, &run->disks[i], level);
        bool allocated;
        if (np_run_expect(run, &run->disks[i], &to->to_read, &allocated, err) < 0)
            return -1;
        to->source = allocated ? NP_ESTIMATE_ALLOCATION : NP_ESTIMATE_BITMAP;
    }
    return 0;
}

/* ---- in a job ---- */

static int measure(const struct np_run *run, struct np_run_disk *disk, struct np_estimate_disk *to,
                   struct np_error *err)
{
    const struct np_geometry geometry = np_run_geometry(disk);
    struct np_backup_sums sums;
    struct np_base base;
    bool based = disk->mode != NP_MODE_FULL;
    if (based && np_run_begin_base(disk, &base, err) < 0)
        return -1;
    if (np_backup_measure(&disk->source, &geometry, np_run_scope(disk), based ? &base : NULL,
                          run->request->cancel, &sums, err) < 0)
        return np_error_where(err, to->target, NP_NO_OFFSET);
    to->source = NP_ESTIMATE_EXTENTS;
    to->to_read = sums.data;
    to->zero = sums.zero;
    return 0;
}

static int sample(const struct np_run *run, struct np_run_disk *disk, uint64_t limit,
                  struct np_estimate_disk *to, struct np_error *err)
{
    const struct np_geometry geometry = np_run_geometry(disk);
    struct np_base base;
    bool based = disk->mode != NP_MODE_FULL;
    if (based && np_run_begin_base(disk, &base, err) < 0)
        return -1;
    const struct np_backup_options options = {
        .codec = run->request->codec,
        .level = run->request->codec_level,
        .scope = np_run_scope(disk),
        .base = based ? &base : NULL,
        .cancel = run->request->cancel,
    };
    if (np_backup_sample(&options, &disk->source, &geometry, to->to_read, limit, &to->sample, err) < 0)
        return np_error_where(err, to->target, NP_NO_OFFSET);
    if (to->sample.read > 0)
        to->expected =
            (uint64_t)((double)to->sample.stored / (double)to->sample.read * (double)to->to_read + 0.5);
    return 0;
}

/* Each disk's share of the sample is its share of what there is to read. */
static int ask_extents(const struct np_run *run, struct np_estimate_level *level, struct np_error *err)
{
    double total = 0;
    for (size_t i = 0; i < run->disk_count; i++) {
        struct np_estimate_disk *to = estimate_of(run, &run->disks[i], level);
        describe(run->disks[i].result, to); /* the job may have shown that a bitmap is wrong */
        if (measure(run, &run->disks[i], to, err) < 0)
            return -1;
        total += (double)to->to_read;
    }
    for (size_t i = 0; i < run->disk_count; i++) {
        struct np_estimate_disk *to = estimate_of(run, &run->disks[i], level);
        double share = total > 0 ? (double)to->to_read / total : 0;
        if (sample(run, &run->disks[i], (uint64_t)(share * SAMPLE_BYTES), to, err) < 0)
            return -1;
    }
    return 0;
}

static int look_into_job(struct np_run *run, struct np_estimate_level *level, struct np_error *err)
{
    struct np_cancel *cancel = run->request->cancel;
    if (np_run_name_workdir(run, err) < 0 || np_run_intend(run, err) < 0 ||
        np_run_make_workdir(run, err) < 0 || np_cancel_check(cancel, err) < 0 ||
        run->reach->begin(run, err) < 0)
        return -1;
    if (np_cancel_check(cancel, err) < 0 || run->reach->open(run, err) < 0 ||
        np_run_check_bitmaps(run, err) < 0 || ask_extents(run, level, err) < 0)
        return -1;
    np_run_close_sources(run);
    return run->reach->end(run, err);
}

static int ask_job(struct np_run *run, struct np_estimate_level *level, struct np_error *err)
{
    if (run->reach->check(run, err) < 0)
        return -1;
    int result = look_into_job(run, level, err);
    if (result < 0)
        np_run_blame_guard(run, err);
    if (!np_run_undo_job(run) && result == 0)
        return np_fail(err, NP_FAILED,
                       "domain '%s': the job of the estimate left something behind, the warnings name it",
                       np_domain_name(run->domain));
    return result;
}

/* ---- levels ---- */

static int choose(struct np_run *run, struct np_error *err)
{
    forget_choice(run);
    return np_run_select(run, err) < 0 ? -1 : np_run_choose_levels(run, err);
}

static int add_level(struct np_run *run, struct np_estimate_result *result, struct np_error *err)
{
    struct np_estimate_level *level = &result->levels[result->level_count++];
    snprintf(level->level, sizeof(level->level), "%s", run->result->level);
    level->disks = calloc(run->result->disk_count + 1, sizeof(*level->disks));
    if (level->disks == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot list the disks");
    level->disk_count = run->result->disk_count;
    for (size_t i = 0; i < level->disk_count; i++)
        describe(&run->result->disks[i], &level->disks[i]);
    return result->exact ? ask_job(run, level, err) : ask_libvirt(run, level, err);
}

static int estimate_level(struct np_run *run, struct np_estimate_result *result, struct np_error *err)
{
    return choose(run, err) < 0 ? -1 : add_level(run, result, err);
}

/* Nobody named a level: those that could be taken now and differ. A copy reads as a full does. */
static int estimate_levels(struct np_run *run, struct np_backup_request *request,
                           struct np_estimate_result *result, struct np_error *err)
{
    const char *from = request->from;
    request->require_bitmap = false;
    request->from = NULL;
    request->level = "full";
    if (estimate_level(run, result, err) < 0)
        return -1;

    request->level = "auto";
    if (choose(run, err) < 0)
        return -1;
    if (strcmp(run->result->level, "inc") != 0) {
        np_log_info("%s: only full and copy can be estimated",
                    request->set == NULL ? "no set was named (-o)" : "the set has no point to build on");
        return 0;
    }
    if (add_level(run, result, err) < 0)
        return -1;
    if (from == NULL)
        return 0;
    request->from = from;
    request->level = "diff";
    return estimate_level(run, result, err);
}

int np_app_estimate(const struct np_backup_request *request, bool exact, struct np_estimate_result *result,
                    struct np_error *err)
{
    double began = np_clock_seconds();
    struct np_backup_request asked = *request;
    NP_CLEANUP(np_backup_result_clear) struct np_backup_result chosen = {0};
    NP_CLEANUP(np_run_clear) struct np_run run = {.request = &asked, .result = &chosen, .estimate = true};

    *result = (struct np_estimate_result){.exact = exact};
    if (np_run_open_domain(&run, err) < 0 || open_set(&run, err) < 0)
        return -1;
    snprintf(result->domain, sizeof(result->domain), "%s", chosen.domain);
    result->domain_uuid = chosen.domain_uuid;
    int done =
        asked.level != NULL ? estimate_level(&run, result, err) : estimate_levels(&run, &asked, result, err);
    result->seconds = np_clock_seconds() - began;
    return done;
}

void np_estimate_result_clear(struct np_estimate_result *result)
{
    for (size_t i = 0; i < result->level_count; i++)
        free(result->levels[i].disks);
    *result = (struct np_estimate_result){0};
}
