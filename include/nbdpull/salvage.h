/**
 * @file salvage.h
 * What is left of a damaged stream: its records are found by scanning (FORMAT.md, "By scanning"), each is
 * checked, and a new index is made of the good ones, so that the stream can be read as any other. What its
 * records should say and do not any more is a list of losses.
 *
 * Index and losses are kept in two files, so memory does not grow with the stream.
 *
 * np_salvage_open and np_losses_next belong to one thread; the opened stream may be read by several.
 */
#ifndef NBDPULL_SALVAGE_H
#define NBDPULL_SALVAGE_H

#include "nbdpull/cancel.h"
#include "nbdpull/stream.h"

/** Empty files that several salvages share, one after the other. */
struct np_salvage_room {
    int index_fd, losses_fd;        /**< owned by the caller, open until all salvages are closed */
    const char *dir;                /**< where they are, for messages; borrowed as long */
    uint64_t index_end, losses_end; /**< bytes used so far; 0 at first */
};

enum np_loss_kind {
    NP_LOSS_CERTAIN,  /**< it was stored here, and is lost */
    NP_LOSS_POSSIBLE, /**< if it was stored here, it is lost: of a stream with a base nobody knows */
    NP_LOSS_ZERO,     /**< no loss: the record is lost, but what it said is still known: zeroes */
};

/** A run of granules. */
struct np_loss {
    enum np_loss_kind kind;
    uint32_t unused;         /**< 0: losses wait in a file as they are here */
    uint64_t offset, length; /**< guest bytes; begins with a granule, ends with one */
    uint64_t pos;            /**< of the record that is damaged; NP_NO_OFFSET: not known */
};

struct np_losses;

/**
 * Losses in guest order; none overlaps another.
 * @return 1, 0 no more, -1
 */
int np_losses_next(struct np_losses *losses, struct np_loss *loss, struct np_error *err);
void np_losses_rewind(struct np_losses *losses);

/** One possible loss of that many bytes from the disk's beginning: a stream of which nothing is left. */
int np_losses_of_all(uint64_t size, struct np_losses **losses, struct np_error *err);
void np_losses_free(struct np_losses *losses); /**< takes NULL */

struct np_salvage_request {
    struct np_input_at input;
    const char *name;             /**< of the stream, for messages; borrowed until np_salvage_close */
    const struct np_uuid *stream; /**< that it must be; NULL: any */
    const char *target;           /**< of the one disk that is wanted */
    struct np_salvage_room *room; /**< borrowed until np_salvage_close */
    struct np_cancel *cancel;     /**< or NULL */
};

/**
 * The META of a damaged stream, from the beginning, the end, or wherever one is found.
 * @param request target and room are not looked at
 * @param meta    out, owned: np_meta_free
 * @return 0, or -1: NP_DAMAGED when there is none, or the stream is another
 */
int np_salvage_meta(const struct np_salvage_request *request, struct np_meta **meta, struct np_error *err);

struct np_salvage;

/**
 * Read the whole stream once. @return 0, or -1: NP_DAMAGED when nothing of it can be used; NP_FAILED when the
 * room is full
 */
int np_salvage_open(const struct np_salvage_request *request, struct np_salvage **salvage,
                    struct np_error *err);

/** The stream with its new index: of that disk, and with the files that could be found. Its totals are those
 * of the good records, without a digest. Borrowed. */
struct np_stream *np_salvage_stream(struct np_salvage *salvage);

/** Borrowed. */
struct np_losses *np_salvage_losses(struct np_salvage *salvage);

/** Was the stream found whole: from META to END, no record missing, none damaged? */
bool np_salvage_is_whole(const struct np_salvage *salvage);

/** And is all else as it was written, but for other disks' records: both META, the named files, DIR, END, the
 * padding between, and the file's length? Damage there may have cost nothing. */
bool np_salvage_is_sound(const struct np_salvage *salvage);

/** The digest of the disk, as the stream has it. @return false: it is not known */
bool np_salvage_digest(const struct np_salvage *salvage, struct np_hash128 *digest);

/** How many named files the stream had, of which np_salvage_stream has those that were found. @return false:
 * it is not known */
bool np_salvage_blob_count(const struct np_salvage *salvage, uint64_t *count);

void np_salvage_close(struct np_salvage *salvage); /**< takes NULL */

#endif
