/**
 * @file verify.h
 * The verify engine: every record of a stream is read and checked by parallel workers, which go on behind
 * damage; and what a point is, by the hashes of its chain.
 *
 *     walk --records--> workers (read, check sums, expand) --faults--> the caller
 */
#ifndef NBDPULL_VERIFY_H
#define NBDPULL_VERIFY_H

#include "nbdpull/cancel.h"
#include "nbdpull/chain.h"
#include "nbdpull/source.h"
#include "nbdpull/walk.h"

/** What a verification has come to. */
struct np_verify_counts {
    uint64_t pos;      /**< bytes of the stream that were walked over */
    uint64_t records;  /**< of all types but INDEX, META, DIR and END */
    uint64_t payloads; /**< DATA records among them */
    uint64_t checked;  /**< payloads read and checked */
    uint64_t read;     /**< stored bytes of tables and data that were read */
    uint64_t expanded; /**< guest bytes that were expanded and compared with their hashes */
};

/** Called from any thread, one call at a time. */
typedef void np_verify_report(void *ctx, const struct np_fault *fault);

/** Called from the thread that walks. Must return soon. */
typedef void np_verify_progress(void *ctx, const struct np_verify_counts *counts);

/** How much of the payloads is looked at; headers, indexes and sums of the whole are always. */
enum np_verify_depth {
    NP_VERIFY_QUICK, /**< none of it */
    NP_VERIFY_SUMS,  /**< tables and data against their checksums */
    NP_VERIFY_DEEP,  /**< expanded as well, each granule against its hash */
};

struct np_verify_options {
    enum np_verify_depth depth;
    unsigned workers;     /**< 1..NP_WORKERS_MAX */
    unsigned part, parts; /**< only payloads of part `part` (from 0) of `parts`; parts 1: all */
    struct np_cancel *cancel;
    np_verify_report *report;
    np_verify_progress *progress; /**< or NULL */
    void *ctx;                    /**< of both */
};

/** The part, from 0, that a payload belongs to. Parts of a stream are about equal, and are the same always.
 */
unsigned np_verify_part(const struct np_record_header *header, unsigned parts);

/**
 * Check one stream.
 * @param counts out; added to
 * @return 0 when it was walked to its end, whatever was reported; -1: NP_INTERRUPTED, or it could not begin
 */
int np_verify_stream(const struct np_verify_options *options, struct np_stream *stream,
                     struct np_verify_counts *counts, struct np_error *err);

/** How an image is compared. */
struct np_verify_image_options {
    unsigned workers;   /**< 1..NP_WORKERS_MAX; as many readers of the image */
    const char *target; /**< the disk, for messages */
    const char *image;  /**< the image's name, for messages */
    struct np_cancel *cancel;
    void (*progress)(void *ctx,
                     uint64_t covered); /**< guest bytes of the disk that were handed out; or NULL */
    void *ctx;
};

/**
 * Compare an image with the disk that a chain tells of: every granule with data has its hash, all others read
 * as zeroes, and the size is the disk's (rounded up to 512 bytes, with zeroes, where a format counts
 * sectors). No payload of the chain is read. What block status calls zero is not read.
 * @param chain  opened with hashes, at its start; the point's links are right
 * @param source the image
 * @return 0: the image is the disk; -1: NP_DAMAGED names the first range that differs; another class: it
 * could not be compared
 */
int np_verify_image(const struct np_verify_image_options *options, struct np_chain *chain,
                    const struct np_source *source, struct np_error *err);

#endif
