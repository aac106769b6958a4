/**
 * @file backup_parts.h
 * The parts that the recipe in backup.c is made of, and the state they share: one backup run.
 */
#ifndef NP_BACKUP_PARTS_H
#define NP_BACKUP_PARTS_H

#include "guardian.h"
#include "origin.h"

#include "nbdpull/app.h"
#include "nbdpull/nbd.h"
#include "nbdpull/virt.h"

#define NP_CHECKPOINT_PREFIX "nbdpull-"
#define NP_RUN_BLOBS_MAX 4

/** How a disk is stored; decided before the first META is written. */
enum np_run_mode {
    NP_MODE_FULL,   /**< all of it */
    NP_MODE_BITMAP, /**< what the dirty bitmap names */
    NP_MODE_SCAN,   /**< what differs from the parent point */
};

/** A disk that this run stores. */
struct np_run_disk {
    const struct np_domain_disk *domain_disk; /**< borrowed from run.all */
    struct np_backup_disk *result;            /**< borrowed from run.result */
    char scratch[512];
    uint64_t dirty;  /**< mode BITMAP: what libvirt called dirty when the mode was chosen */
    bool checkpoint; /**< it is in the new checkpoint */
    enum np_run_mode mode;
    const struct np_point *parent; /**< the point it builds on, borrowed from run.points; NULL for a full */
    const struct np_point_disk *parent_disk;
    struct np_origin_disk base; /**< the parent's streams, open while the mode is not full */
    bool below_known; /**< before the job: which images there are below it, and that no others are read */
    bool has_below;
    struct np_hash128 below; /**< of what these were then */
    struct np_source source;
    uint64_t allocated; /**< what is to be read; 0 when nobody looks at the progress */
    struct np_uuid stream, state;
    struct np_point_disk point; /**< its part of the commit record */
};

/** A file that goes along: domain XML, checkpoint XML, NVRAM. */
struct np_blob {
    const char *name; /**< static */
    char *bytes;      /**< owned */
    size_t size;
};

struct np_run;
struct np_run_images;

/**
 * How a run reaches the disks: by a job of the QEMU that has them open, or, of a guest that is off, by their
 * images. Every member is there.
 */
struct np_reach {
    /** Refuse early what cannot be done. */
    int (*check)(struct np_run *run, struct np_error *err);
    /** Can an increment of the disk start from its parent's checkpoint? Notes what is dirty, if it is known.
     */
    int (*probe)(struct np_run *run, struct np_run_disk *disk, bool *usable, struct np_error *err);
    /** As np_run_expect, as far as it is known. */
    int (*expect)(struct np_run *run, struct np_run_disk *disk, uint64_t *bytes, bool *known,
                  struct np_error *err);
    /** What begin will do to the disks: see whether there is room, add it to the intent. The work directory
     * has its name. */
    int (*intend)(struct np_run *run, struct np_error *err);
    /** The instant of the point: the checkpoint is made, the exports are there. The work directory is. */
    int (*begin)(struct np_run *run, struct np_error *err);
    int (*open)(struct np_run *run, struct np_error *err); /**< the disks' sources */
    /** The normal end: all that was read is of that instant. The sources are closed. */
    int (*end)(struct np_run *run, struct np_error *err);
    /** Take back what begin did. @param deferred out; true: the checkpoint is left for the next run */
    int (*undo)(struct np_run *run, bool *deferred, struct np_error *err);
};

extern const struct np_reach np_reach_job;    /**< backup_job.c */
extern const struct np_reach np_reach_images; /**< backup_images.c */
extern const struct np_reach np_reach_paused; /**< backup_paused.c */

struct np_run {
    const struct np_backup_request *request;
    struct np_backup_result *result;
    const struct np_reach *reach; /**< static */
    bool estimate;                /**< nothing may be changed */
    struct np_virt *virt;
    struct np_domain *domain;
    struct np_domain_disks all;
    struct np_set *set;      /**< NULL: to standard output */
    struct np_points points; /**< the set's, before this run */
    char *scratch_place;     /**< absolute path of the directory that the next one lies in */
    char *workdir;           /**< its name, once it has one */
    bool workdir_made;
    int workdir_fd; /**< held while it is there; only if made */
    char socket[108];
    struct np_intent intent;
    bool intent_written;
    struct np_guardian guardian;
    bool start_tried;   /**< to start it, paused: it may be ours to end */
    bool guest_started; /**< it was off, and this run has started it, paused */
    bool frozen_before; /**< an earlier run's freeze is not undone yet */
    bool unsure;        /**< what became of job or checkpoint is not known: the guardian goes on */
    bool may_stand;     /**< np_run_may_stand has said so: checkpoint and intent stay */
    bool begin_tried;
    bool guest_ran; /**< it was not paused when the job began */
    bool frozen;    /**< by us, perhaps: to be thawed */
    double freeze_began;
    struct np_job *job;           /**< of a guest that runs */
    struct np_run_images *images; /**< of one that is off */
    struct np_guard *guard;       /**< NULL without a job */
    struct np_run_disk *disks;    /**< owned */
    size_t disk_count;
    struct np_uuid point;
    struct np_blob blobs[NP_RUN_BLOBS_MAX];
    size_t blob_count;
    uint64_t done;   /**< bytes read of the disks that are finished */
    uint64_t stored; /**< payload bytes written of the disks that are finished */
};

/* backup.c: what every run begins and ends with. */
/** Connect and find the domain, its disks, and how to reach them. */
int np_run_open_domain(struct np_run *run, struct np_error *err);
void np_run_clear(struct np_run *run); /**< takes a zeroed struct */

