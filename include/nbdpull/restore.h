/**
 * @file restore.h
 * The restore engine: records are read, checked, expanded and written to targets by parallel workers, each
 * guest byte once. Fed by a chain (random access, only what is still live is read) or by a pipe.
 *
 *     chain or reader --items--> workers (read, check, expand) --> target
 */
#ifndef NBDPULL_RESTORE_H
#define NBDPULL_RESTORE_H

#include "nbdpull/cancel.h"
#include "nbdpull/chain.h"
#include "nbdpull/stream.h"
#include "nbdpull/target.h"

/** What a restore has come to, bytes of the guest's disk unless said otherwise. */
struct np_restore_counts {
    uint64_t covered;         /**< read from the plan so far, in guest order for a chain */
    uint64_t written;         /**< data written to the target */
    uint64_t read;            /**< stored payload bytes read */
    struct np_hash128 digest; /**< of what was written, when all of it is */
};

/** Called from the feeding thread. Must return soon. */
typedef void np_restore_progress(void *ctx, const struct np_restore_counts *counts);

/** Told of each LOST step of a damaged chain, in guest order, from the feeding thread. */
typedef int np_restore_lost(void *ctx, const struct np_chain_step *step, struct np_error *err);

struct np_restore_options {
    unsigned workers;              /**< 1..NP_WORKERS_MAX */
    uint64_t rate;                 /**< bytes a second that are written to targets; 0: no limit */
    struct np_cancel *cancel;      /**< or NULL */
    struct np_cancel *told;        /**< or NULL: is told of an error, to wake who waits beside the engine */
    np_restore_progress *progress; /**< or NULL */
    void *progress_ctx;
    np_restore_lost
        *lost; /**< for a damaged chain, whose digest is left to the caller to compare; else NULL */
    void *lost_ctx;
};

/** A disk to be written. The target reads as zeroes before. */
struct np_restore_disk {
    const char *target_name; /**< "vda", for messages */
    uint16_t id;             /**< in the stream it is fed from (np_restore_reader) */
    struct np_geometry geometry;
    const struct np_target_ops *ops;
    void *target; /**< made by ops->create; borrowed */
};

/** What a restore from a chain would read and write. */
struct np_restore_plan {
    uint64_t data_bytes;   /**< of the guest's disk, to be written */
    uint64_t zero_bytes;   /**< holes of the restored image */
    uint64_t stored_bytes; /**< payload to be read */
    uint64_t records;      /**< DATA records to be read */
    uint64_t lost_bytes;   /**< of the guest's disk: of a damaged chain, in LOST steps */
};

/**
 * Walk the whole chain by its indexes, without payload: proves that every byte of the disk has a source
 * before a target is touched.
 * @param chain at its start; is at its end afterwards
 */
int np_restore_survey(struct np_chain *chain, struct np_cancel *cancel, struct np_restore_plan *plan,
                      struct np_error *err);

/**
 * Write one disk from a chain.
 * @param chain   at its start
 * @param streams as np_chain_open got them, with the disk's id in each
 * @param disk    of the chain's geometry; NP_DAMAGED otherwise
 * @return 0 when every byte was written and checked; the target is not committed here
 */
int np_restore_chain(const struct np_restore_options *options, struct np_chain *chain,
                     struct np_stream *const *streams, const uint16_t *ids,
                     const struct np_restore_disk *disk, struct np_restore_counts *counts,
                     struct np_error *err);

/** Receives each BLOB part of a stream in order. */
typedef int np_restore_blob(void *ctx, const char *name, uint64_t total, uint64_t offset, const void *bytes,
                            size_t size, struct np_error *err);

/**
 * Write disks from a stream that is read front to back, to its very end, which proves it whole.
 * @param disks those that are wanted; records of others are skipped, verified
 * @param blob  or NULL
 */
int np_restore_reader(const struct np_restore_options *options, struct np_reader *reader,
                      const struct np_restore_disk *disks, size_t disk_count, np_restore_blob *blob,
                      void *blob_ctx, struct np_restore_counts *counts, struct np_error *err);

#endif
