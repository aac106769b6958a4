/**
 * @file walk.h
 * Looking at a stream as a whole: every record from the first to END, in its place, beside what the indexes
 * say of it. Unlike a reader it goes on behind damage, by what else still says where records are.
 *
 * Headers and indexes are read here; tables and data of the records, and so most of the bytes, are left to
 * the caller (np_stream_record, np_stream_sums), who may read them in other threads. Source: FORMAT.md.
 *
 * A walk belongs to one thread.
 */
#ifndef NBDPULL_WALK_H
#define NBDPULL_WALK_H

#include "nbdpull/cancel.h"
#include "nbdpull/stream.h"

/** What a fault spoils for who reads the stream by its index. */
enum np_fault_scope {
    NP_FAULT_NONE,   /**< nothing: only reading front to back ends there */
    NP_FAULT_FILES,  /**< a BLOB: files of the stream's own point */
    NP_FAULT_RECORD, /**< one DATA or ZERO record */
    NP_FAULT_DISK,   /**< all that the stream holds of a disk */
    NP_FAULT_STREAM, /**< the whole stream */
};

/** Something wrong with a stream, or something of it that could not be read. */
struct np_fault {
    enum np_fault_scope scope;
    const struct np_meta_disk *disk; /**< or NULL. Borrowed from the stream */
    uint64_t pos;                    /**< of the record in the stream; NP_NO_OFFSET: it is about none */
    uint64_t number;                 /**< of the record; NP_ANY_NUMBER: not known */
    uint64_t offset, length;         /**< guest bytes; a length of 0: about none */
    struct np_error error;           /**< NP_DAMAGED: wrong. Another class: could not be checked */
};

/** The fault of a record whose header is good. @param error copied */
struct np_fault np_fault_of(const struct np_record_header *header, const struct np_meta_disk *disk,
                            const struct np_error *error);

struct np_walk;

/**
 * @param stream borrowed until np_walk_close
 * @param cancel or NULL; borrowed as long. Looking for the next record behind damage may take long
 */
int np_walk_open(struct np_stream *stream, struct np_cancel *cancel, struct np_walk **walk,
                 struct np_error *err);

enum np_walk_found {
    NP_WALK_END, /**< no more, all that can be checked was; or somebody asked to stop */
    /** A record whose header is good and in its place. It is as the index describes it, unless the fault
     * before was about it, or its disk's index cannot be followed any more. */
    NP_WALK_RECORD,
    NP_WALK_FAULT, /**< something else; more may follow */
};

/**
 * The next record or the next fault.
 * @param header out, of NP_WALK_RECORD
 * @param disk   out, of NP_WALK_RECORD: whose record it is; NULL: no disk's. Borrowed from the stream
 * @param fault  out, of NP_WALK_FAULT
 */
enum np_walk_found np_walk_next(struct np_walk *walk, struct np_record_header *header,
                                const struct np_meta_disk **disk, struct np_fault *fault);

/** Bytes of the stream that lie behind. */
uint64_t np_walk_pos(const struct np_walk *walk);

void np_walk_close(struct np_walk *walk); /**< takes NULL */

#endif
