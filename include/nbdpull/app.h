/**
 * @file app.h
 * The use cases, one a file in src/app. Only here do virt, nbd, set and the engines meet. A request's strings
 * are borrowed; a result is owned by the caller and may be read after a failure too.
 */
#ifndef NBDPULL_APP_H
#define NBDPULL_APP_H

#include "nbdpull/backup.h"
#include "nbdpull/names.h"
#include "nbdpull/set.h"
#include "nbdpull/verify.h"

/** How far long work has come; bytes of guest data, or of the stream when that is all that is known. */
struct np_progress {
    const char *target; /**< disk at work */
    size_t disk, disks; /**< its number from 0, of how many */
    uint64_t disk_done, disk_total;
    uint64_t done, total; /**< all disks; a total of 0 is not known */
};

/** Called often, from the thread that called the use case. */
struct np_progress_hook {
    void (*show)(void *ctx, const struct np_progress *progress); /**< NULL: nobody looks */
    void *ctx;
};

/** Disk target names from the command line. */
struct np_targets {
    const char **list; /**< owned list of borrowed names */
    size_t count;
};

/* ---- backup ---- */

/** Are the guest's file systems frozen while the job begins? */
enum np_quiesce {
    NP_QUIESCE_AUTO,    /**< if the agent in the guest does it */
    NP_QUIESCE_REQUIRE, /**< or it is an error */
    NP_QUIESCE_NO,
};

/**
 * Free space that scratch leaves. Ending a job takes some tens of milliseconds, in which a guest that
 * overwrites 1 GiB/s takes that many MiB more; and others need the file system too.
 */
#define NP_SCRATCH_RESERVE (256u << 20)

struct np_backup_request {
    const char *uri;     /**< NULL: libvirt's default */
    const char *domain;  /**< name, UUID or id */
    const char *level;   /**< "full", "inc", "diff", "copy" or "auto" */
    const char *from;    /**< diff: the point to start from, or "full"; NULL: the newest */
    bool scan;           /**< compare all disks with their last point, whatever the bitmaps say */
    bool require_bitmap; /**< anything but an increment by bitmap is an error (NP_BITMAP) */
    enum np_quiesce quiesce;
    unsigned keep_checkpoints; /**< newest ones that stay, at least the one that is needed */
    const char *set;           /**< directory; NULL: one stream to `out_fd` */
    int out_fd;
    struct np_targets include, exclude; /**< empty include: all that can take part */
    const char *scratch_dir;            /**< NULL: the default */
    uint64_t scratch_reserve;           /**< the backup ends itself before fewer bytes are free there */
    const struct np_codec *codec;
    int codec_level;
    const char *codec_text; /**< as asked, "zstd:3" */
    unsigned workers;
    uint64_t rate;       /**< bytes a second read from the guest's disks; 0: no limit */
    uint64_t threshold;  /**< skip (NP_SKIPPED) when fewer bytes would be stored; 0: never */
    const char *command; /**< for who meets our lock */
    struct np_cancel *cancel;
    struct np_progress_hook progress;
};

struct np_backup_disk {
    char target[NP_TARGET_MAX];
    bool stored; /**< false: left out, `why` says why */
    char level[NP_LEVEL_MAX], how[NP_HOW_MAX], why[NP_WHY_MAX];
    char parent[NP_POINT_ID_MAX]; /**< "" none */
    uint64_t virtual_size;
    struct np_backup_counts counts;
    uint64_t stream_bytes; /**< size of its file; 0 in a shared stream */
    double seconds;
    char file[128]; /**< relative to the set; "" in a shared stream */
    struct np_uuid stream_uuid;
};

struct np_backup_result {
    char domain[256];
    struct np_uuid domain_uuid;
    char level[NP_LEVEL_MAX];    /**< as it was done: "auto" has become full or inc */
    char guest[NP_GUEST_MAX];    /**< "" it ran; "off", "saved" */
    char point[NP_POINT_ID_MAX]; /**< "" until committed */
    char checkpoint[NP_CHECKPOINT_MAX];
    char time[NP_TIME_MAX];
    bool quiesced;         /**< the guest's file systems were frozen at that instant */
    uint64_t stream_bytes; /**< all streams */
    uint64_t
        scratch_bytes; /**< what the guest overwrote meanwhile, as the scratch files held it in the end */
    double seconds;
    struct np_backup_disk *disks; /**< owned */
    size_t disk_count;
};

