/**
 * @file json_read.h
 * Strict reading of the set's own JSON files: bounded size and depth, typed getters, and errors (NP_DAMAGED)
 * that name the file and the key. Unknown keys are ignored, so that a later version may add some.
 */
#ifndef NBDPULL_SET_JSON_READ_H
#define NBDPULL_SET_JSON_READ_H

#include "nbdpull/error.h"
#include "nbdpull/hash.h"
#include "nbdpull/uuid.h"

#include <json-c/json.h>

/** Numbers stay below it, so that readers which keep numbers as doubles read them exactly. */
#define NP_JSON_READ_LIMIT (UINT64_C(1) << 53)

/** An object being read, and what to call it in messages. */
struct np_json_read {
    struct json_object *object; /**< borrowed from the root */
    const char *file;           /**< borrowed */
    char where[64];             /**< "" or "disks[3].": what stands in front of a key */
};

/**
 * Parse a whole file, which must be one object and nothing else. Where it has a key "sum", that must be its
 * first line and the checksum of all lines behind it: the 128 bits of XXH3, as 32 hexadecimal digits. (Files
 * of the first versions have none, and who edits a file by hand takes the line out.)
 * @param text NUL-terminated, size bytes without the NUL
 * @param file for messages; borrowed as long as root is read
 * @param root out; its object is owned: np_json_read_free
 */
int np_json_read_parse(const char *text, size_t size, const char *file, struct np_json_read *root,
                       struct np_error *err);
void np_json_read_free(struct np_json_read *root); /**< takes a zeroed struct */

/** For keys that not every version writes. */
bool np_json_read_has(const struct np_json_read *in, const char *key);

/** A string that fits room with its NUL and holds none. */
int np_json_read_string(const struct np_json_read *in, const char *key, char *to, size_t room,
                        struct np_error *err);
/** As np_json_read_string; null gives "". */
int np_json_read_string_or_null(const struct np_json_read *in, const char *key, char *to, size_t room,
                                struct np_error *err);
/** 0 to 2^53 - 1. */
int np_json_read_number(const struct np_json_read *in, const char *key, uint64_t *value,
                        struct np_error *err);
/** Decimal digits in a string: all 64 bits, for identities such as inode numbers. */
int np_json_read_number_text(const struct np_json_read *in, const char *key, uint64_t *value,
                             struct np_error *err);
int np_json_read_bool(const struct np_json_read *in, const char *key, bool *value, struct np_error *err);
int np_json_read_uuid(const struct np_json_read *in, const char *key, struct np_uuid *uuid,
                      struct np_error *err);
/** 32 hexadecimal digits, or null: *known false. */
int np_json_read_hash_or_null(const struct np_json_read *in, const char *key, bool *known,
                              struct np_hash128 *hash, struct np_error *err);
/** An object inside. @param inner out; borrowed from the root */
int np_json_read_object(const struct np_json_read *in, const char *key, struct np_json_read *inner,
                        struct np_error *err);
/** As np_json_read_object; null gives inner->object NULL. */
int np_json_read_object_or_null(const struct np_json_read *in, const char *key, struct np_json_read *inner,
                                struct np_error *err);
/** An array of at most limit elements. @param array out; borrowed from the root */
int np_json_read_array(const struct np_json_read *in, const char *key, size_t limit,
                       struct json_object **array, struct np_error *err);
/** Element i of that array, which must be an object. */
int np_json_read_element(const struct np_json_read *in, const char *key, struct json_object *array, size_t i,
                         struct np_json_read *inner, struct np_error *err);

/** "FILE: key WHEREKEY WHAT": for values that are wrong for another reason than their type. @return -1 */
int np_json_read_wrong(const struct np_json_read *in, const char *key, const char *what,
                       struct np_error *err);

#endif
