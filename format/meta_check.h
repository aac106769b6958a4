/**
 * @file meta_check.h
 * What must hold in a META beyond the type of each key. Source: FORMAT.md, "META".
 */
#ifndef NBDPULL_FORMAT_META_CHECK_H
#define NBDPULL_FORMAT_META_CHECK_H

#include "json_strict.h"

#include "nbdpull/meta.h"

#define NP_META_MADE_FROM_MAX 16384

/** Add "format", "requires", "sum" and "hash", which are the same in all streams so far. */
int np_meta_check_put_constants(struct json_object *root, struct np_error *err);

/** Check those four: NP_DAMAGED when missing, NP_FAILED when they ask for what this reader does not know. */
int np_meta_check_constants(struct json_object *root, const char *where, struct np_error *err);

/**
 * Check ids, targets, geometries, states and bases against one another and against the point's list.
 * @param where for messages, such as "a.nbp: META"
 * @return 0, or -1 with NP_DAMAGED
 */
int np_meta_check(const struct np_meta *meta, const char *where, struct np_error *err);

#endif