/** One backup run: all of design's order from lock to commit, or nothing. */
int np_app_backup(const struct np_backup_request *request, struct np_backup_result *result,
                  struct np_error *err);
void np_backup_result_clear(struct np_backup_result *result); /**< takes a zeroed struct */

/* ---- estimate ---- */

/** Where the numbers of a disk come from. */
enum np_estimate_source {
    NP_ESTIMATE_BITMAP,     /**< the dirty bytes of its bitmap: what is stored, data and zero */
    NP_ESTIMATE_ALLOCATION, /**< what its images take on the host: about what is read */
    NP_ESTIMATE_EXTENTS,    /**< block status in a job: exactly what is read */
};

struct np_estimate_disk {
    char target[NP_TARGET_MAX];
    bool stored; /**< false: left out, `why` says why */
    char level[NP_LEVEL_MAX], how[NP_HOW_MAX], why[NP_WHY_MAX];
    char parent[NP_POINT_ID_MAX]; /**< "" none */
    uint64_t virtual_size;
    enum np_estimate_source source;
    uint64_t to_read;
    uint64_t zero;                  /**< EXTENTS: stored as zero without being read */
    struct np_backup_sample sample; /**< EXTENTS */
    uint64_t expected;              /**< EXTENTS: payload bytes in the stream, as far as the sample tells */
};

struct np_estimate_level {
    char level[NP_LEVEL_MAX];
    struct np_estimate_disk *disks; /**< owned */
    size_t disk_count;
};

#define NP_ESTIMATE_LEVELS 3

struct np_estimate_result {
    char domain[256];
    struct np_uuid domain_uuid;
    bool exact;
    double seconds;
    struct np_estimate_level levels[NP_ESTIMATE_LEVELS];
    size_t level_count;
};

/**
 * What a backup of this request would do, changing nothing: no point, no checkpoint, no byte of the set,
 * which may be locked or missing.
 * @param request as for np_app_backup; level NULL: full, and inc and (with `from`) diff as far as the set has
 *                a chain; threshold and progress are not looked at
 * @param exact   begin a short job without a checkpoint, ask for its extents, read a bounded sample, and undo
 *                it all; NP_BUSY when another job runs
 */
int np_app_estimate(const struct np_backup_request *request, bool exact, struct np_estimate_result *result,
                    struct np_error *err);
void np_estimate_result_clear(struct np_estimate_result *result); /**< takes a zeroed struct */

/* ---- restore ---- */

/** What a restore does with damage. */
enum np_salvage_mode {
    NP_SALVAGE_NO,    /**< it is an error, and nothing damaged is used */
    NP_SALVAGE_ZERO,  /**< what is lost, or may be, becomes zeroes */
    NP_SALVAGE_OLDER, /**< it becomes the newest older version that the chain has; zeroes where there is none
                       */
};

struct np_restore_request {
    const char *input;            /**< set directory, stream file, or "-" */
    int in_fd;                    /**< for "-" */
    const char *until;            /**< NULL: latest */
    const char *dir;              /**< target directory; made if its parent exists */
    bool dry_run;                 /**< only say what would be read and written; `dir` is not looked at */
    struct np_targets disks;      /**< empty: all of the point */
    const char *format;           /**< a name of the target table */
    const char *preallocation;    /**< NULL: off */
    uint64_t cluster_size;        /**< bytes; 0: the format's default */
    const char *compat;           /**< NULL: the format's default */
    bool verify;                  /**< read the images back and compare; not from a pipe */
    enum np_salvage_mode salvage; /**< not from a pipe, and not with verify */
    unsigned workers;
    uint64_t rate; /**< bytes a second written to the images; 0: no limit */
    struct np_cancel *cancel;
    struct np_progress_hook progress;
};

struct np_restored_disk {
    char target[NP_TARGET_MAX];
    char *path; /**< owned */
    uint64_t virtual_size, data_bytes, read_bytes;
    uint64_t zero_bytes, records; /**< of the plan; not known for a pipe */
    size_t streams;               /**< on the disk's path, not known for a pipe */
    double seconds;
    bool lost;            /**< by a salvage: it is not, or not proven to be, the disk of the point */
    bool damaged;         /**< by a salvage: something of its streams was, though it may have cost nothing */
    char *losses;         /**< owned; NULL, or the file that lists what was lost */
    uint64_t loss_ranges; /**< that it lists */
    uint64_t lost_bytes, possible_bytes; /**< lost; perhaps lost */
    char older[NP_POINT_ID_MAX]; /**< whose version, all of it, could stand there instead of zeroes; or "" */
};

