/**
 * @file target.h
 * What a restore writes a disk into: the table of image formats. A target appears under its name only when
 * it is complete and durable; until then it is a temporary file beside it.
 */
#ifndef NBDPULL_TARGET_H
#define NBDPULL_TARGET_H

#include "nbdpull/cancel.h"
#include "nbdpull/error.h"

/** How an image is to be made. All pointers are borrowed for the life of the target. */
struct np_target_options {
    int dir;                   /**< open directory that the image goes into */
    const char *dir_path;      /**< its path, for programs and messages */
    const char *name;          /**< file name in dir, e.g. "vda.qcow2"; checked by the caller */
    uint64_t size;             /**< virtual size in bytes, not rounded */
    const char *preallocation; /**< "off", "metadata", "falloc", "full"; NULL is "off" */
    uint64_t cluster_size;     /**< bytes; 0: the format's default */
    const char *compat;        /**< "0.10", "1.1"; NULL: the format's default */
    struct np_cancel *cancel;  /**< or NULL; once it is asked, everything but close fails (NP_INTERRUPTED) */
};

struct np_target_ops {
    const char *name;      /**< as in --format */
    const char *extension; /**< of the file, without the dot */

    /**
     * Make the temporary image; it reads as zeroes everywhere. Refuses when `name` exists (NP_FAILED), and
     * what the format does not have of preallocation, cluster size and compat (NP_USAGE). A size that the
     * format cannot hold is rounded up with zeroes, and a warning is logged.
     * @param target out, owned: end it with close
     */
    int (*create)(const struct np_target_options *options, void **target, struct np_error *err);

    /** A way in for one thread. @param writer out, owned: writer_close in the same thread */
    int (*writer_open)(void *target, void **writer, struct np_error *err);

    /**
     * Write length bytes (at most 32 MiB) at offset, inside the disk. Several writers write different bytes.
     * NP_FAILED, or NP_INTERRUPTED soon after options.cancel was asked.
     */
    int (*write)(void *writer, const void *bytes, uint64_t offset, size_t length, struct np_error *err);

    /** End a writer. Takes NULL. */
    void (*writer_close)(void *writer);

    /** Make all that was written durable and put the image under its name. Writers are closed. */
    int (*commit)(void *target, struct np_error *err);

    /** Free; removes what was not committed. Takes NULL. */
    void (*close)(void *target);
};

/** The target of that name, or NULL. Static. */
const struct np_target_ops *np_target_find(const char *name);

/** All targets, NULL at the end, for help texts and contract tests. Static. */
const struct np_target_ops *const *np_target_all(void);

#endif
