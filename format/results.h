/**
 * @file results.h
 * The data of the second META: what the disks' records add up to, as JSON. Counts only, never durations,
 * so that equal backups give equal bytes. Source: FORMAT.md, "Second META".
 */
#ifndef NBDPULL_FORMAT_RESULTS_H
#define NBDPULL_FORMAT_RESULTS_H

#include "nbdpull/meta.h"
#include "nbdpull/stream.h"

/**
 * @param totals meta->disk_count of them, in META's order
 * @param blobs  named files in the stream
 * @param text   out, owned (free), NUL-terminated
 */
int np_results_format(const struct np_meta *meta, const struct np_totals *totals, size_t blobs, char **text,
                      struct np_error *err);

/** Parse hostile text and compare it with what is known otherwise (counted, or DIR). NP_DAMAGED */
int np_results_check(const char *text, size_t size, const char *name, const struct np_meta *meta,
                     const struct np_totals *totals, size_t blobs, struct np_error *err);

/** How many named files the stream has, by hostile text. NP_DAMAGED */
int np_results_blobs(const char *text, size_t size, const char *name, uint64_t *blobs, struct np_error *err);

#endif