struct np_restore_result {
    char domain[256];
    char point[NP_POINT_ID_MAX];
    char time[NP_TIME_MAX];
    struct np_names lost_files, possible_files; /**< XML, NVRAM: by a salvage, lost; perhaps lost */
    double seconds;
    struct np_restored_disk *disks; /**< owned */
    size_t disk_count;
    char **files; /**< owned: XML, NVRAM */
    size_t file_count;
};

/** @return 0, or -1: with NP_LOSSES all that could be restored is there (or, of a dry run, would be) */
int np_app_restore(const struct np_restore_request *request, struct np_restore_result *result,
                   struct np_error *err);
void np_restore_result_clear(struct np_restore_result *result); /**< takes a zeroed struct */

/* ---- verify ---- */

struct np_verify_request {
    const char *input;       /**< set directory, stream file, or "-" */
    int in_fd;               /**< for "-" */
    const char *until;       /**< only this point and what it builds on; NULL: all */
    struct np_targets disks; /**< only these; empty: all */
    enum np_verify_depth depth;
    unsigned sample;            /**< percent of the payloads to check, at least; 0: all */
    unsigned part;              /**< which part of them, from 1; 0: the one behind the last run's */
    const char *image, *format; /**< or only: is this image the one disk of the point? NULL: no */
    unsigned workers;
    struct np_cancel *cancel;
    struct np_progress_hook progress;
};

/** Damages that are told one by one; more are counted. */
#define NP_VERIFY_SHOWN 100

/** Something of the set that is wrong, or that could not be checked. */
struct np_verify_damage {
    bool unchecked;              /**< could not be checked */
    char point[NP_POINT_ID_MAX]; /**< whose stream or record it is in; "" */
    char file[128];              /**< relative to the set; the stream of a file; "" */
    char disk[NP_TARGET_MAX];    /**< "" */
    uint64_t pos, number;        /**< of the record; NP_NO_OFFSET: it is about none, or not known */
    uint64_t offset, length;     /**< guest bytes; NP_NO_OFFSET: about none; a length of 0: not known */
    char *message;               /**< owned; one line */
    bool *affects;               /**< owned; for each point of the result */
};

enum np_verify_state {
    NP_VERIFY_GOOD,     /**< as far as was looked */
    NP_VERIFY_AFFECTED, /**< some of its disks cannot be restored as they were */
    NP_VERIFY_UNKNOWN,  /**< something that it needs could not be checked */
    NP_VERIFY_UNASKED,  /**< not looked at */
};

/** A point whose record is lost, damaged or could not be read. */
struct np_verify_lost {
    char id[NP_POINT_ID_MAX];
    bool unchecked; /**< could not be read: it may be good */
};

struct np_verify_result {
    char domain[256];
    char image_point[NP_POINT_ID_MAX]; /**< whose disk an image was compared with; "": it has no id */
    struct np_points points;           /**< owned */
    bool of_set;                       /**< the points are a set's; else of one stream */
    struct np_verify_lost *lost;       /**< owned; points that are not among them; at most NP_VERIFY_SHOWN */
    size_t lost_count;
    enum np_verify_state *states;     /**< owned; for each of them */
    struct np_verify_damage *damages; /**< owned; by point, file, position; the first NP_VERIFY_SHOWN */
    size_t damage_count;              /**< of the list */
    uint64_t damaged, unchecked;      /**< all of them */
    struct np_verify_counts counts;
    uint64_t streams;
    unsigned part, parts; /**< of the payloads: part from 1; parts 1: all */
    double seconds;
};

/**
 * Check a set, a stream or a pipe, to its end whatever is found. Writes nothing.
 * @return 0: all that was looked at is good; -1: NP_DAMAGED, or NP_UNCHECKED when nothing was found to be
 *         damaged but something could not be checked; the result says what
 */
int np_app_verify(const struct np_verify_request *request, struct np_verify_result *result,
                  struct np_error *err);
void np_verify_result_clear(struct np_verify_result *result); /**< takes a zeroed struct */

/* ---- dump ---- */

