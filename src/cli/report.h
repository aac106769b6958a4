/**
 * @file report.h
 * Results for machines: one JSON document a run, the same frame for success and failure.
 */
#ifndef NP_REPORT_H
#define NP_REPORT_H

#include "nbdpull/error.h"
#include "nbdpull/set.h"

#include <json-c/json.h>
#include <stdio.h>

/** {"command": ..., "version": ...}; owned, NULL when out of memory (json-c then ignores what is added). */
struct json_object *np_report_new(const char *command);

/** A string of valid UTF-8 out of any bytes: what is none becomes U+FFFD. Owned; NULL when out of memory. */
struct json_object *np_report_text(const char *value);

void np_report_string(struct json_object *object, const char *key, const char *value); /**< NULL, "": null */
void np_report_size(struct json_object *object, const char *key, uint64_t value);
void np_report_counted(struct json_object *object, const char *key, uint64_t value,
                       bool counted); /**< else null */
void np_report_seconds(struct json_object *object, const char *key, double value);
void np_report_uuid(struct json_object *object, const char *key,
                    const struct np_uuid *uuid); /**< nil: null */
void np_report_add(struct json_object *object, const char *key,
                   struct json_object *value); /**< value taken */

/** One restore point, with the fields that the manual names. Owned. */
struct json_object *np_report_point(const struct np_point *point);

/**
 * Add status and, for a failure, error{class,message,disk,offset}; print; free.
 * @param report taken
 * @param err    NULL or NP_OK: success
 * @return 0, or -1 with NP_FAILED in `failed` when it cannot be printed
 */
int np_report_print(struct json_object *report, const struct np_error *err, FILE *to,
                    struct np_error *failed);

/**
 * As np_report_print, but without the opening brace: the caller printed it, and members of its own with a
 * comma behind each (an array too long to be held in memory).
 */
int np_report_print_rest(struct json_object *report, const struct np_error *err, FILE *to,
                         struct np_error *failed);

/** A JSON text; what would act on a terminal, which JSON may hold as it is, goes out escaped. */
void np_report_put(const char *text, FILE *to);

/** Flush standard output; a write that failed is a failure of the command. */
int np_report_flush(FILE *to, struct np_error *err);

#endif