/* backup_select.c: which disks take part; fills result->disks and run->disks. */
int np_run_select(struct np_run *run, struct np_error *err);
/** The job has begun: NP_FAILED when a disk came, went or got another image since they were listed. */
int np_run_check_disks(struct np_run *run, struct np_error *err);
/** List, as left out, the disks of the newest point that the domain has no longer. The points are read. */
int np_run_note_removed(struct np_run *run, struct np_error *err);

/* backup_levels.c: what each disk builds on, and whether its bitmap may be believed. */
/** Before the job: find parents, check the streams below them, look for usable checkpoints. */
int np_run_choose_levels(struct np_run *run, struct np_error *err);
/** In the job: look for proofs against the bitmaps that are used. */
int np_run_check_bitmaps(struct np_run *run, struct np_error *err);
/** A cursor over the base, at its start. @param base out; its chain is owned by disk->base */
int np_run_begin_base(struct np_run_disk *disk, struct np_base *base, struct np_error *err);
void np_run_close_bases(struct np_run *run);
/** The grid of a disk: its parent's, whose chain it goes on. Its source is open. */
struct np_geometry np_run_geometry(const struct np_run_disk *disk);
/** Which granules of it are stored, by its mode. */
enum np_scope np_run_scope(const struct np_run_disk *disk);

/* backup_below.c: what a disk's image stands on. */
/** Look at the images below it, as they are now. */
int np_run_look_below(struct np_run *run, struct np_run_disk *disk, struct np_error *err);

/* backup_identity.c: names and META. */
int np_run_identify(struct np_run *run, struct np_error *err);
/** The META of disks [first, first + count) as one stream. @param meta out, owned */
int np_run_meta(const struct np_run *run, size_t first, size_t count, struct np_meta **meta,
                struct np_error *err);

/* backup_blobs.c: what goes along with the disks, read once the job runs. */
int np_run_collect_blobs(struct np_run *run, struct np_error *err);
void np_run_free_blobs(struct np_run *run);

/* backup_pull.c: from the exports to streams. */
int np_run_pull(struct np_run *run, struct np_error *err);

/* backup_intent.c: what is begun is written down, and watched over. */
/** Write the intent, and start the guardian. After this, and before anything else, the job may begin. */
int np_run_intend(struct np_run *run, struct np_error *err);
/** The run has undone all, or leaves the rest to the guardian. */
void np_run_dismiss_guardian(struct np_run *run);

/* backup_job.c: work directory, job, and their end. */
/** Names of directory, socket and scratch: they go into the intent before they exist. */
int np_run_name_workdir(struct np_run *run, struct np_error *err);
int np_run_make_workdir(struct np_run *run, struct np_error *err);
/** Give it to QEMU's user, whom a guest has once it is started. */
int np_run_give_workdir(struct np_run *run, struct np_error *err);

/* backup_paused.c: a guest that must be started to be read. */
/** A run on images becomes one on a started guest where a disk wants it; an estimate starts none. The disks
 * are selected. */
void np_run_choose_reach(struct np_run *run);
/** End the guest that this run has started, if nobody has resumed it; nothing otherwise. */
int np_run_stop_guest(struct np_run *run, struct np_error *err);

/* backup_undo.c */
void np_run_close_sources(struct np_run *run);
/**
 * A record that could neither be made durable nor be taken back: the point may stand, so it keeps its
 * checkpoint. The intent stays too, and the next run sees what became of it.
 */
bool np_run_may_stand(struct np_run *run);
/** End the job whatever became of it; its checkpoint, socket and scratch go too. Logs what it cannot, and
 * then gives false. */
bool np_run_undo_job(struct np_run *run);
/** After a failure: end the job, remove checkpoint, socket, scratch, and what was written. Logs what it
 * cannot. */
void np_run_undo(struct np_run *run);

/* scratch.c: the guest must not suffer from scratch files that have no space. */
/** Before anything is begun: is there enough? The directory's name is known. */
int np_run_check_scratch(struct np_run *run, struct np_error *err);
/** The job runs: watch the free space, and end the job when too little is left. */
int np_run_guard_begin(struct np_run *run, struct np_error *err);
/** Our streams have come to so many bytes. */
void np_run_guard_wrote(struct np_run *run, uint64_t bytes);
/** The guard is over when this returns. -1 with the reason to stop when it has ended the job. */
int np_run_guard_end(struct np_run *run, struct np_error *err);
/** After a failure: when the guard has ended the job, that is the error, whatever followed from it. */
void np_run_blame_guard(struct np_run *run, struct np_error *err);
void np_run_free_guard(struct np_run *run);
/** The job is over: resume the guest if it ran before and an I/O error has paused it meanwhile. */
void np_run_resume_guest(struct np_run *run);
/* backup_freeze.c: the guest's file systems. */
/** Before the intent is written: will they be frozen? */
int np_run_plan_freeze(struct np_run *run, struct np_error *err);
/** Freeze, begin the job, thaw. On -1 the guest is thawed too, or run->frozen says that it is not. */
int np_run_begin_frozen(struct np_run *run, struct np_error *err);

/* backup_expect.c: what a run would read, from what libvirt knows without a job. */
/**
 * @param allocated out; true: the disk is read whole or scanned, and the bytes are what its images take on
 * the host; false: they are what its bitmap calls dirty
 */
int np_run_expect(struct np_run *run, struct np_run_disk *disk, uint64_t *bytes, bool *allocated,
                  struct np_error *err);
/** --threshold: NP_SKIPPED when less would be stored. The levels are chosen. */
int np_run_check_threshold(struct np_run *run, struct np_error *err);

/* prune.c */
/** Remove our checkpoints that this set no longer needs. A failure is a warning: the point is committed. */
void np_prune(struct np_set *set, struct np_domain *domain, const struct np_domain_disks *disks,
              unsigned keep);

#endif
