/**
 * @file set.h
 * A backup set on disk: set.json, points, streams, readable config copies, intent, lock. The rules are in
 * ARCHITECTURE.md: a point record is written last; what no record mentions is debris.
 *
 * A set belongs to one thread; np_set_stream_open gives inputs that any thread may read.
 */
#ifndef NBDPULL_SET_H
#define NBDPULL_SET_H

#include "nbdpull/meta.h"
#include "nbdpull/names.h"
#include "nbdpull/stream.h"

struct np_set;

enum np_set_mode {
    NP_SET_READ,        /**< no lock, nothing is written */
    NP_SET_WRITE,       /**< locked by this process; must exist */
    NP_SET_CREATE,      /**< locked; made when the directory is missing or empty */
    NP_SET_REPAIR,      /**< locked; set.json may be missing or damaged: see set_repair.h */
    NP_SET_REPAIR_LOOK, /**< the same, but nothing is changed, and the set may be one that cannot be written
                         */
};

/**
 * Open a set.
 * @param path directory
 * @param command what this run does, kept in the lock file for the message of who comes second
 * @return 0, or -1: NP_BUSY when locked (pid, since when, command); NP_FAILED when the directory is not empty
 *         and no set, is a newer version, or cannot be written; NP_DAMAGED for a broken set.json
 */
int np_set_open(const char *path, enum np_set_mode mode, const char *command, struct np_set **set,
                struct np_error *err);
/**
 * Open for writing with a lock that was inherited (np_set_lock_fd of a process that has ended since).
 * @param lock taken, on success only. NP_FAILED when it is not the lock of the set at that path
 */
int np_set_adopt(const char *path, int lock, struct np_set **set, struct np_error *err);
void np_set_close(struct np_set *set); /**< unlocks; takes NULL */

/**
 * Look whether a set is there, without changing anything.
 * @param found out; false: nothing stands in the way of making one there
 * @return 0, or -1: what np_set_open would say of a directory that is not empty and no set
 */
int np_set_look(const char *path, bool *found, struct np_error *err);

/**
 * Take back what this np_set_open made, if it made the set and no point was committed: after a first backup
 * that failed nothing is left. Only np_set_close may follow.
 */
void np_set_abandon(struct np_set *set);

const char *np_set_path(const struct np_set *set);
const struct np_uuid *np_set_uuid(const struct np_set *set);

/**
 * 12 hexadecimal digits that name this set in checkpoint names: the first of its UUID, and others after each
 * time it was copied or moved (to another host, device or directory), so that a copy never takes the
 * original's checkpoints for its own. Borrowed.
 */
const char *np_set_short_id(const struct np_set *set);

/**
 * True when this np_set_open found the set elsewhere than the last writer left it. A writer has noted the new
 * place, so the next one gets false.
 */
bool np_set_moved(const struct np_set *set);

/**
 * Look whether the path that was given still leads to this set, and its areas are where they were found:
 * NP_FAILED when somebody has moved, deleted, unmounted or replaced them.
 */
int np_set_check_place(struct np_set *set, struct np_error *err);

/**
 * The descriptor that holds the lock, for a child that must keep the set locked after this process has died
 * (the guardian inherits it). -1 when open for reading. Borrowed.
 */
int np_set_lock_fd(const struct np_set *set);

/** The domain it is bound to: "" and nil before np_set_bind. Borrowed. */
const char *np_set_domain_name(const struct np_set *set);
const struct np_uuid *np_set_domain(const struct np_set *set);

/** Refuse when the set is bound to another domain (NP_FAILED, names both). Changes nothing. */
int np_set_check_domain(const struct np_set *set, const char *domain_name, const struct np_uuid *domain,
                        struct np_error *err);

/**
 * Bind a new set to a domain, or refuse when it is bound to another (NP_FAILED, names both). The UUID
 * decides; a new name of the same domain is noted.
 */
int np_set_bind(struct np_set *set, const char *domain_name, const struct np_uuid *domain,
                struct np_error *err);

/* ---- points ---- */

/** One disk in a point record. */
struct np_point_disk {
    char target[NP_TARGET_MAX];
    bool stored;              /**< false: the domain had it, this point does not (why says so) */
    char level[NP_LEVEL_MAX]; /**< of this disk: full, copy, inc, diff */
    char how[NP_HOW_MAX];     /**< all, bitmap, scan */
    char why[NP_WHY_MAX];
    char parent[NP_POINT_ID_MAX]; /**< "" none */
    struct np_uuid stream_uuid, state;
    uint64_t virtual_size;
    uint64_t stream_size; /**< bytes of the stream file */
    uint64_t data_bytes, zero_bytes, stored_bytes;
    char codec[NP_CODEC_NAME_MAX]; /**< as asked: "lz4", "zstd:3" */
    char file[128];                /**< relative to the set: "streams/0001.vda.nbp" */
    bool digest_known;
    struct np_hash128 digest;
    char checkpoint[NP_CHECKPOINT_MAX]; /**< "" when the disk is not in the point's checkpoint */
    char image[NP_IMAGE_MAX];
    uint64_t image_dev, image_ino;
    bool has_below;          /**< images below it were known when the point was made */
    struct np_hash128 below; /**< of what they were */
};

