/* The steps of a restore that takes what is left of a damaged set or stream. */
#include "clock.h"
#include "restore_parts.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/log.h"
#include "nbdpull/virt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool older(const struct np_restore *restore)
{
    return restore->request->salvage == NP_SALVAGE_OLDER;
}

int np_salvage_survey(struct np_restore *restore, struct np_origin *origin, const struct np_point_disk *disk,
                      struct np_error *err)
{
    const char *work_dir = restore->dir.path != NULL ? restore->dir.path : getenv("TMPDIR");
    struct np_salvaged_disk *salvaged = &restore->salvaged[restore->count];
    char report[80];
    if (np_salvage_open_disk(origin, disk->target, older(restore), work_dir != NULL ? work_dir : "/var/tmp",
                             restore->request->cancel, salvaged, err) < 0)
        return -1;
    snprintf(report, sizeof(report), "%s.losses", disk->target);
    if ((!restore->request->dry_run && np_restore_refuse_existing(&restore->dir, report, err) < 0) ||
        np_restore_note_disk(restore, disk->target, 0, np_chain_geometry(salvaged->chain), err) < 0) {
        np_salvage_close_disk(salvaged);
        return -1;
    }
    if (np_salvage_files_take(restore, origin->point, salvaged, err) < 0)
        return -1;
    return np_restore_survey_chain(restore, salvaged->chain, salvaged->count, err);
}

static void note_losses(const struct np_restore *restore, const struct np_salvaged_disk *disk,
                        const struct np_loss_report *report, struct np_restored_disk *result)
{
    result->loss_ranges = report->ranges;
    result->lost_bytes = report->lost_bytes;
    result->possible_bytes = report->possible_bytes;
    if (!older(restore) && report->possible_bytes > 0 && disk->older != NULL)
        snprintf(result->older, sizeof(result->older), "%s", disk->older);
}

/*
 * Was anything lost after all? What is written may add up to the digest of the disk as it was: then it is the
 * disk, whatever was damaged on the way. Without a digest only streams without damage are proof.
 */
static int judge(struct np_restore *restore, size_t i, const struct np_restore_counts *counts,
                 struct np_error *err)
{
    const struct np_salvaged_disk *disk = &restore->salvaged[i];
    struct np_loss_report *report = &restore->reports[i];
    struct np_restored_disk *result = &restore->result->disks[i];
    if (np_loss_report_end(report, err) < 0)
        return -1;
    bool exact = disk->digest_known ? np_hash128_equal(disk->digest, counts->digest)
                                    : disk->whole && report->ranges == 0;
    result->damaged = !disk->sound;
    if (exact && result->damaged)
        np_log_info("disk %s: its streams are damaged, but the image is exact: %s", result->target,
                    disk->digest_known ? "it adds up to the digest of the disk at that point"
                                       : "all records of the disk are there, and good");
    if (exact) {
        np_loss_report_close(report);
        return 0;
    }
    result->lost = true;
    note_losses(restore, disk, report, result);
    return 0;
}

int np_salvage_disk_write(struct np_restore *restore, struct np_origin *origin, size_t i,
                          struct np_error *err)
{
    struct np_restored_disk *result = &restore->result->disks[i];
    struct np_salvaged_disk *disk = &restore->salvaged[i];
    struct np_loss_report *report = &restore->reports[i];
    struct np_restore_watch watch = {.restore = restore, .disk = i, .disk_total = result->data_bytes};
    struct np_restore_options options = np_restore_engine_options(restore, &watch);
    struct np_restore_counts counts;
    double began = np_clock_seconds();

    options.lost = np_loss_report_add;
    options.lost_ctx = report;
    if (np_salvage_rewind_disk(disk, result->target, older(restore), err) < 0 ||
        np_loss_report_open(report, restore->dir.fd, restore->dir.path, disk, origin, result->target,
                            older(restore), err) < 0 ||
        np_restore_chain(&options, disk->chain, disk->streams, disk->ids, &restore->disks[i], &counts, err) <
            0)
        return -1;
    result->read_bytes = counts.read;
    result->seconds = np_clock_seconds() - began;
    restore->done += counts.written;
    if (judge(restore, i, &counts, err) < 0)
        return -1;
    np_salvage_close_disk(disk);
    return 0;
}

