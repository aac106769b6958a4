/**
 * @file json_write.h
 * Building the set's own JSON files. Running out of memory is remembered and told once, by
 * np_json_write_text.
 */
#ifndef NBDPULL_SET_JSON_WRITE_H
#define NBDPULL_SET_JSON_WRITE_H

#include "nbdpull/error.h"
#include "nbdpull/hash.h"
#include "nbdpull/uuid.h"

#include <json-c/json.h>

/** An object being built. The root is owned (np_json_write_clear), inner ones are borrowed from it. */
struct np_json_write {
    struct json_object *object; /**< NULL when memory ran out */
    bool *failed;               /**< the root's own_failed */
    bool own_failed;
};

void np_json_write_init(struct np_json_write *out);
void np_json_write_clear(struct np_json_write *out); /**< takes a zeroed struct */

void np_json_write_string(struct np_json_write *out, const char *key, const char *text);
void np_json_write_string_or_null(struct np_json_write *out, const char *key,
                                  const char *text); /**< "": null */
void np_json_write_number(struct np_json_write *out, const char *key, uint64_t value);
void np_json_write_number_text(struct np_json_write *out, const char *key, uint64_t value);
void np_json_write_bool(struct np_json_write *out, const char *key, bool value);
void np_json_write_uuid(struct np_json_write *out, const char *key, const struct np_uuid *uuid);
/** 32 hexadecimal digits, the high half first, or null when not known. */
void np_json_write_hash_or_null(struct np_json_write *out, const char *key, bool known,
                                struct np_hash128 hash);
void np_json_write_null(struct np_json_write *out, const char *key);
void np_json_write_object(struct np_json_write *out, const char *key, struct np_json_write *inner);

/** An array of objects: make it, then append objects to it. */
struct json_object *np_json_write_array(struct np_json_write *out, const char *key);
void np_json_write_element(struct np_json_write *out, struct json_object *array, struct np_json_write *inner);

/**
 * The whole file, one key a line, with a newline at its end. Its first key is the checksum of all lines
 * behind.
 * @param text out, owned (free)
 */
int np_json_write_text(struct np_json_write *out, const char *file, char **text, size_t *size,
                       struct np_error *err);

#endif
