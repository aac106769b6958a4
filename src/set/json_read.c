#include "json_read.h"

#include "nbdpull/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define DEPTH_MAX 8
#define VALUES_MAX 100000 /* a point of 1024 disks has 28 each */

static void free_tokener(struct json_tokener **tokener)
{
    if (*tokener != NULL)
        json_tokener_free(*tokener);
}

static bool parse_hash(const char *text, struct np_hash128 *hash)
{
    if (strlen(text) != (size_t)2 * NP_HASH128_SIZE || text[strspn(text, "0123456789abcdef")] != '\0')
        return false;
    uint64_t halves[2];
    for (size_t i = 0; i < 2; i++) {
        char half[17] = "";
        memcpy(half, text + 16 * i, 16);
        halves[i] = strtoull(half, NULL, 16);
    }
    *hash = (struct np_hash128){.high = halves[0], .low = halves[1]};
    return true;
}

/* True too where there is none. */
static bool sum_holds(const struct np_json_read *root, const char *text, size_t size)
{
    static const char before[] = "{\n  \"sum\": \"", behind[] = "\",\n";
    const size_t digits = (size_t)2 * NP_HASH128_SIZE, front = strlen(before) + digits + strlen(behind);
    char sum[2 * NP_HASH128_SIZE + 1] = "";
    struct np_hash128 wanted;
    if (!np_json_read_has(root, "sum"))
        return true;
    if (size < front || memcmp(text, before, strlen(before)) != 0 ||
        memcmp(text + strlen(before) + digits, behind, strlen(behind)) != 0)
        return false;
    memcpy(sum, text + strlen(before), digits);
    return parse_hash(sum, &wanted) && np_hash128_equal(wanted, np_hash128(text + front, size - front));
}

/*
 * json-c needs up to 800 bytes for a value that takes three, "{},". Each value but the first stands behind
 * one of these characters; a comma in a string is counted too, which the limit has room for.
 */
static bool has_too_many_values(const char *text, size_t size)
{
    size_t count = 0;
    for (size_t i = 0; i < size; i++)
        count += text[i] == '{' || text[i] == '[' || text[i] == ',';
    return count > VALUES_MAX;
}

int np_json_read_parse(const char *text, size_t size, const char *file, struct np_json_read *root,
                       struct np_error *err)
{
    NP_CLEANUP(free_tokener) struct json_tokener *tokener = json_tokener_new_ex(DEPTH_MAX);
    if (tokener == NULL || size > INT32_MAX)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s: cannot parse", file);
    if (has_too_many_values(text, size))
        return np_fail(err, NP_DAMAGED, "%s: more than %d values", file, VALUES_MAX);
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);

    struct json_object *object = json_tokener_parse_ex(tokener, text, (int)size);
    enum json_tokener_error cause = json_tokener_get_error(tokener);
    size_t end = json_tokener_get_parse_end(tokener);
    if (cause == json_tokener_success && text[end + strspn(text + end, " \t\r\n")] == '\0' &&
        end + strspn(text + end, " \t\r\n") == size && json_object_is_type(object, json_type_object)) {
        *root = (struct np_json_read){.object = object, .file = file};
        if (sum_holds(root, text, size))
            return 0;
        np_json_read_free(root);
        return np_fail(
            err, NP_DAMAGED,
            "%s: its checksum is wrong: it is damaged, or was changed by somebody who left the line "
            "\"sum\" in it",
            file);
    }
    json_object_put(object);
    if (cause == json_tokener_continue)
        return np_fail(err, NP_DAMAGED,
                       "%s: byte %zu: not JSON: it ends there, in the middle; was it truncated?", file, size);
    if (cause == json_tokener_success)
        return np_fail(err, NP_DAMAGED, "%s: byte %zu: not one JSON object and nothing else", file, end);
    return np_fail(err, NP_DAMAGED, "%s: byte %zu: not JSON: %s", file, end, json_tokener_error_desc(cause));
}

void np_json_read_free(struct np_json_read *root)
{
    json_object_put(root->object);
    root->object = NULL;
}

int np_json_read_wrong(const struct np_json_read *in, const char *key, const char *what, struct np_error *err)
{
    return np_fail(err, NP_DAMAGED, "%s: key %s%s %s", in->file, in->where, key, what);
}

static int find(const struct np_json_read *in, const char *key, struct json_object **value,
                struct np_error *err)
{
    if (!json_object_object_get_ex(in->object, key, value))
        return np_json_read_wrong(in, key, "is missing", err);
    return 0;
}

static int find_typed(const struct np_json_read *in, const char *key, enum json_type type, const char *what,
                      struct json_object **value, struct np_error *err)
{
    if (find(in, key, value, err) < 0)
        return -1;
    if (!json_object_is_type(*value, type))
        return np_json_read_wrong(in, key, what, err);
    return 0;
}