/* Of a dry run: without the bytes there is no digest, so what is damaged counts as lost. */
int np_salvage_count(struct np_restore *restore, struct np_origin *origin, struct np_error *err)
{
    for (size_t i = 0; i < restore->count; i++) {
        struct np_restored_disk *result = &restore->result->disks[i];
        struct np_salvaged_disk *disk = &restore->salvaged[i];
        struct np_loss_report *report = &restore->reports[i];
        struct np_chain_step step;
        if (np_salvage_rewind_disk(disk, result->target, older(restore), err) < 0 ||
            np_loss_report_open(report, -1, NULL, disk, origin, result->target, older(restore), err) < 0)
            return -1;
        for (int more; (more = np_chain_next(disk->chain, &step, err)) != 0;)
            if (more < 0 || np_cancel_check(restore->request->cancel, err) < 0 ||
                (step.kind == NP_CHAIN_LOST && np_loss_report_add(report, &step, err) < 0))
                return -1;
        if (np_loss_report_end(report, err) < 0)
            return -1;
        result->lost = report->ranges > 0 || (!disk->whole && !disk->digest_known);
        result->damaged = !disk->sound;
        note_losses(restore, disk, report, result);
        if (result->damaged && !result->lost)
            np_log_info("disk %s: its streams are damaged, but no loss was found", result->target);
    }
    return 0;
}

/* "5 bytes are lost, and 7 more may be, in 2 ranges" */
static void tell_bytes(const struct np_restored_disk *disk, char *text, size_t room)
{
    const uintmax_t lost = disk->lost_bytes, possible = disk->possible_bytes, ranges = disk->loss_ranges;
    int used =
        lost == 0 ? snprintf(text, room, "%ju bytes may be lost, if what is missing held them", possible)
        : possible == 0 ? snprintf(text, room, "%ju bytes are lost", lost)
                        : snprintf(text, room, "%ju bytes are lost, and %ju more may be", lost, possible);
    snprintf(text + used, room - (size_t)used, ", in %ju range%s", ranges, ranges > 1 ? "s" : "");
}

/* What a disk lost, as a clause. @return its length */
static size_t tell_disk(const struct np_restored_disk *disk, char *text, size_t room)
{
    char bytes[160] = "no loss was found, and yet nothing proves it exact";
    if (disk->loss_ranges > 0)
        tell_bytes(disk, bytes, sizeof(bytes));
    int used = snprintf(text, room, "disk %s: %s", disk->target, bytes);
    if (disk->losses != NULL && (size_t)used < room)
        used += snprintf(text + used, room - (size_t)used, ", listed in %s", disk->losses);
    if (disk->older[0] != '\0' && (size_t)used < room)
        used +=
            snprintf(text + used, room - (size_t)used,
                     " (as zeroes; with --salvage=older as in point %s, all of which is there)", disk->older);
    return (size_t)used;
}

/* What a file has suffered, as a clause behind those that are there. */
static int note_file(struct np_restore_result *result, const char *name, enum np_file_fate fate, char *text,
                     size_t room, size_t *used, struct np_error *err)
{
    if (fate == NP_FILE_NOT_LOST)
        return 0;
    *used += (size_t)snprintf(text + *used, room - *used, "%sthe file %s of the point %s lost",
                              *used > 0 ? "; " : "", name, fate == NP_FILE_LOST ? "is" : "may be");
    return np_names_add(fate == NP_FILE_LOST ? &result->lost_files : &result->possible_files, name, err);
}

int np_salvage_tell(struct np_restore *restore, struct np_error *err)
{
    struct np_restore_result *result = restore->result;
    char text[NP_ERROR_MESSAGE_MAX / 2] = "";
    size_t used = 0;
    /* The files first: there is always room for them, and disks may be many. */
    if (note_file(result, "domain.xml", np_salvage_xml_fate(restore), text, sizeof(text), &used, err) < 0 ||
        note_file(result, "nvram", np_salvage_nvram_fate(restore), text, sizeof(text), &used, err) < 0)
        return -1;
    for (size_t i = 0; i < restore->count && used < sizeof(text); i++) {
        const struct np_restored_disk *disk = &result->disks[i];
        if (!disk->lost)
            continue;
        np_error_where(err, disk->target, NP_NO_OFFSET);
        if (used > 0)
            used += (size_t)snprintf(text + used, sizeof(text) - used, "; ");
        if (used < sizeof(text))
            used += tell_disk(disk, text + used, sizeof(text) - used);
    }
    if (used == 0)
        return 0;
    return np_fail(err, NP_LOSSES, "%s with losses: %s",
                   restore->request->dry_run ? "it would be restored" : "restored", text);
}

/* Before the images: none with losses stands there without its list. */
int np_salvage_place_reports(struct np_restore *restore, struct np_error *err)
{
    for (size_t i = 0; i < restore->count; i++) {
        struct np_loss_report *report = &restore->reports[i];
        if (report->file == NULL)
            continue;
        if (np_loss_report_place(report, err) < 0)
            return -1;
        restore->result->disks[i].losses = NP_STEAL(report->path);
    }
    return 0;
}