/** A range of one record, or a run of granules in it. */
struct np_map_row {
    const char *point, *target;
    const char *kind;        /**< "data", "zero", "dead" */
    uint64_t offset, length; /**< guest bytes */
    const char *codec;       /**< of the record's payload; "" where there is none */
    uint64_t pos;            /**< of the record in its file */
    uint64_t size;           /**< of the record in its file */
};

struct np_dump_request {
    const char *input; /**< set directory, stream file, or "-" */
    int in_fd;
    const char *until;       /**< only this point; NULL: all */
    struct np_targets disks; /**< rows of these disks only; empty: all */
    int (*row)(void *ctx, const struct np_map_row *row, struct np_error *err); /**< NULL: no map */
    void *row_ctx;
    struct np_cancel *cancel;
};

struct np_dump_result {
    struct np_uuid set; /**< nil for a stream */
    char domain[256];
    struct np_uuid domain_uuid;
    struct np_points points; /**< owned */
};

/**
 * Points of a set, or the one of a stream; rows come before the result is complete. When the record of some
 * point is lost or no good, and none is asked for, the result holds the others, and NP_DAMAGED is the end of
 * it.
 */
int np_app_dump(const struct np_dump_request *request, struct np_dump_result *result, struct np_error *err);
void np_dump_result_clear(struct np_dump_result *result); /**< takes a zeroed struct */

/* ---- repair ---- */

struct np_repair_request {
    const char *input;        /**< set directory */
    struct np_targets points; /**< ids of points that were committed, says who asks */
    bool dry_run;             /**< only say what would be done */
    const char *command;      /**< for who meets our lock */
    struct np_cancel *cancel;
};

enum np_repair_action {
    NP_REPAIR_REBUILD, /**< file is written, from what the streams say */
    NP_REPAIR_ASIDE,   /**< file is moved to aside/ */
    NP_REPAIR_UNSURE,  /**< a run may have left it that did not come to its end; nothing is done */
    NP_REPAIR_LEFT,    /**< damage that cannot be repaired; nothing is done */
};

struct np_repair_step {
    enum np_repair_action action;
    char id[NP_POINT_ID_MAX]; /**< "" none */
    char file[128];           /**< relative to the set */
    char to[128];             /**< ASIDE, once it is done: where it is now */
    char *message;            /**< owned; why, one line */
    struct np_point point;    /**< owned; REBUILD: of the record; without disks for set.json */
};

struct np_repair_result {
    struct np_repair_step *steps; /**< owned; in the order in which they are done */
    size_t step_count;
    size_t done; /**< steps */
    size_t left; /**< those with NP_REPAIR_LEFT */
};

/**
 * Rebuild what a set has lost and its streams still say: point records and set.json. Nothing is ever deleted;
 * what is in the way, or of no use, goes to aside/.
 * @return 0; -1: NP_DAMAGED, after all steps, when something cannot be repaired
 */
int np_app_repair(const struct np_repair_request *request, struct np_repair_result *result,
                  struct np_error *err);
void np_repair_result_clear(struct np_repair_result *result); /**< takes a zeroed struct */

/* ---- guardian ---- */

/**
 * The guardian's own process: wait until the run that started it ends, and put right what it left if it was
 * killed. NP_USAGE when no run is there.
 * @param set     path of the set, or NULL
 * @param channel socket to the run
 * @param lock    the set's lock, inherited
 */
int np_app_guardian(const char *set, int channel, int lock, struct np_error *err);

/* ---- checkpoints ---- */

struct np_checkpoints_request {
    const char *uri;
    const char *domain;
    bool remove; /**< else they are only listed */
    struct np_cancel *cancel;
};

struct np_checkpoints_result {
    char domain[256];
    struct np_names names; /**< owned; those that were there */
    struct np_names lost;  /**< owned; those that libvirt has lost, whose bitmaps were in the disks' images */
    uint64_t removed;      /**< of both */
};

/**
 * List or remove all checkpoints of our prefix, of all sets. Those that libvirt has lost are listed only
 * while the domain is off. -1 too when a bitmap stays after removing, or when an image cannot be looked at.
 */
int np_app_checkpoints(const struct np_checkpoints_request *request, struct np_checkpoints_result *result,
                       struct np_error *err);
void np_checkpoints_result_clear(struct np_checkpoints_result *result); /**< takes a zeroed struct */

#endif
