#include "json_fields.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/hash.h"
#include "nbdpull/uuid.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGEST_TEXT_SIZE 33  /* 32 hexadecimal digits of the number, highest first, and a NUL */
#define DECIMAL_TEXT_SIZE 21 /* 2^64 - 1 has 20 digits, and a NUL */

static uint64_t load_integer(const void *from, size_t size)
{
    if (size == sizeof(uint16_t))
        return *(const uint16_t *)from;
    if (size == sizeof(uint32_t))
        return *(const uint32_t *)from;
    return *(const uint64_t *)from;
}

static void store_integer(void *to, size_t size, uint64_t value)
{
    if (size == sizeof(uint16_t))
        *(uint16_t *)to = (uint16_t)value;
    else if (size == sizeof(uint32_t))
        *(uint32_t *)to = (uint32_t)value;
    else
        *(uint64_t *)to = value;
}

static bool is_null(const struct np_json_field *field, const void *from)
{
    const void *member = (const char *)from + field->offset;
    switch (field->kind) {
    case NP_JSON_TEXT_OR_NULL:
        return *(const char *)member == '\0';
    case NP_JSON_UUID_OR_NULL:
    case NP_JSON_GROUP_OR_NULL:
        return np_uuid_is_nil(member);
    case NP_JSON_DIGEST_OR_NULL:
        return !*(const bool *)((const char *)from + field->known);
    default:
        return false;
    }
}

static struct json_object *new_uuid(const struct np_uuid *uuid)
{
    char text[NP_UUID_TEXT_SIZE];
    np_uuid_format(uuid, text);
    return json_object_new_string(text);
}

static struct json_object *new_decimal(uint64_t value)
{
    char text[DECIMAL_TEXT_SIZE];
    snprintf(text, sizeof(text), "%" PRIu64, value);
    return json_object_new_string(text);
}

static struct json_object *new_digest(const struct np_hash128 *digest)
{
    char text[DIGEST_TEXT_SIZE];
    snprintf(text, sizeof(text), "%016" PRIx64 "%016" PRIx64, digest->high, digest->low);
    return json_object_new_string(text);
}

static struct json_object *new_group(const struct np_json_field *fields, const void *from,
                                     struct np_error *err)
{
    NP_CLEANUP(np_json_strict_put) struct json_object *group = json_object_new_object();
    if (group == NULL || np_json_fields_put(fields, from, group, err) < 0)
        return NULL;
    return NP_STEAL(group);
}

static struct json_object *new_value(const struct np_json_field *field, const void *from,
                                     struct np_error *err)
{
    const void *member = (const char *)from + field->offset;
    switch (field->kind) {
    case NP_JSON_TEXT:
    case NP_JSON_TEXT_OR_NULL:
        return json_object_new_string(member);
    case NP_JSON_UUID:
    case NP_JSON_UUID_OR_NULL:
        return new_uuid(member);
    case NP_JSON_INTEGER:
        return json_object_new_uint64(load_integer(member, field->size));
    case NP_JSON_DECIMAL:
        return new_decimal(*(const uint64_t *)member);
    case NP_JSON_BOOLEAN:
        return json_object_new_boolean(*(const bool *)member);
    case NP_JSON_DIGEST_OR_NULL:
        return new_digest(member);
    case NP_JSON_GROUP:
    case NP_JSON_GROUP_OR_NULL:
        return new_group(field->group, from, err);
    }
    return NULL;
}

int np_json_fields_add(struct json_object *to, const char *key, struct json_object *value,
                       struct np_error *err)
{
    /* json-c takes NULL for null, so a failed allocation must be caught here. */
    if (value == NULL || json_object_object_add(to, key, value) < 0) {
        json_object_put(value);
        return np_fail(err, NP_FAILED, "cannot make the JSON of \"%s\": out of memory", key);
    }
    return 0;
}

int np_json_fields_put(const struct np_json_field *fields, const void *from, struct json_object *to,
                       struct np_error *err)
{
    for (const struct np_json_field *field = fields; field->key != NULL; field++) {
        if (is_null(field, from)) {
            if (json_object_object_add(to, field->key, NULL) < 0)
                return np_fail(err, NP_FAILED, "cannot make the JSON of \"%s\": out of memory", field->key);
            continue;
        }
        if (np_json_fields_add(to, field->key, new_value(field, from, err), err) < 0)
            return -1;
    }
    return 0;
}

static int refuse(const char *where, const char *key, const char *why, struct np_error *err)
{
    return np_fail(err, NP_DAMAGED, "%s: \"%s\" %s", where, key, why);
}

static int get_text(const struct np_json_field *field, struct json_object *value, char *to, const char *where,
                    struct np_error *err)
{
    if (!json_object_is_type(value, json_type_string))
        return refuse(where, field->key, "is no string", err);
    /* Strings hold no NUL: np_json_strict_check saw to it. */
    if ((size_t)json_object_get_string_len(value) >= field->size)
        return refuse(where, field->key, "is longer than it may be", err);
    if (field->kind == NP_JSON_TEXT_OR_NULL && json_object_get_string_len(value) == 0)
        return refuse(where, field->key, "is empty; none is written as null", err);
    snprintf(to, field->size, "%s", json_object_get_string(value));
    return 0;
}

