/**
 * @file origin.h
 * What a restore or a dump reads: a point of a set, or one stream in a file, by index. (A pipe is read front
 * to back instead.)
 */
#ifndef NP_ORIGIN_H
#define NP_ORIGIN_H

#include "nbdpull/app.h"
#include "nbdpull/chain.h"
#include "nbdpull/pipe.h"
#include "nbdpull/stream.h"

/** One disk of the origin: the streams on its path, newest first, opened and compared with the records. */
struct np_origin_disk {
    struct np_stream **streams;     /**< owned, except a stream that belongs to the origin */
    struct np_stream_input **files; /**< owned; NULL entries where the origin owns the stream */
    uint16_t *ids;                  /**< the disk's id in each */
    size_t count;
    struct np_chain *chain; /**< owned; at its start */
};

struct np_origin {
    struct np_set *set; /**< NULL for a file */
    struct np_points points;
    struct np_error bad;          /**< the first point record that is lost or no good; NP_OK: none is */
    bool bad_all;                 /**< it is about more than one point */
    const struct np_point *point; /**< the one chosen; borrowed from points */
    int fd;                       /**< of the file, or -1 */
    const char *path;
    uint64_t size;            /**< of the file, bytes */
    struct np_stream *stream; /**< of the file, or NULL */
    char domain[256];
    struct np_uuid domain_uuid;
};

/**
 * Open a set and find the point, or open a stream file. Where a point record is lost or no good, a point that
 * is named by its id or its checkpoint may be good all the same; "latest", or a time, may mean the one that
 * is not there.
 * @param until    as --until; a file holds one point only
 * @param may_be_empty a set without points is no error, nor is one with bad records when no point is asked
 * for: see `bad`; then the chosen point is NULL
 */
int np_origin_open(const char *path, const char *until, bool may_be_empty, struct np_origin *origin,
                   struct np_error *err);

/** As np_origin_open, but no point is chosen, and point records that are lost or no good are told of and left
 * out. */
int np_origin_open_all(const char *path, np_set_bad_point *bad, void *ctx, struct np_origin *origin,
                       struct np_error *err);
/** As np_origin_open_all, but of a file nothing is read: np_origin_take_meta says what is in it. */
int np_origin_open_left(const char *path, np_set_bad_point *bad, void *ctx, struct np_origin *origin,
                        struct np_error *err);

/** Is that point the one that is meant, and not the newest or the last before a time? */
bool np_origin_is_named(const struct np_point *point, const char *until);

/** Does a record begin somewhere in the file's beginning or end? */
bool np_origin_looks_like_stream(const char *path);

/** The one point of a file. @param meta copied */
int np_origin_take_meta(struct np_origin *origin, const struct np_meta *meta, struct np_error *err);

/** The bytes of a file. Borrowed from the origin */
struct np_input_at np_origin_file_input(struct np_origin *origin);

void np_origin_close(struct np_origin *origin); /**< takes a zeroed struct */

/**
 * Open all streams of a disk of the chosen point and begin a chain over them; every link is checked.
 * @param hashes the chain reads granule hashes too
 */
int np_origin_open_disk(struct np_origin *origin, const char *target, bool hashes,
                        struct np_origin_disk *opened, struct np_error *err);

/** Begin the chain once more from the disk's first byte. */
int np_origin_rewind_disk(struct np_origin_disk *opened, const char *target, bool hashes,
                          struct np_error *err);

/**
 * Open only the disk's stream of that point, without what it builds on; no chain. Checked in the same way.
 */
int np_origin_open_stream(struct np_origin *origin, const struct np_point *point,
                          const struct np_point_disk *disk, struct np_origin_disk *opened,
                          struct np_error *err);
void np_origin_close_disk(struct np_origin *origin,
                          struct np_origin_disk *opened); /**< takes a zeroed struct */

/** The point that a stream's META describes, with what is known of each disk. @param point out, owned */
int np_origin_point_of_meta(const struct np_meta *meta, const char *file, struct np_point *point,
                            struct np_error *err);

/** Add what a stream's totals say to its disk. @param stream_size bytes */
void np_origin_add_totals(struct np_point_disk *disk, const struct np_totals *totals, uint64_t stream_size);

/** Standard input as a reader's input. @param pipe borrowed */
struct np_input np_origin_pipe_input(struct np_pipe *pipe);

#endif