/** A committed restore point. */
struct np_point {
    char id[NP_POINT_ID_MAX]; /**< "0001" */
    struct np_uuid uuid;
    char level[NP_LEVEL_MAX];           /**< as requested */
    char time[NP_TIME_MAX];             /**< UTC: the instant the job began */
    char checkpoint[NP_CHECKPOINT_MAX]; /**< "" none */
    bool quiesced;
    char guest[NP_GUEST_MAX];    /**< "" it ran; "off", or "saved": off with a saved memory */
    struct np_point_disk *disks; /**< owned */
    size_t disk_count;
};

struct np_points {
    struct np_point *list; /**< owned, by rising id */
    size_t count;
    char *name;             /**< owned; whose they are, a set's or a stream's path, for messages; or NULL */
    struct np_names unread; /**< ids of records that could not be read, and may be good */
};

/** All committed points. A point record that is damaged is an error that names it. @param points out, owned
 */
int np_set_points(struct np_set *set, struct np_points *points, struct np_error *err);

/** Told of each point record that is no good. @param id of the point; NULL: more than one point is meant */
typedef void np_set_bad_point(void *ctx, const char *id, const struct np_error *err);

/** As np_set_points, but records that are damaged, or cannot be read, are told of and left out. */
int np_set_points_good(struct np_set *set, np_set_bad_point *bad, void *ctx, struct np_points *points,
                       struct np_error *err);
void np_points_clear(struct np_points *points); /**< takes a zeroed struct */
void np_point_clear(struct np_point *point);

/**
 * The point that --until means: a point id ("0003", "3"), a checkpoint name, "latest" (NULL too), or
 * a time ("2026-11-20 03:00", local unless it carries Z or an offset): the newest point not after it.
 * @param point out, borrowed from points. NP_FAILED: no such point (says which there are), or none at all
 */
int np_points_find(const struct np_points *points, const char *until, const struct np_point **point,
                   struct np_error *err);

/** Which id comes first? As memcmp. */
int np_point_id_compare(const char *a, const char *b);

/** Does the point have a record that could not be read? It is not one that is missing. */
bool np_points_is_unread(const struct np_points *points, const char *id);

/** The disk of that target in a point, stored or not; NULL when the point does not know it. Borrowed. */
const struct np_point_disk *np_point_disk_of(const struct np_point *point, const char *target);

/**
 * The records of one disk from a point back along its parents: what np_chain_open wants, newest first.
 * @param point  one of points
 * @param path   out, owned (free); its elements are borrowed from points
 * @param count  out, at least 1; the last one has no parent
 * @return 0, or -1: NP_FAILED when the point does not contain the disk; NP_DAMAGED when a parent is missing
 */
int np_points_path(const struct np_points *points, const struct np_point *point, const char *target,
                   const struct np_point_disk ***path, size_t *count, struct np_error *err);

/**
 * Reserve the id of the next point: higher than any that was ever used in this set, by points that were
 * removed and by failed runs too. Durable, and used up, when it returns.
 */
int np_set_next_id(struct np_set *set, char id[NP_POINT_ID_MAX], struct np_error *err);

/**
 * The commit: the record appears, durably, and with it the point. Streams and config were synced before. On
 * -1 there is no such point, and np_set_remove_point_files may follow. NP_FAILED, too, when the set is not at
 * its path any more, or a stream that was written since the last commit not under its name: until then they
 * are held open.
 */
int np_set_commit(struct np_set *set, const struct np_point *point, struct np_error *err);

/* ---- streams ---- */

/** A stream being written: streams/ID.TARGET.nbp, which no record mentions yet. */
struct np_stream_file;
int np_set_stream_create(struct np_set *set, const char *point_id, const char *target,
                         struct np_stream_file **file, struct np_error *err);
void np_stream_file_sink(struct np_stream_file *file, struct np_sink *sink);
const char *np_stream_file_name(const struct np_stream_file *file); /**< relative to the set; borrowed */
/** Write what is buffered, fsync file and directory. Fails when any append has failed. */
int np_stream_file_sync(struct np_stream_file *file, struct np_error *err);
/** Takes NULL. The file stays; without np_stream_file_sync before, its end may be missing. */
void np_stream_file_close(struct np_stream_file *file);