static int get_uuid(const struct np_json_field *field, struct json_object *value, struct np_uuid *to,
                    const char *where, struct np_error *err)
{
    bool is_uuid =
        json_object_is_type(value, json_type_string) && np_uuid_parse(json_object_get_string(value), to);
    if (!is_uuid)
        return refuse(where, field->key, "is no UUID", err);
    return np_uuid_is_nil(to) ? refuse(where, field->key, "is the nil UUID; none is written as null", err)
                              : 0;
}

static int get_integer(const struct np_json_field *field, struct json_object *value, void *to,
                       const char *where, struct np_error *err)
{
    if (!json_object_is_type(value, json_type_int))
        return refuse(where, field->key, "is no integer", err);
    uint64_t number = json_object_get_uint64(value);
    if (field->size < sizeof(number) && number >> (8 * field->size) != 0)
        return refuse(where, field->key, "is larger than it may be", err);
    store_integer(to, field->size, number);
    return 0;
}

static int get_decimal(const struct np_json_field *field, struct json_object *value, uint64_t *to,
                       const char *where, struct np_error *err)
{
    const char *text = json_object_get_string(value);
    if (!json_object_is_type(value, json_type_string) || text[0] == '\0' ||
        text[strspn(text, "0123456789")] != '\0' || (text[0] == '0' && text[1] != '\0'))
        return refuse(where, field->key, "is no string of decimal digits", err);
    errno = 0;
    *to = strtoull(text, NULL, 10);
    return errno != 0 ? refuse(where, field->key, "is larger than it may be", err) : 0;
}

static int get_digest(const struct np_json_field *field, struct json_object *value, void *to,
                      const char *where, struct np_error *err)
{
    struct np_hash128 *digest = (void *)((char *)to + field->offset);
    const char *text = json_object_get_string(value);
    bool is_digest = json_object_is_type(value, json_type_string) &&
                     json_object_get_string_len(value) == DIGEST_TEXT_SIZE - 1 &&
                     strspn(text, "0123456789abcdef") == DIGEST_TEXT_SIZE - 1 &&
                     /* NOLINTNEXTLINE(cert-err34-c): they are 32 digits, so it cannot overflow */
                     sscanf(text, "%16" SCNx64 "%16" SCNx64, &digest->high, &digest->low) == 2;
    if (!is_digest)
        return refuse(where, field->key, "is no digest of 32 hexadecimal digits in lower case", err);
    *(bool *)((char *)to + field->known) = true;
    return 0;
}

static int get_group(const struct np_json_field *field, struct json_object *value, void *to,
                     const char *where, struct np_error *err)
{
    char inner[512];
    snprintf(inner, sizeof(inner), "%s: %s", where, field->key);
    return np_json_fields_get(field->group, value, to, inner, err);
}

static int get_value(const struct np_json_field *field, struct json_object *value, void *to,
                     const char *where, struct np_error *err)
{
    void *member = (char *)to + field->offset;
    switch (field->kind) {
    case NP_JSON_TEXT:
    case NP_JSON_TEXT_OR_NULL:
        return get_text(field, value, member, where, err);
    case NP_JSON_UUID:
    case NP_JSON_UUID_OR_NULL:
        return get_uuid(field, value, member, where, err);
    case NP_JSON_INTEGER:
        return get_integer(field, value, member, where, err);
    case NP_JSON_DECIMAL:
        return get_decimal(field, value, member, where, err);
    case NP_JSON_BOOLEAN:
        if (!json_object_is_type(value, json_type_boolean))
            return refuse(where, field->key, "is neither true nor false", err);
        *(bool *)member = json_object_get_boolean(value);
        return 0;
    case NP_JSON_DIGEST_OR_NULL:
        return get_digest(field, value, to, where, err);
    case NP_JSON_GROUP:
    case NP_JSON_GROUP_OR_NULL:
        return get_group(field, value, to, where, err);
    }
    return -1;
}

static bool may_be_null(enum np_json_kind kind)
{
    return kind == NP_JSON_TEXT_OR_NULL || kind == NP_JSON_UUID_OR_NULL || kind == NP_JSON_DIGEST_OR_NULL ||
           kind == NP_JSON_GROUP_OR_NULL;
}

int np_json_fields_get(const struct np_json_field *fields, struct json_object *from, void *to,
                       const char *where, struct np_error *err)
{
    if (!json_object_is_type(from, json_type_object))
        return np_fail(err, NP_DAMAGED, "%s: not an object where one must be", where);
    for (const struct np_json_field *field = fields; field->key != NULL; field++) {
        struct json_object *value;
        if (!json_object_object_get_ex(from, field->key, &value))
            return refuse(where, field->key, "is missing", err);
        if (value == NULL && may_be_null(field->kind))
            continue;
        if (get_value(field, value, to, where, err) < 0)
            return -1;
    }
    return 0;
}

int np_json_fields_array(struct json_object *from, const char *key, size_t limit, const char *where,
                         struct json_object **array, struct np_error *err)
{
    if (!json_object_object_get_ex(from, key, array) || !json_object_is_type(*array, json_type_array))
        return refuse(where, key, "is missing or no array", err);
    if (json_object_array_length(*array) > limit)
        return refuse(where, key, "has too many entries", err);
    return 0;
}
