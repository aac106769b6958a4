/*
 * A qcow2 image that is written once, from nothing, by several threads.
 *
 *     header | L1 table | L2 tables and data, as they come | refcount table | refcount blocks
 *
 * Clusters are given away in file order and never taken back, so every one of them has the refcount 1 and the
 * refcounts can be made in one pass at the end. L2 entries go to the file at once; memory holds the L1 table
 * alone: 1 MiB for 64 TiB in clusters of 64 KiB. The header comes last: before, the file is no image.
 *
 * Source: docs/interop/qcow2.txt of QEMU.
 */
#ifndef TARGET_QCOW2_IMAGE_H
#define TARGET_QCOW2_IMAGE_H

#include "nbdpull/error.h"

#include <pthread.h>

#define NP_QCOW2_CLUSTER_DEFAULT (UINT64_C(1) << 16) /* as qemu-img has it */

struct np_qcow2_image {
    int fd;           /* borrowed; of an empty file, for reading and writing */
    const char *path; /* borrowed; for messages */
    unsigned version; /* 2 or 3 */
    uint64_t size;    /* of the disk, a multiple of 512 */
    uint64_t cluster; /* bytes */
    uint64_t l1_count;
    uint64_t clusters_max; /* the refcount table that QEMU takes reaches so far */

    pthread_mutex_t lock; /* guards all below, and the L2 entries in the file; taken alone */
    uint64_t *l1;         /* position of each L2 table, 0: not there */
    uint64_t next;        /* first cluster that is not given away */
};

/* Where some bytes of the disk lie in the file. */
struct np_qcow2_run {
    uint64_t pos;
    uint64_t length;
};

/*
 * fd, path, version, size and cluster (0: the default) are set by the caller, all else is zero.
 * NP_USAGE: no such cluster size, or one too small for the disk. Always end with np_qcow2_image_clear.
 */
int np_qcow2_image_init(struct np_qcow2_image *image, struct np_error *err);
void np_qcow2_image_clear(struct np_qcow2_image *image); /* takes a struct that is zero */

/*
 * The place of the bytes at offset, which is made if there is none: of the first bytes only, as many of the
 * `length` as lie side by side. What was never written there reads as zeroes. From any thread.
 */
int np_qcow2_image_map(struct np_qcow2_image *image, uint64_t offset, uint64_t length,
                       struct np_qcow2_run *run, struct np_error *err);

/* Write refcounts, L1 table and header; nobody maps any more. */
int np_qcow2_image_finish(struct np_qcow2_image *image, struct np_error *err);

#endif