/** Open a stream of a point for reading, as an input that np_stream_open takes. Checks its size against the
 * record. */
struct np_stream_input;
int np_set_stream_open(struct np_set *set, const struct np_point_disk *disk, struct np_stream_input **file,
                       struct np_input_at *input, struct np_error *err);
void np_stream_input_close(struct np_stream_input *file); /**< takes NULL */

/** Remove streams and config of an id that was not committed; refused (NP_FAILED) when it was. Those of one
 * whose record was lost stay, and so do all, with a warning, when a stream of that id is of another set. */
int np_set_remove_point_files(struct np_set *set, const char *point_id, struct np_error *err);

/** Is there a point record of that id, good or not? @param has out */
int np_set_has_record(struct np_set *set, const char *point_id, bool *has, struct np_error *err);

/** Are there streams or config of that id that np_set_remove_point_files would remove? @param has out */
int np_set_has_point_files(struct np_set *set, const char *point_id, bool *has, struct np_error *err);

/**
 * Remove what interrupted runs left: temporary files, and streams and config of ids above the newest
 * committed one that have no record. Files of a lower id without a record are kept with a warning: there a
 * record was lost, which can be rebuilt from them. Files with foreign names are left alone, and, with a
 * warning, those of an id of which a stream is of another set.
 */
int np_set_remove_debris(struct np_set *set, struct np_error *err);

/** Remove temporary files only, and say so in the log: np_set_remove_debris does that too. */
int np_set_remove_unfinished(struct np_set *set, struct np_error *err);

/** A readable copy: config/ID/NAME, synced; replaces an older one. @param name checked: np_name_is_safe */
int np_set_config_write(struct np_set *set, const char *point_id, const char *name, const void *bytes,
                        size_t size, struct np_error *err);

/** *bytes NULL when there is none. @param bytes out, owned (free), NUL-terminated */
int np_set_config_read(struct np_set *set, const char *point_id, const char *name, char **bytes, size_t *size,
                       struct np_error *err);

/* ---- intent ---- */

/** An image of a guest that is off, which gets a bitmap of the checkpoint's name. */
struct np_intent_image {
    char target[NP_TARGET_MAX];
    char path[NP_IMAGE_MAX]; /**< absolute */
};
#define NP_SHORT_ID_MAX 16
#define NP_URI_MAX 1024

/** What a running backup has begun. */
struct np_intent {
    char point_id[NP_POINT_ID_MAX];     /**< "" for a run without a set: never in a set's own */
    char checkpoint[NP_CHECKPOINT_MAX]; /**< "" none */
    char home[NP_SHORT_ID_MAX];         /**< short id of its set then; "" not known, or without a set */
    char uri[NP_URI_MAX];
    struct np_uuid domain;
    char socket[108];
    char work_dir[256]; /**< private directory with socket and scratch, removed as a whole */
    char started[NP_TIME_MAX];
    bool guest_ran;     /**< it was not paused: if an I/O error has paused it since, it is to be resumed */
    bool freeze;        /**< the guest's file systems may be frozen by this run: to be thawed */
    bool guest_started; /**< the guest was off, and is started paused by this run: to be ended */
    bool by_images;     /**< the guest is off: no job is begun */
    struct np_intent_image *images; /**< owned: np_intent_clear; those that get a bitmap, by_images */
    size_t image_count;
};

void np_intent_clear(struct np_intent *intent); /**< takes a zeroed struct */

/** As JSON, for a guardian. @param text out, owned (free), NUL-terminated; size without the NUL */
int np_intent_encode(const struct np_intent *intent, char **text, size_t *size, struct np_error *err);
/** @param from for messages */
int np_intent_decode(const char *text, size_t size, const char *from, struct np_intent *intent,
                     struct np_error *err);

/** Durable before it returns. */
int np_set_intent_write(struct np_set *set, const struct np_intent *intent, struct np_error *err);
/** *found false when nothing was under way. NP_DAMAGED when what stands there is no intent. @param intent
 * out, owned: np_intent_clear, also on -1 */
int np_set_intent_read(struct np_set *set, struct np_intent *intent, bool *found, struct np_error *err);
int np_set_intent_clear(struct np_set *set, struct np_error *err);

/**
 * Checkpoints of attempts that failed, which must go as soon as the domain runs: while it is off they cannot
 * be deleted. NP_DAMAGED when what stands there is no list. @param checkpoints zeroed; filled
 */
int np_set_deferred_read(struct np_set *set, struct np_names *checkpoints, struct np_error *err);
/** Replace the list, durably. */
int np_set_deferred_write(struct np_set *set, const struct np_names *checkpoints, struct np_error *err);

#endif
