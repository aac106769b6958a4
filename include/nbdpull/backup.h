/**
 * @file backup.h
 * The backup engine: reads one disk from a source with parallel workers and writes its records in order.
 * Knows neither libvirt nor NBD; identities and clock are in the META that the caller made.
 *
 *     source --extents--> schedule --windows--> workers (read, zero test, hash, compress) --in order-->
 * writer
 */
#ifndef NBDPULL_BACKUP_H
#define NBDPULL_BACKUP_H

#include "nbdpull/cancel.h"
#include "nbdpull/chain.h"
#include "nbdpull/codec.h"
#include "nbdpull/source.h"
#include "nbdpull/stream.h"

#define NP_WORKERS_MAX 64
#define NP_WORKERS_DEFAULT_MAX 8

/** Which granules of the disk are to be stored. The two that store a part need a base. */
enum np_scope {
    NP_SCOPE_ALL,   /**< the whole disk: full, copy */
    NP_SCOPE_DIRTY, /**< granules that hold a dirty byte, and those that became zero without being dirty */
    NP_SCOPE_SCAN,  /**< granules whose content differs from the base's; the bitmap is not looked at */
};

/** The state that an increment builds on. */
struct np_base {
    struct np_chain *chain; /**< borrowed; opened with hashes, at its start; is at its end afterwards */
    uint64_t size;          /**< bytes of the disk at that state; not more than now */
    bool digest_known;
    struct np_hash128 digest;
};

/** What a disk has come to; bytes of the guest's disk unless said otherwise. */
struct np_backup_counts {
    uint64_t covered;   /**< of the disk, in order: equals the disk's size at the end */
    uint64_t allocated; /**< granules that block status calls data, in scope */
    uint64_t read;      /**< read from the source */
    uint64_t zero;      /**< granules stored as zero, known or found */
    uint64_t data;      /**< granules stored as data */
    uint64_t stored;    /**< payload bytes written */

    /** With a base: its digest without the granules that this stream replaces, for np_writer_disk_end. */
    struct np_hash128 replaced;
};

/** Called from the thread of np_backup_run after each window or run of zeroes. Must return soon. */
typedef void np_backup_progress(void *ctx, const struct np_backup_counts *counts);

struct np_backup_options {
    unsigned workers; /**< 1..NP_WORKERS_MAX */
    uint64_t rate;    /**< bytes a second that are read from the source; 0: no limit */
    const struct np_codec *codec;
    int level; /**< as np_codec_parse gave it */
    enum np_scope scope;
    const struct np_base *base;   /**< NULL for NP_SCOPE_ALL */
    struct np_cancel *cancel;     /**< or NULL */
    struct np_cancel *told;       /**< or NULL: is told of an error, to wake who waits beside the engine */
    np_backup_progress *progress; /**< or NULL */
    void *progress_ctx;
};

/**
 * Workers when the user names none: two for each processor that we may use, at most NP_WORKERS_DEFAULT_MAX. A
 * worker waits for its answer or packs; with one for each processor the server has nothing to do while all
 * pack, and the processors nothing while all wait.
 */
unsigned np_backup_default_workers(void);

/**
 * Read the disk and write its records; does not end the disk in the writer.
 * The output depends on the disk's content, geometry, codec and level only, never on the number of workers.
 * Memory: 3 chunks a worker, plus the codec's state.
 * @param disk   its id in the writer's META
 * @param target its name for messages
 * @param counts out; what was done, also after a failure
 * @return 0, or -1: the first error of any thread, with the disk's name
 */
int np_backup_run(const struct np_backup_options *options, const struct np_source *source,
                  const struct np_geometry *geometry, uint16_t disk, const char *target,
                  struct np_writer *writer, struct np_backup_counts *counts, struct np_error *err);

/** Whether the dirty bitmap may be believed. */
struct np_trust {
    bool believed;
    char why[NP_WHY_MAX];  /**< when it is not: what contradicts it */
    uint64_t offset;       /**< the guest byte where */
    struct np_error cause; /**< why it cannot be told from a rival; NP_OK where that is not why */
    uint64_t compared;     /**< bytes read and compared */
};

/**
 * Look for a proof that the dirty bitmap is wrong, before anything is written: clean granules that were zero
 * in the base and are allocated now must still be zero; and a bounded sample of clean granules with data (the
 * first, the last 2 MiB and up to 64 between, chosen by seed) must have the base's hashes. Finding none is a
 * probability, not a proof: a write from outside into a granule that was not looked at stays unseen. That the
 * image is not a rival's is certain as far as it matters: where their bases differ in clean granules with
 * data, one of those was read.
 * @param source opened with its dirty bitmap
 * @param base   its chain is at its start, and anywhere afterwards
 * @param rivals the states of other disks at the same point that had a bitmap of the same name; their chains
 *               have hashes, and are anywhere before and afterwards
 * @return 0 with the verdict in trust; -1: NP_DAMAGED when the base's index is damaged (one of a rival
 * that cannot be read: not believed), else as the source fails
 */
int np_backup_trust(const struct np_source *source, const struct np_geometry *geometry,
                    const struct np_base *base, const struct np_base *rivals, size_t rival_count,
                    uint64_t seed, struct np_cancel *cancel, struct np_trust *trust, struct np_error *err);

/** What block status says of the granules in scope; bytes. */
struct np_backup_sums {
    uint64_t data; /**< what np_backup_run would read; some of it may turn out to be zero */
    uint64_t zero; /**< stored as zero without being read */
};

/**
 * Add up what np_backup_run would do. One pass of block status, nothing is read.
 * @param base as in np_backup_options; NULL with NP_SCOPE_DIRTY counts what is dirty alone, and with
 *             NP_SCOPE_SCAN no zero
 */
int np_backup_measure(const struct np_source *source, const struct np_geometry *geometry, enum np_scope scope,
                      const struct np_base *base, struct np_cancel *cancel, struct np_backup_sums *sums,
                      struct np_error *err);

/** What a sample of a disk has come to; bytes. */
struct np_backup_sample {
    uint64_t read;   /**< of what np_backup_run would read */
    uint64_t data;   /**< of that stored as data: neither zero nor, in a scan, as in the base */
    uint64_t stored; /**< what the payloads of `data` come to */
};

/**
 * Treat as np_backup_run would, without writing it, whole windows spread evenly over what there is to read.
 * @param options workers and progress are not used
 * @param data    what there is to read, as np_backup_measure gave it
 * @param limit   about how much is read: less than one chunk more
 */
int np_backup_sample(const struct np_backup_options *options, const struct np_source *source,
                     const struct np_geometry *geometry, uint64_t data, uint64_t limit,
                     struct np_backup_sample *sample, struct np_error *err);

#endif
