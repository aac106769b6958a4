/**
 * @file repair_parts.h
 * What the files of `repair` share: the plan, and what is known of the set.
 */
#ifndef NP_REPAIR_PARTS_H
#define NP_REPAIR_PARTS_H

#include "nbdpull/app.h"
#include "nbdpull/set_repair.h"

struct np_repair {
    const struct np_repair_request *request;
    struct np_repair_result *plan; /* borrowed */
    struct np_set *set;
    struct np_set_files files;
    struct np_points points; /* whose records can be read */
    struct np_names bad;     /* ids whose records cannot */
    struct np_error failed;  /* why a record could not even be looked at, or NP_OK */
    struct np_intent intent;
    bool intended;       /* intent is what a run left */
    struct np_uuid uuid; /* of the set */
    char domain_name[256];
    struct np_uuid domain;
    uint64_t committed; /* highest number of which it is known */
};

/** A stream as it says itself what it is. */
struct np_repair_stream {
    const struct np_set_file *file;
    struct np_meta *meta;      /**< owned; NULL: it is of no use */
    struct np_point_disk disk; /**< what a record says of it */
    bool foreign;              /**< it is whole, but of another set, point or disk */
    char why[512];             /**< why it is not used */
};

/** @param point taken, or NULL. @param format of the message */
int np_repair_add(struct np_repair *repair, enum np_repair_action action, const char *id, const char *file,
                  struct np_point *point, struct np_error *err, const char *format, ...)
    __attribute__((format(printf, 7, 8)));

/**
 * Open a stream by its name and see whether it is what the name says.
 * @return 0, also when it is damaged or foreign; -1 when that could not be found out
 */
int np_repair_look(struct np_repair *repair, const struct np_set_file *file, bool any_set,
                   struct np_repair_stream *stream, struct np_error *err);
void np_repair_stream_clear(struct np_repair_stream *stream); /**< takes a zeroed struct */

/** Which set and domain the streams are of, where set.json does not say. */
int np_repair_find_set(struct np_repair *repair, struct np_error *err);

/** Plan for one point: its files are files[first] and the count - 1 that follow. */
int np_repair_plan_point(struct np_repair *repair, size_t first, size_t count, struct np_error *err);

#endif
