#include "json_write.h"

#include "nbdpull/cleanup.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void np_json_write_init(struct np_json_write *out)
{
    *out = (struct np_json_write){.object = json_object_new_object(), .failed = &out->own_failed};
    out->own_failed = out->object == NULL;
}

void np_json_write_clear(struct np_json_write *out)
{
    json_object_put(out->object);
    out->object = NULL;
}

/* Takes value; NULL means that memory ran out, never JSON's null. */
static void put(struct np_json_write *out, const char *key, struct json_object *value)
{
    if (value != NULL && out->object != NULL && json_object_object_add(out->object, key, value) == 0)
        return;
    json_object_put(value);
    *out->failed = true;
}

void np_json_write_string(struct np_json_write *out, const char *key, const char *text)
{
    put(out, key, json_object_new_string(text));
}

void np_json_write_null(struct np_json_write *out, const char *key)
{
    if (out->object == NULL || json_object_object_add(out->object, key, NULL) < 0)
        *out->failed = true;
}

void np_json_write_string_or_null(struct np_json_write *out, const char *key, const char *text)
{
    if (text[0] == '\0')
        np_json_write_null(out, key);
    else
        np_json_write_string(out, key, text);
}

void np_json_write_number(struct np_json_write *out, const char *key, uint64_t value)
{
    put(out, key, json_object_new_uint64(value));
}

void np_json_write_number_text(struct np_json_write *out, const char *key, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof(text), "%" PRIu64, value);
    np_json_write_string(out, key, text);
}

void np_json_write_bool(struct np_json_write *out, const char *key, bool value)
{
    put(out, key, json_object_new_boolean(value));
}

void np_json_write_uuid(struct np_json_write *out, const char *key, const struct np_uuid *uuid)
{
    char text[NP_UUID_TEXT_SIZE];
    np_uuid_format(uuid, text);
    np_json_write_string(out, key, text);
}

void np_json_write_hash_or_null(struct np_json_write *out, const char *key, bool known,
                                struct np_hash128 hash)
{
    char text[2 * NP_HASH128_SIZE + 1] = "";
    if (known)
        snprintf(text, sizeof(text), "%016" PRIx64 "%016" PRIx64, hash.high, hash.low);
    np_json_write_string_or_null(out, key, text);
}

void np_json_write_object(struct np_json_write *out, const char *key, struct np_json_write *inner)
{
    *inner = (struct np_json_write){.object = json_object_new_object(), .failed = out->failed};
    put(out, key, inner->object);
    if (*out->failed)
        inner->object = NULL; /* it may be gone */
}

struct json_object *np_json_write_array(struct np_json_write *out, const char *key)
{
    struct json_object *array = json_object_new_array();
    put(out, key, array);
    return *out->failed ? NULL : array;
}

void np_json_write_element(struct np_json_write *out, struct json_object *array, struct np_json_write *inner)
{
    *inner = (struct np_json_write){.object = json_object_new_object(), .failed = out->failed};
    if (array != NULL && inner->object != NULL && json_object_array_add(array, inner->object) == 0)
        return;
    json_object_put(inner->object);
    inner->object = NULL;
    *out->failed = true;
}

/* The sum stands on the first line, in front of what it is of: see np_json_read_parse. */
int np_json_write_text(struct np_json_write *out, const char *file, char **text, size_t *size,
                       struct np_error *err)
{
    const int flags = JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE;
    const char *json = *out->failed ? NULL : json_object_to_json_string_ext(out->object, flags);
    NP_AUTO_FREE char *rest = NULL;
    int length = json == NULL ? -1 : asprintf(&rest, "%s\n", json + strlen("{\n"));
    if (length >= 0) {
        struct np_hash128 sum = np_hash128(rest, (size_t)length);
        length =
            asprintf(text, "{\n  \"sum\": \"%016" PRIx64 "%016" PRIx64 "\",\n%s", sum.high, sum.low, rest);
    }
    if (length < 0)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s: cannot make its text", file);
    *size = (size_t)length;
    return 0;
}
