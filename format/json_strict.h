/**
 * @file json_strict.h
 * JSON from outside, held to the narrow form of FORMAT.md, "JSON": what json-c would let pass in silence
 * (duplicate keys, numbers out of range, broken UTF-8, text after the document) is refused before json-c
 * sees it.
 */
#ifndef NBDPULL_FORMAT_JSON_STRICT_H
#define NBDPULL_FORMAT_JSON_STRICT_H

#include "nbdpull/error.h"

#include <json.h>

#define NP_JSON_SIZE_MAX (1u << 20) /**< bytes of a document */
#define NP_JSON_DEPTH_MAX 8         /**< objects and arrays inside one another */
#define NP_JSON_KEYS_MAX 256        /**< keys of one object */
#define NP_JSON_KEY_MAX 64          /**< bytes of a key, of [a-z0-9_] */
#define NP_JSON_INTEGER_LIMIT (UINT64_C(1) << 53)

/**
 * Check that text is exactly one JSON object in that form.
 * @param what for messages, as in "a.nbp: META"
 * @return 0, or -1 with NP_DAMAGED that names the byte
 */
int np_json_strict_check(const char *text, size_t size, const char *what, struct np_error *err);

/** Check, then parse. @param root out, owned (json_object_put). NP_DAMAGED; NP_FAILED out of memory. */
int np_json_strict_parse(const char *text, size_t size, const char *what, struct json_object **root,
                         struct np_error *err);

/** For NP_CLEANUP. Takes NULL inside. */
void np_json_strict_put(struct json_object **root);

#endif
