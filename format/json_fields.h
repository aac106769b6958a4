/**
 * @file json_fields.h
 * Tables that say which member of a struct is which key of a JSON object, so that writing and reading
 * cannot drift apart and the order of keys is the order of the table.
 */
#ifndef NBDPULL_FORMAT_JSON_FIELDS_H
#define NBDPULL_FORMAT_JSON_FIELDS_H

#include "json_strict.h"

#include <stddef.h>

enum np_json_kind {
    NP_JSON_TEXT,         /**< char[size] */
    NP_JSON_TEXT_OR_NULL, /**< char[size], "" is null */
    NP_JSON_UUID,
    NP_JSON_UUID_OR_NULL, /**< nil is null */
    NP_JSON_INTEGER,      /**< unsigned, of size bytes: 2, 4 or 8 */
    NP_JSON_DECIMAL,      /**< uint64_t as a string of decimal digits: any value, also from 2^53 on */
    NP_JSON_BOOLEAN,
    NP_JSON_DIGEST_OR_NULL, /**< struct np_hash128; the bool at `known` says whether it is null */
    NP_JSON_GROUP,          /**< an object whose members lie in the same struct */
    NP_JSON_GROUP_OR_NULL,  /**< the same; null when the UUID at `offset` is nil */
};

/** One key. Every key of a table must be there in what is read; keys in no table are ignored. */
struct np_json_field {
    const char *key;
    enum np_json_kind kind;
    size_t offset; /**< of the member in the struct */
    size_t size;
    size_t known;
    const struct np_json_field *group;
};

#define NP_JSON_MEMBER(key_, kind_, type, member)                                                            \
    {                                                                                                        \
        .key = (key_), .kind = (kind_), .offset = offsetof(type, member),                                    \
        .size = sizeof(((type *)NULL)->member)                                                               \
    }

/** Add the fields to an object. @param fields ends with a NULL key. NP_FAILED out of memory */
int np_json_fields_put(const struct np_json_field *fields, const void *from, struct json_object *to,
                       struct np_error *err);

/**
 * Read the fields of an object.
 * @param where for messages, such as "a.nbp: META: disks[2]"
 * @return 0, or -1 with NP_DAMAGED: a key is missing, of another type, or too large for its member
 */
int np_json_fields_get(const struct np_json_field *fields, struct json_object *from, void *to,
                       const char *where, struct np_error *err);

/** Add value, which may be NULL after a failed allocation. @param value taken */
int np_json_fields_add(struct json_object *to, const char *key, struct json_object *value,
                       struct np_error *err);

/** The array of that key, borrowed. NP_DAMAGED when it is missing or longer than limit */
int np_json_fields_array(struct json_object *from, const char *key, size_t limit, const char *where,
                         struct json_object **array, struct np_error *err);

#endif
