/**
 * @file salvage.h
 * What is left of a damaged set or stream, for restore --salvage: a disk's streams are scanned instead of
 * being read by their indexes, and what they lost is listed beside the image.
 */
#ifndef NP_APP_SALVAGE_H
#define NP_APP_SALVAGE_H

#include "origin.h"

#include "nbdpull/restore.h"
#include "nbdpull/salvage.h"

#include <stdio.h>

/**
 * As np_origin_open, but point records that are no good are left out with a warning, and of a file only META
 * must be left. NP_DAMAGED when one of them may be the record of the point that is wanted ("latest", or a
 * time), NP_FAILED when that one cannot be read, and may be good.
 */
int np_salvage_origin(const char *path, const char *until, struct np_cancel *cancel, struct np_origin *origin,
                      struct np_error *err);

/** One stream on the way to a disk's point. */
struct np_salvaged_stream {
    const struct np_point_disk *record; /**< borrowed from the origin's points */
    char *name;                         /**< owned */
    char *why;                          /**< owned; NULL, or why nothing of it can be used */
    struct np_stream_input *file;
    struct np_salvage *salvage;
    struct np_losses *all; /**< owned; of one that is lost as a whole */
};

/** A disk of the origin's chosen point, as far as it is left. */
struct np_salvaged_disk {
    struct np_salvage_room room;
    struct np_salvaged_stream *list; /**< owned; newest first */
    size_t count;
    const char *base;  /**< point that the last one builds on, and whose record does not have it; or NULL */
    bool base_is_read; /**< there is a record of that point, without this disk */
    bool whole;        /**< none of its records was damaged or missing */
    bool sound;        /**< nor was anything else of its streams */
    const char *older; /**< the newest point before damage to its records that is whole, or NULL */
    bool digest_known; /**< that the disk had at the point */
    struct np_hash128 digest;
    struct np_chain_part *parts; /**< owned */
    struct np_stream **streams;  /**< owned array; entries NULL where nothing is left */
    uint16_t *ids;               /**< owned */
    struct np_chain *chain;      /**< owned; at its start */
};

/**
 * Scan all streams of a disk, each once from its beginning to its end.
 * @param work_dir directory for two files without a name
 * @param older    what is lost is the newest older version, not zeroes
 */
int np_salvage_open_disk(struct np_origin *origin, const char *target, bool older, const char *work_dir,
                         struct np_cancel *cancel, struct np_salvaged_disk *disk, struct np_error *err);

/** Begin its chain once more. */
int np_salvage_rewind_disk(struct np_salvaged_disk *disk, const char *target, bool older,
                           struct np_error *err);
void np_salvage_close_disk(struct np_salvaged_disk *disk); /**< takes a zeroed struct */

/** The list of what one disk lost, being written: a hidden file until it is placed. */
struct np_loss_report {
    const struct np_salvaged_disk *disk; /**< borrowed */
    int dir;                             /**< borrowed */
    char *path, *temporary;              /**< owned; temporary NULL: it is not there, or in place */
    char name[80];
    FILE *file;
    struct np_chain_step
        last; /**< only what LOST has; not written yet, for more may follow; of no length: none */
    uint64_t ranges;
    uint64_t lost_bytes, possible_bytes;
};

/**
 * @param dir    of the image, open; -1: nothing is written, only counted
 * @param origin whose chosen point it is
 */
int np_loss_report_open(struct np_loss_report *report, int dir, const char *dir_path,
                        const struct np_salvaged_disk *disk, const struct np_origin *origin,
                        const char *target, bool older, struct np_error *err);

/** Note one LOST step; a np_restore_lost. */
int np_loss_report_add(void *ctx, const struct np_chain_step *step, struct np_error *err);

/** No more come: write out what is still held back. */
int np_loss_report_end(struct np_loss_report *report, struct np_error *err);

/** Make it durable and give it its name. */
int np_loss_report_place(struct np_loss_report *report, struct np_error *err);
void np_loss_report_close(struct np_loss_report *report); /**< takes a zeroed struct */

#endif
