/*
 * What each disk of a run builds on. Each disk decides on its own; whatever speaks against an increment makes
 * it a scan, or a full, of this disk only, and says why.
 */
#include "backup_parts.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_chain_level(const char *level)
{
    return strcmp(level, "full") == 0 || strcmp(level, "inc") == 0;
}

/* ---- verdicts ---- */

static void say_why(struct np_run_disk *disk, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say_why(struct np_run_disk *disk, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(disk->result->why, sizeof(disk->result->why), format, args);
    va_end(args);
}

static void set_mode(const struct np_run *run, struct np_run_disk *disk, enum np_run_mode mode)
{
    static const char *const hows[] = {
        [NP_MODE_FULL] = "all", [NP_MODE_BITMAP] = "bitmap", [NP_MODE_SCAN] = "scan"};
    const char *level =
        mode == NP_MODE_FULL && strcmp(run->result->level, "copy") != 0 ? "full" : run->result->level;
    disk->mode = mode;
    snprintf(disk->result->how, sizeof(disk->result->how), "%s", hows[mode]);
    snprintf(disk->result->level, sizeof(disk->result->level), "%s", level);
    snprintf(disk->result->parent, sizeof(disk->result->parent), "%s",
             mode == NP_MODE_FULL ? "" : disk->parent->id);
}

/* All of the disk is stored; it builds on nothing. The text of why is there. */
static void make_full(struct np_run *run, struct np_run_disk *disk)
{
    struct np_origin origin = {.set = run->set, .fd = -1};
    np_origin_close_disk(&origin, &disk->base);
    disk->parent = NULL;
    disk->parent_disk = NULL;
    set_mode(run, disk, NP_MODE_FULL);
}

/* ---- before the job ---- */

/* May others build on this disk's part of the point? A diff never becomes a parent, nor does what it stored
 * in full because its base lacked the disk. */
static bool is_chain_part(const struct np_point *point, const struct np_point_disk *disk)
{
    return is_chain_level(point->level) && is_chain_level(disk->level);
}

/* The newest committed full or inc that contains the disk. */
static const struct np_point *newest_parent(const struct np_points *points, const char *target,
                                            bool only_full)
{
    for (size_t i = points->count; i > 0; i--) {
        const struct np_point_disk *disk = np_point_disk_of(&points->list[i - 1], target);
        if (disk != NULL && disk->stored && is_chain_part(&points->list[i - 1], disk) &&
            (!only_full || strcmp(disk->level, "full") == 0))
            return &points->list[i - 1];
    }
    return NULL;
}

static int asked_parent(const struct np_run *run, const char *target, const struct np_point **parent,
                        struct np_error *err)
{
    const char *from = run->request->from;
    if (from == NULL || strcmp(from, "full") == 0) {
        *parent = newest_parent(&run->points, target, from != NULL);
        return 0;
    }
    if (np_points_find(&run->points, from, parent, err) < 0)
        return -1;
    const struct np_point_disk *disk = np_point_disk_of(*parent, target);
    if (disk == NULL || !disk->stored)
        *parent = NULL; /* the point does not hold this disk: a full for it */
    else if (!is_chain_part(*parent, disk))
        return np_fail(err, NP_FAILED, "point %s is a %s of disk %s and keeps no checkpoint to start from",
                       (*parent)->id, (*parent)->level, target);
    return 0;
}

/* Every stream on the path is there, and the one that the record names. */
static int open_base(struct np_run *run, struct np_run_disk *disk, struct np_error *err)
{
    struct np_origin origin = {.set = run->set, .points = run->points, .point = disk->parent, .fd = -1};
    return np_origin_open_disk(&origin, disk->domain_disk->target, true, &disk->base, err);
}

static bool same_image(const struct np_domain_disk *now, const struct np_point_disk *then)
{
    return strcmp(now->source != NULL ? now->source : "", then->image) == 0 &&
           now->image_dev == then->image_dev && now->image_ino == then->image_ino;
}

/* A bitmap tells what was written to its own image, and nothing of those below. */
static bool same_below(const struct np_run_disk *now, const struct np_point_disk *then)
{
    return now->has_below == then->has_below &&
           (!now->has_below || np_hash128_equal(now->below, then->below));
}

/* Scan or bitmap? */
static int choose_how(struct np_run *run, struct np_run_disk *disk, struct np_error *err)
{
    const struct np_domain_disk *now = disk->domain_disk;
    const char *checkpoint = disk->parent_disk->checkpoint;
    bool usable = false;
    if (run->request->scan)
        say_why(disk, "--scan was asked for");
    else if (!now->can_bitmap)
        say_why(disk, "%.140s", now->why);
    else if (checkpoint[0] == '\0')
        say_why(disk, "point %s has no checkpoint of it", disk->parent->id);
    else if (!same_image(now, disk->parent_disk))
        say_why(disk, "the image is another one than at point %s", disk->parent->id);
    else if (disk->has_below && !disk->parent_disk->has_below)
        say_why(disk, "point %s does not say what was below it", disk->parent->id);
    else if (disk->below_known && !same_below(disk, disk->parent_disk))
        say_why(disk, "an image below it is another one than at point %s, or was changed", disk->parent->id);
    else if (run->reach->probe(run, disk, &usable, err) < 0)
        return -1;
    else if (!usable)
        say_why(disk, "the bitmap of checkpoint %s is lost or not usable", checkpoint);
    else if (!(usable = disk->below_known))
        say_why(disk, "it is not known which images the guest has open below it");
    else
        say_why(disk, "its bitmap since point %s is there", disk->parent->id);
    set_mode(run, disk, usable ? NP_MODE_BITMAP : NP_MODE_SCAN);
    return 0;
}

static int choose_for_disk(struct np_run *run, struct np_run_disk *disk, struct np_error *err)
{
    const char *target = disk->domain_disk->target;
    if (asked_parent(run, target, &disk->parent, err) < 0)
        return -1;
    if (disk->parent == NULL) {
        say_why(disk, "no point of a chain holds it yet");
        make_full(run, disk);
        return 0;
    }
    disk->parent_disk = np_point_disk_of(disk->parent, target);

    struct np_error broken = NP_ERROR_INIT;
    if (open_base(run, disk, &broken) < 0) {
        np_log_warning("disk %s: its chain is broken, so all of it is stored: %s", target, broken.message);
        say_why(disk, "the chain below point %s is broken", disk->parent->id);
        make_full(run, disk);
        return 0;
    }
    if (disk->domain_disk->size != 0 && disk->domain_disk->size < disk->parent_disk->virtual_size) {
        say_why(disk, "it is smaller than at point %s", disk->parent->id);
        make_full(run, disk);
        return 0;
    }
    return choose_how(run, disk, err);
}

static int check_required(const struct np_run *run, struct np_error *err)
{
    for (size_t i = 0; run->request->require_bitmap && i < run->disk_count; i++) {
        const struct np_run_disk *disk = &run->disks[i];
        if (disk->mode == NP_MODE_BITMAP)
            continue;
        np_error_where(err, disk->result->target, NP_NO_OFFSET);
        return np_fail(err, NP_BITMAP, "disk %s: no increment by bitmap is possible: %s (--require-bitmap)",
                       disk->result->target, disk->result->why);
    }
    return 0;
}

static bool has_chain(const struct np_run *run)
{
    for (size_t i = 0; i < run->disk_count; i++)
        if (newest_parent(&run->points, run->disks[i].domain_disk->target, false) != NULL)
            return true;
    return false;
}

static bool builds_on_points(const struct np_run *run)
{
    return strcmp(run->result->level, "inc") == 0 || strcmp(run->result->level, "diff") == 0;
}

int np_run_choose_levels(struct np_run *run, struct np_error *err)
{
    const char *asked = run->request->level;
    if (run->set != NULL && np_set_points(run->set, &run->points, err) < 0)
        return -1;
    for (size_t i = 0; run->set != NULL && i < run->disk_count; i++)
        if (np_run_look_below(run, &run->disks[i], err) < 0)
            return -1;
    bool chain = has_chain(run);
    if (strcmp(asked, "auto") == 0)
        asked = chain ? "inc" : "full";
    snprintf(run->result->level, sizeof(run->result->level), "%s", asked);
    for (size_t i = 0; i < run->disk_count; i++)
        run->disks[i].checkpoint =
            run->disks[i].domain_disk->can_bitmap && (is_chain_level(asked) && run->set != NULL);
    if (!builds_on_points(run)) {
        for (size_t i = 0; i < run->disk_count; i++)
            set_mode(run, &run->disks[i], NP_MODE_FULL);
        return check_required(run, err);
    }
    if (!chain && run->request->set == NULL)
        return np_fail(err, NP_FAILED,
                       "level %s builds on a point of a set: name the set with -o; without one only full and "
                       "copy can be estimated",
                       asked);
    if (!chain)
        return np_fail(
            err, NP_FAILED,
            "%s: level %s needs a full to build on, and the set has none of these disks; use -l full or "
            "-l auto first",
            run->request->set, asked);
    for (size_t i = 0; i < run->disk_count; i++)
        if (choose_for_disk(run, &run->disks[i], err) < 0)
            return -1;
    return check_required(run, err);
}

/* ---- in the job ---- */

int np_run_begin_base(struct np_run_disk *disk, struct np_base *base, struct np_error *err)
{
    if (np_origin_rewind_disk(&disk->base, disk->domain_disk->target, true, err) < 0)
        return -1;
    *base = (struct np_base){
        .chain = disk->base.chain,
        .size = disk->parent_disk->virtual_size,
        .digest_known = disk->parent_disk->digest_known,
        .digest = disk->parent_disk->digest,
    };
    return 0;
}

struct np_geometry np_run_geometry(const struct np_run_disk *disk)
{
    struct np_geometry geometry = {disk->source.size, NP_CHUNK_DEFAULT, NP_GRANULE_DEFAULT};
    if (disk->base.chain != NULL) {
        geometry.chunk = np_chain_geometry(disk->base.chain)->chunk;
        geometry.granule = np_chain_geometry(disk->base.chain)->granule;
    }
    return geometry;
}

enum np_scope np_run_scope(const struct np_run_disk *disk)
{
    static const enum np_scope scopes[] = {
        [NP_MODE_FULL] = NP_SCOPE_ALL, [NP_MODE_BITMAP] = NP_SCOPE_DIRTY, [NP_MODE_SCAN] = NP_SCOPE_SCAN};
    return scopes[disk->mode];
}

/* Other disks that had a bitmap of the same name at the parent point: the image may have become one of
 * theirs. */
struct rivals {
    struct np_base *bases;         /* owned; their chains are the run's, or of `opened` */
    struct np_origin_disk *opened; /* owned: those that the run does not build on */
    size_t count, opened_count;
};

static void rivals_clear(struct rivals *rivals)
{
    struct np_origin origin = {.fd = -1};
    for (size_t i = 0; i < rivals->opened_count; i++)
        np_origin_close_disk(&origin, &rivals->opened[i]);
    free(rivals->opened);
    free(rivals->bases);
}

/* The chain of that disk at that point, if the run has it open. Borrowed */
static struct np_chain *chain_in_run(const struct np_run *run, const struct np_point *point,
                                     const struct np_point_disk *disk)
{
    for (size_t i = 0; i < run->disk_count; i++)
        if (run->disks[i].parent == point && run->disks[i].parent_disk == disk)
            return run->disks[i].base.chain;
    return NULL;
}

/* @return 1, or 0 when one's chain is broken: then nothing is told from it, and why says so; -1 error */
static int find_rivals(const struct np_run *run, struct np_run_disk *disk, struct rivals *rivals,
                       struct np_error *err)
{
    const struct np_point *point = disk->parent;
    rivals->bases = calloc(point->disk_count, sizeof(*rivals->bases));
    rivals->opened = calloc(point->disk_count, sizeof(*rivals->opened));
    if (rivals->bases == NULL || rivals->opened == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "disk %s", disk->domain_disk->target);
    for (size_t i = 0; i < point->disk_count; i++) {
        const struct np_point_disk *other = &point->disks[i];
        struct np_origin origin = {.set = run->set, .points = run->points, .point = point, .fd = -1};
        struct np_error broken = NP_ERROR_INIT;
        if (!other->stored || other == disk->parent_disk ||
            strcmp(other->checkpoint, disk->parent_disk->checkpoint) != 0)
            continue;
        struct np_chain *chain = chain_in_run(run, point, other);
        if (chain == NULL) {
            struct np_origin_disk *opened = &rivals->opened[rivals->opened_count];
            if (np_origin_open_disk(&origin, other->target, true, opened, &broken) < 0) {
                say_why(disk, "it cannot be told from disk %s, whose chain is broken", other->target);
                np_log_warning(
                    "disk %s: %s, so the bitmap is not believed and the disk is compared with point %s: %s",
                    disk->domain_disk->target, disk->result->why, point->id, broken.message);
                return 0;
            }
            rivals->opened_count++;
            chain = opened->chain;
        }
        rivals->bases[rivals->count++] = (struct np_base){.chain = chain, .size = other->virtual_size};
    }
    return 1;
}

static int check_bitmap(struct np_run *run, struct np_run_disk *disk, struct np_error *err)
{
    struct np_base base;
    struct np_trust trust;
    NP_CLEANUP(rivals_clear) struct rivals rivals = {.count = 0};
    const struct np_geometry geometry = np_run_geometry(disk);
    struct np_uuid random; /* new for each run: what one sample has missed, the next may see */
    int found = find_rivals(run, disk, &rivals, err);
    if (found <= 0) {
        set_mode(run, disk, NP_MODE_SCAN);
        return found;
    }
    if (np_uuid_random(&random, err) < 0 || np_run_begin_base(disk, &base, err) < 0 ||
        np_backup_trust(&disk->source, &geometry, &base, rivals.bases, rivals.count,
                        np_get_le64(random.bytes), run->request->cancel, &trust, err) < 0)
        return -1;
    if (!trust.believed) {
        bool caused = trust.cause.class != NP_OK;
        np_log_warning("disk %s: %s (at byte %ju): the bitmap is not believed and the disk is compared with "
                       "point %s%s%s",
                       disk->domain_disk->target, trust.why, (uintmax_t)trust.offset, disk->parent->id,
                       caused ? ": " : "", caused ? trust.cause.message : "");
        say_why(disk, "%.120s", trust.why);
        set_mode(run, disk, NP_MODE_SCAN);
    }
    return 0;
}

/* A walk over the whole base proves its index before the first META is written. */
static int check_index(struct np_run_disk *disk, struct np_cancel *cancel, struct np_error *err)
{
    struct np_base base;
    struct np_chain_step step;
    if (np_run_begin_base(disk, &base, err) < 0)
        return -1;
    for (int more; (more = np_chain_next(base.chain, &step, err)) != 0;)
        if (more < 0 || np_cancel_check(cancel, err) < 0)
            return -1;
    return 0;
}

/* What the server says is outside data; to a reader of streams this would be damage. */
static int check_size(const struct np_run_disk *disk, struct np_error *err)
{
    const struct np_geometry geometry = np_run_geometry(disk);
    struct np_error why = NP_ERROR_INIT;
    if (np_geometry_check(&geometry, &why) == 0)
        return 0;
    np_fail(err, NP_FAILED, "disk %s cannot be stored: %s", disk->domain_disk->target, why.message);
    return np_error_where(err, disk->domain_disk->target, NP_NO_OFFSET);
}

static int check_base(struct np_run *run, struct np_run_disk *disk, struct np_error *err)
{
    if (disk->mode == NP_MODE_BITMAP && check_bitmap(run, disk, err) < 0)
        return -1;
    return disk->mode == NP_MODE_SCAN ? check_index(disk, run->request->cancel, err) : 0;
}

/*
 * What failed may have been the guest's disk, which a full would not read either. @param why what failed; of
 * the base if it is that
 */
static bool is_by_base(const struct np_run *run, struct np_run_disk *disk, struct np_error *why)
{
    struct np_error again = NP_ERROR_INIT;
    if (why->class != NP_FAILED)
        return why->class == NP_DAMAGED;
    if (check_index(disk, run->request->cancel, &again) == 0)
        return false;
    *why = again;
    return why->class == NP_FAILED || why->class == NP_DAMAGED;
}

static int check_disk(struct np_run *run, struct np_run_disk *disk, struct np_error *err)
{
    if (check_size(disk, err) < 0)
        return -1;
    if (disk->mode == NP_MODE_FULL)
        return 0;
    if (disk->source.size < disk->parent_disk->virtual_size) {
        say_why(disk, "it is smaller than at point %s", disk->parent->id);
        make_full(run, disk);
        return 0;
    }
    struct np_error why = NP_ERROR_INIT;
    if (check_base(run, disk, &why) == 0)
        return 0;
    if (!is_by_base(run, disk, &why)) {
        *err = why;
        np_error_where(err, disk->domain_disk->target, NP_NO_OFFSET);
        return np_error_context(err, "disk %s", disk->domain_disk->target);
    }
    const char *is = why.class == NP_DAMAGED ? "is damaged" : "cannot be read";
    np_log_warning("disk %s: the index of its chain %s, so all of it is stored: %s",
                   disk->domain_disk->target, is, why.message);
    say_why(disk, "the index of point %s %s", disk->parent->id, is);
    make_full(run, disk);
    return 0;
}

int np_run_check_bitmaps(struct np_run *run, struct np_error *err)
{
    for (size_t i = 0; i < run->disk_count; i++)
        if (check_disk(run, &run->disks[i], err) < 0)
            return -1;
    return check_required(run, err);
}

void np_run_close_bases(struct np_run *run)
{
    struct np_origin origin = {.set = run->set, .fd = -1};
    for (size_t i = 0; i < run->disk_count; i++)
        np_origin_close_disk(&origin, &run->disks[i].base);
}
