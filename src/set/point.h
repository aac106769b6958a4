/**
 * @file point.h
 * The point record as JSON: points/ID.json.
 */
#ifndef NBDPULL_SET_POINT_H
#define NBDPULL_SET_POINT_H

#include "nbdpull/set.h"

#define NP_POINT_TEXT_MAX (8u << 20) /**< 1024 disks with the longest names take about half of it */

/** @param file for messages. @param text out, owned (free), NUL-terminated */
int np_point_encode(const struct np_point *point, const char *file, char **text, size_t *size,
                    struct np_error *err);

/**
 * Read a record strictly: every key there, of its type and within its bounds, and all of them together
 * possible. NP_DAMAGED names file and key.
 * @param id    what the file's name says; the record must say the same
 * @param point out; np_point_clear
 */
int np_point_decode(const char *text, size_t size, const char *file, const char *id, struct np_point *point,
                    struct np_error *err);

#endif
