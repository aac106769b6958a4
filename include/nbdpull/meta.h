/**
 * @file meta.h
 * META: what a stream says of itself and of its restore point, as JSON. Source: FORMAT.md, "META".
 */
#ifndef NBDPULL_META_H
#define NBDPULL_META_H

#include "nbdpull/hash.h"
#include "nbdpull/uuid.h"
#include "nbdpull/window.h"

#define NP_TARGET_MAX 64     /**< target name of a disk, with NUL */
#define NP_POINT_ID_MAX 16   /**< "0003", with NUL */
#define NP_CHECKPOINT_MAX 96 /**< checkpoint name, with NUL */
#define NP_TIME_MAX 32       /**< RFC 3339 in UTC, fixed width: "2026-11-20T03:00:00Z", with NUL */
#define NP_WHY_MAX 160       /**< a sentence without its dot, with NUL */
#define NP_LEVEL_MAX 8       /**< "full", "copy", "inc", "diff", with NUL */
#define NP_HOW_MAX 8         /**< "all", "bitmap", "scan", "merge", with NUL */
#define NP_GUEST_MAX 8       /**< state of the guest: "off", "saved"; "" it ran; with NUL */
#define NP_CODEC_NAME_MAX 16
#define NP_IMAGE_MAX 1024

/** One disk of the restore point, in this stream or elsewhere or left out. */
struct np_meta_point_disk {
    char target[NP_TARGET_MAX];
    struct np_uuid state;  /**< nil when the point holds no state of it */
    struct np_uuid stream; /**< nil: not stored in this point */
    char why[NP_WHY_MAX];  /**< why it is stored as it is, or why it was left out */
};

/** A disk whose records are in this stream. */
struct np_meta_disk {
    uint16_t id; /**< header.disk of its records */
    char target[NP_TARGET_MAX];
    struct np_geometry geometry;
    uint32_t logical_block, physical_block; /**< bytes; 0 unknown */
    char source_format[NP_CODEC_NAME_MAX];  /**< "qcow2", "raw", ... */
    char level[NP_LEVEL_MAX];               /**< of this disk */
    char how[NP_HOW_MAX];
    char why[NP_WHY_MAX];
    char image[NP_IMAGE_MAX];                /**< image identity: resolved source, may be "" */
    uint64_t image_dev, image_ino;           /**< 0, 0 where not local */
    char checkpoint[NP_CHECKPOINT_MAX];      /**< "" none */
    char base_checkpoint[NP_CHECKPOINT_MAX]; /**< "" none */
    char base_point[NP_POINT_ID_MAX];        /**< "" none */
    struct np_uuid state;                    /**< of the disk's content at this point */
    struct np_uuid base_state;               /**< nil: none, the disk is whole in this stream */
    uint64_t base_size;
    bool base_digest_known;
    struct np_hash128 base_digest;
};

/** Everything a META says. Made with np_meta_new or np_meta_parse, freed with np_meta_free. */
struct np_meta {
    struct np_uuid stream;
    struct np_uuid set; /**< nil for a stream to standard output */
    char tool[48], codec_lib[64];
    char created[NP_TIME_MAX];
    char domain_name[256];
    struct np_uuid domain;
    char point_id[NP_POINT_ID_MAX]; /**< "" for a stream to standard output */
    struct np_uuid point;
    char level[NP_LEVEL_MAX]; /**< as requested */
    char checkpoint[NP_CHECKPOINT_MAX];
    bool quiesced;
    char guest[NP_GUEST_MAX];               /**< "" it ran (or nobody said) */
    struct np_meta_point_disk *point_disks; /**< owned */
    size_t point_disk_count;
    struct np_meta_disk *disks; /**< owned; at least 1, ids rising */
    size_t disk_count;
    struct np_uuid *made_from; /**< owned; only after a merge */
    size_t made_from_count;
};

/** Zeroed, with room for the two lists. NULL with NP_FAILED when out of memory. */
struct np_meta *np_meta_new(size_t disks, size_t point_disks, struct np_error *err);
void np_meta_free(struct np_meta *meta); /**< takes NULL */
struct np_meta *np_meta_copy(const struct np_meta *meta, struct np_error *err);

/**
 * JSON text, keys in FORMAT.md's order, deterministic.
 * @param text out, owned (free), NUL-terminated
 * @return 0, or -1: NP_FAILED, also when np_meta_parse would refuse it (nil UUIDs, a disk that is not in
 *         point_disks with the same state and this stream, a time of another form, ...)
 */
int np_meta_format(const struct np_meta *meta, char **text, struct np_error *err);

/**
 * Parse hostile text: size at most 1 MiB, depth at most 8, no duplicate keys, integers below 2^53, names in
 * `requires` known, geometry checked, ids and targets unique, targets safe as names (np_name_is_safe), each
 * disk in the point's list with the same state and this stream's UUID.
 * @param name the stream's, for messages
 * @return 0, or -1: NP_DAMAGED; NP_FAILED when it needs a newer reader
 */
int np_meta_parse(const char *text, size_t size, const char *name, struct np_meta **meta,
                  struct np_error *err);

/** The disk with that id, or NULL. Borrowed from meta. */
const struct np_meta_disk *np_meta_disk_by_id(const struct np_meta *meta, uint16_t id);

/** The disk with that target name, or NULL. Borrowed from meta. */
const struct np_meta_disk *np_meta_disk_by_target(const struct np_meta *meta, const char *target);

#endif