static int copy_string(const struct np_json_read *in, const char *key, struct json_object *value, char *to,
                       size_t room, struct np_error *err)
{
    const char *text = json_object_get_string(value);
    size_t length = (size_t)json_object_get_string_len(value);
    if (strlen(text) != length)
        return np_json_read_wrong(in, key, "holds a NUL", err);
    if (length >= room)
        return np_json_read_wrong(in, key, "is too long", err);
    memcpy(to, text, length + 1);
    return 0;
}

bool np_json_read_has(const struct np_json_read *in, const char *key)
{
    return json_object_object_get_ex(in->object, key, NULL);
}

int np_json_read_string(const struct np_json_read *in, const char *key, char *to, size_t room,
                        struct np_error *err)
{
    struct json_object *value;
    if (find_typed(in, key, json_type_string, "is not a string", &value, err) < 0)
        return -1;
    return copy_string(in, key, value, to, room, err);
}

int np_json_read_string_or_null(const struct np_json_read *in, const char *key, char *to, size_t room,
                                struct np_error *err)
{
    struct json_object *value;
    if (find(in, key, &value, err) < 0)
        return -1;
    if (value == NULL) {
        to[0] = '\0';
        return 0;
    }
    return np_json_read_string(in, key, to, room, err);
}

int np_json_read_number(const struct np_json_read *in, const char *key, uint64_t *value, struct np_error *err)
{
    struct json_object *number;
    if (find_typed(in, key, json_type_int, "is not a whole number", &number, err) < 0)
        return -1;
    if (json_object_get_int64(number) < 0)
        return np_json_read_wrong(in, key, "is negative", err);
    if (json_object_get_uint64(number) >= NP_JSON_READ_LIMIT)
        return np_json_read_wrong(in, key, "is 2^53 or more", err);
    *value = json_object_get_uint64(number);
    return 0;
}

int np_json_read_number_text(const struct np_json_read *in, const char *key, uint64_t *value,
                             struct np_error *err)
{
    char text[24];
    if (np_json_read_string(in, key, text, sizeof(text), err) < 0)
        return -1;
    errno = 0;
    uint64_t number = strtoull(text, NULL, 10);
    if (text[0] == '\0' || text[strspn(text, "0123456789")] != '\0' || errno != 0)
        return np_json_read_wrong(in, key, "is not a number in decimal digits", err);
    *value = number;
    return 0;
}

int np_json_read_bool(const struct np_json_read *in, const char *key, bool *value, struct np_error *err)
{
    struct json_object *found;
    if (find_typed(in, key, json_type_boolean, "is not true or false", &found, err) < 0)
        return -1;
    *value = json_object_get_boolean(found);
    return 0;
}

int np_json_read_uuid(const struct np_json_read *in, const char *key, struct np_uuid *uuid,
                      struct np_error *err)
{
    char text[NP_UUID_TEXT_SIZE];
    if (np_json_read_string(in, key, text, sizeof(text), err) < 0)
        return -1;
    if (!np_uuid_parse(text, uuid))
        return np_json_read_wrong(in, key, "is not a UUID", err);
    return 0;
}

int np_json_read_hash_or_null(const struct np_json_read *in, const char *key, bool *known,
                              struct np_hash128 *hash, struct np_error *err)
{
    char text[2 * NP_HASH128_SIZE + 1];
    if (np_json_read_string_or_null(in, key, text, sizeof(text), err) < 0)
        return -1;
    *known = text[0] != '\0';
    if (*known && !parse_hash(text, hash))
        return np_json_read_wrong(in, key, "is not 32 hexadecimal digits", err);
    return 0;
}

int np_json_read_object(const struct np_json_read *in, const char *key, struct np_json_read *inner,
                        struct np_error *err)
{
    struct json_object *value;
    if (find_typed(in, key, json_type_object, "is not an object", &value, err) < 0)
        return -1;
    *inner = (struct np_json_read){.object = value, .file = in->file};
    snprintf(inner->where, sizeof(inner->where), "%.40s%.20s.", in->where, key);
    return 0;
}

int np_json_read_object_or_null(const struct np_json_read *in, const char *key, struct np_json_read *inner,
                                struct np_error *err)
{
    struct json_object *value;
    if (find(in, key, &value, err) < 0)
        return -1;
    if (value != NULL)
        return np_json_read_object(in, key, inner, err);
    *inner = (struct np_json_read){.file = in->file};
    return 0;
}

int np_json_read_array(const struct np_json_read *in, const char *key, size_t limit,
                       struct json_object **array, struct np_error *err)
{
    if (find_typed(in, key, json_type_array, "is not an array", array, err) < 0)
        return -1;
    if (json_object_array_length(*array) > limit)
        return np_json_read_wrong(in, key, "has too many elements", err);
    return 0;
}

int np_json_read_element(const struct np_json_read *in, const char *key, struct json_object *array, size_t i,
                         struct np_json_read *inner, struct np_error *err)
{
    *inner = (struct np_json_read){.object = json_object_array_get_idx(array, i), .file = in->file};
    snprintf(inner->where, sizeof(inner->where), "%.20s%.20s[%zu].", in->where, key, i);
    if (!json_object_is_type(inner->object, json_type_object))
        return np_json_read_wrong(inner, "", "is not an object", err);
    return 0;
}
