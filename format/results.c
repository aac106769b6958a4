#include "results.h"

#include "json_fields.h"

#include "nbdpull/cleanup.h"

#include <stdio.h>
#include <string.h>

struct result {
    uint16_t id;
    struct np_totals totals;
};

#define RESULT(key, kind, member) NP_JSON_MEMBER(key, kind, struct result, member)

static const struct np_json_field result_fields[] = {
    RESULT("id", NP_JSON_INTEGER, id),
    RESULT("records", NP_JSON_INTEGER, totals.records),
    RESULT("data_bytes", NP_JSON_INTEGER, totals.data_bytes),
    RESULT("zero_bytes", NP_JSON_INTEGER, totals.zero_bytes),
    RESULT("dead_bytes", NP_JSON_INTEGER, totals.dead_bytes),
    RESULT("stored_bytes", NP_JSON_INTEGER, totals.stored_bytes),
    {.key = "digest",
     .kind = NP_JSON_DIGEST_OR_NULL,
     .offset = offsetof(struct result, totals.digest),
     .known = offsetof(struct result, totals.digest_known)},
    {.key = NULL},
};

static int add_result(struct json_object *array, uint16_t id, const struct np_totals *totals,
                      struct np_error *err)
{
    struct result result = {.id = id, .totals = *totals};
    NP_CLEANUP(np_json_strict_put) struct json_object *object = json_object_new_object();
    if (object == NULL)
        return np_fail(err, NP_FAILED, "cannot make the JSON of the results: out of memory");
    if (np_json_fields_put(result_fields, &result, object, err) < 0)
        return -1;
    if (json_object_array_add(array, object) < 0)
        return np_fail(err, NP_FAILED, "cannot make the JSON of the results: out of memory");
    NP_STEAL(object);
    return 0;
}

int np_results_format(const struct np_meta *meta, const struct np_totals *totals, size_t blobs, char **text,
                      struct np_error *err)
{
    NP_CLEANUP(np_json_strict_put) struct json_object *root = json_object_new_object();
    if (root == NULL)
        return np_fail(err, NP_FAILED, "cannot make the JSON of the results: out of memory");
    struct json_object *array = json_object_new_array();
    if (np_json_fields_add(root, "disks", array, err) < 0)
        return -1;
    for (size_t i = 0; i < meta->disk_count; i++)
        if (add_result(array, meta->disks[i].id, &totals[i], err) < 0)
            return -1;
    if (np_json_fields_add(root, "blobs", json_object_new_uint64(blobs), err) < 0)
        return -1;

    const char *plain = json_object_to_json_string_ext(root, JSON_C_TO_STRING_PLAIN);
    *text = plain != NULL ? strdup(plain) : NULL;
    return *text != NULL ? 0 : np_fail(err, NP_FAILED, "cannot make the JSON of the results: out of memory");
}

static bool equal(const struct np_totals *a, const struct np_totals *b)
{
    return a->records == b->records && a->data_bytes == b->data_bytes && a->zero_bytes == b->zero_bytes &&
           a->dead_bytes == b->dead_bytes && a->stored_bytes == b->stored_bytes &&
           a->digest_known == b->digest_known && (!a->digest_known || np_hash128_equal(a->digest, b->digest));
}

static int get_blobs(struct json_object *root, const char *where, uint64_t *blobs, struct np_error *err)
{
    struct json_object *count;
    if (!json_object_object_get_ex(root, "blobs", &count) || !json_object_is_type(count, json_type_int))
        return np_fail(err, NP_DAMAGED, "%s: \"blobs\" is not a number", where);
    *blobs = json_object_get_uint64(count);
    return 0;
}

int np_results_blobs(const char *text, size_t size, const char *name, uint64_t *blobs, struct np_error *err)
{
    NP_CLEANUP(np_json_strict_put) struct json_object *root = NULL;
    return np_json_strict_parse(text, size, name, &root, err) < 0 ? -1 : get_blobs(root, name, blobs, err);
}

int np_results_check(const char *text, size_t size, const char *name, const struct np_meta *meta,
                     const struct np_totals *totals, size_t blobs, struct np_error *err)
{
    char where[256];
    snprintf(where, sizeof(where), "%s: results", name);
    NP_CLEANUP(np_json_strict_put) struct json_object *root = NULL;
    if (np_json_strict_parse(text, size, where, &root, err) < 0)
        return -1;
    struct json_object *array;
    uint64_t count;
    if (np_json_fields_array(root, "disks", NP_DISKS_MAX, where, &array, err) < 0)
        return -1;
    if (json_object_array_length(array) != meta->disk_count)
        return np_fail(err, NP_DAMAGED, "%s: not one for each disk", where);

    for (size_t i = 0; i < meta->disk_count; i++) {
        struct result result = {0};
        if (np_json_fields_get(result_fields, json_object_array_get_idx(array, i), &result, where, err) < 0)
            return -1;
        if (result.id != meta->disks[i].id || !equal(&result.totals, &totals[i]))
            return np_fail(err, NP_DAMAGED, "%s: disk %s: they disagree with the stream", where,
                           meta->disks[i].target);
    }
    if (get_blobs(root, where, &count, err) < 0)
        return -1;
    return count == blobs ? 0 : np_fail(err, NP_DAMAGED, "%s: \"blobs\" is not the number of blobs", where);
}
