#include "nbdpull/meta.h"

#include "json_fields.h"
#include "meta_check.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"

#include <stdio.h>
#include <string.h>

/* The order of these tables is the order of the keys in FORMAT.md, "META". */

#define META(key, kind, member) NP_JSON_MEMBER(key, kind, struct np_meta, member)
#define DISK(key, kind, member) NP_JSON_MEMBER(key, kind, struct np_meta_disk, member)
#define POINT_DISK(key, kind, member) NP_JSON_MEMBER(key, kind, struct np_meta_point_disk, member)

static const struct np_json_field domain_fields[] = {
    META("name", NP_JSON_TEXT, domain_name),
    META("uuid", NP_JSON_UUID, domain),
    {.key = NULL},
};

static const struct np_json_field point_fields[] = {
    META("id", NP_JSON_TEXT_OR_NULL, point_id),  META("uuid", NP_JSON_UUID, point),
    META("level", NP_JSON_TEXT, level),          META("checkpoint", NP_JSON_TEXT_OR_NULL, checkpoint),
    META("quiesced", NP_JSON_BOOLEAN, quiesced), {.key = NULL},
};

/* Optional. */
static const struct np_json_field guest_fields[] = {
    META("guest", NP_JSON_TEXT, guest),
    {.key = NULL},
};

static const struct np_json_field meta_fields[] = {
    META("stream", NP_JSON_UUID, stream),
    META("set", NP_JSON_UUID_OR_NULL, set),
    META("created", NP_JSON_TEXT, created),
    META("tool", NP_JSON_TEXT, tool),
    META("codec_lib", NP_JSON_TEXT, codec_lib),
    {.key = "domain", .kind = NP_JSON_GROUP, .group = domain_fields},
    {.key = "point", .kind = NP_JSON_GROUP, .group = point_fields},
    {.key = NULL},
};

static const struct np_json_field point_disk_fields[] = {
    POINT_DISK("target", NP_JSON_TEXT, target),
    POINT_DISK("state", NP_JSON_UUID_OR_NULL, state),
    POINT_DISK("stream", NP_JSON_UUID_OR_NULL, stream),
    POINT_DISK("why", NP_JSON_TEXT, why),
    {.key = NULL},
};

static const struct np_json_field source_fields[] = {
    DISK("format", NP_JSON_TEXT, source_format),
    {.key = NULL},
};

static const struct np_json_field image_fields[] = {
    DISK("source", NP_JSON_TEXT, image),
    DISK("dev", NP_JSON_DECIMAL, image_dev),
    DISK("ino", NP_JSON_DECIMAL, image_ino),
    {.key = NULL},
};

static const struct np_json_field base_fields[] = {
    DISK("state", NP_JSON_UUID, base_state),
    DISK("size", NP_JSON_INTEGER, base_size),
    {.key = "digest",
     .kind = NP_JSON_DIGEST_OR_NULL,
     .offset = offsetof(struct np_meta_disk, base_digest),
     .known = offsetof(struct np_meta_disk, base_digest_known)},
    {.key = NULL},
};

static const struct np_json_field disk_fields[] = {
    DISK("id", NP_JSON_INTEGER, id),
    DISK("target", NP_JSON_TEXT, target),
    DISK("size", NP_JSON_INTEGER, geometry.size),
    DISK("chunk", NP_JSON_INTEGER, geometry.chunk),
    DISK("granule", NP_JSON_INTEGER, geometry.granule),
    DISK("logical_block", NP_JSON_INTEGER, logical_block),
    DISK("physical_block", NP_JSON_INTEGER, physical_block),
    {.key = "source", .kind = NP_JSON_GROUP, .group = source_fields},
    {.key = "image", .kind = NP_JSON_GROUP, .group = image_fields},
    DISK("level", NP_JSON_TEXT, level),
    DISK("how", NP_JSON_TEXT, how),
    DISK("why", NP_JSON_TEXT, why),
    DISK("checkpoint", NP_JSON_TEXT_OR_NULL, checkpoint),
    DISK("base_checkpoint", NP_JSON_TEXT_OR_NULL, base_checkpoint),
    DISK("base_point", NP_JSON_TEXT_OR_NULL, base_point),
    DISK("state", NP_JSON_UUID, state),
    {.key = "base",
     .kind = NP_JSON_GROUP_OR_NULL,
     .offset = offsetof(struct np_meta_disk, base_state),
     .group = base_fields},
    {.key = NULL},
};

/* ---- life ---- */

static void *copy_list(const void *list, size_t count, size_t size)
{
    void *copy = calloc(count > 0 ? count : 1, size);
    if (copy != NULL && count > 0 && list != NULL)
        memcpy(copy, list, count * size);
    return copy;
}

static void cleanup_meta(struct np_meta **meta)
{
    np_meta_free(*meta);
}

void np_meta_free(struct np_meta *meta)
{
    if (meta == NULL)
        return;
    free(meta->point_disks);
    free(meta->disks);
    free(meta->made_from);
    free(meta);
}

/* Makes the lists of a META whose counts are set; takes their content from `from` if that is not NULL. */
static int make_lists(struct np_meta *meta, const struct np_meta *from, struct np_error *err)
{
    meta->disks = copy_list(from ? from->disks : NULL, meta->disk_count, sizeof(*meta->disks));
    meta->point_disks =
        copy_list(from ? from->point_disks : NULL, meta->point_disk_count, sizeof(*meta->point_disks));
    meta->made_from =
        copy_list(from ? from->made_from : NULL, meta->made_from_count, sizeof(*meta->made_from));
    if (meta->disks == NULL || meta->point_disks == NULL || meta->made_from == NULL)
        return np_fail(err, NP_FAILED, "cannot make a META: out of memory");
    return 0;
}

struct np_meta *np_meta_new(size_t disks, size_t point_disks, struct np_error *err)
{
    NP_CLEANUP(cleanup_meta) struct np_meta *meta = calloc(1, sizeof(*meta));
    if (meta == NULL) {
        np_fail(err, NP_FAILED, "cannot make a META: out of memory");
        return NULL;
    }
    meta->disk_count = disks;
    meta->point_disk_count = point_disks;
    return make_lists(meta, NULL, err) < 0 ? NULL : NP_STEAL(meta);
}

struct np_meta *np_meta_copy(const struct np_meta *meta, struct np_error *err)
{
    NP_CLEANUP(cleanup_meta) struct np_meta *copy = malloc(sizeof(*copy));
    if (copy == NULL) {
        np_fail(err, NP_FAILED, "cannot copy a META: out of memory");
        return NULL;
    }
    *copy = *meta;
    return make_lists(copy, meta, err) < 0 ? NULL : NP_STEAL(copy);
}

/* ---- writing ---- */

static int add_object(struct json_object *array, const struct np_json_field *fields, const void *from,
                      struct np_error *err)
{
    NP_CLEANUP(np_json_strict_put) struct json_object *object = json_object_new_object();
    if (object == NULL)
        return np_fail(err, NP_FAILED, "cannot make the JSON of META: out of memory");
    if (np_json_fields_put(fields, from, object, err) < 0)
        return -1;
    if (json_object_array_add(array, object) < 0)
        return np_fail(err, NP_FAILED, "cannot make the JSON of META: out of memory");
    NP_STEAL(object);
    return 0;
}

static int add_list(struct json_object *to, const char *key, const struct np_json_field *fields,
                    const void *list, size_t count, size_t size, struct np_error *err)
{
    struct json_object *array = json_object_new_array();
    if (np_json_fields_add(to, key, array, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        if (add_object(array, fields, (const char *)list + i * size, err) < 0)
            return -1;
    return 0;
}

static int add_made_from(struct json_object *to, const struct np_meta *meta, struct np_error *err)
{
    if (meta->made_from_count == 0)
        return 0;
    struct json_object *array = json_object_new_array();
    if (np_json_fields_add(to, "made_from", array, err) < 0)
        return -1;
    for (size_t i = 0; i < meta->made_from_count; i++) {
        char text[NP_UUID_TEXT_SIZE];
        np_uuid_format(&meta->made_from[i], text);
        struct json_object *uuid = json_object_new_string(text);
        if (uuid == NULL || json_object_array_add(array, uuid) < 0) {
            json_object_put(uuid);
            return np_fail(err, NP_FAILED, "cannot make the JSON of META: out of memory");
        }
    }
    return 0;
}

static int build(struct json_object *root, const struct np_meta *meta, struct np_error *err)
{
    struct json_object *point = NULL;
    if (np_meta_check_put_constants(root, err) < 0 || np_json_fields_put(meta_fields, meta, root, err) < 0 ||
        !json_object_object_get_ex(root, "point", &point))
        return -1;
    if (add_list(point, "disks", point_disk_fields, meta->point_disks, meta->point_disk_count,
                 sizeof(*meta->point_disks), err) < 0 ||
        (meta->guest[0] != '\0' && np_json_fields_put(guest_fields, meta, point, err) < 0))
        return -1;
    if (add_list(root, "disks", disk_fields, meta->disks, meta->disk_count, sizeof(*meta->disks), err) < 0)
        return -1;
    return add_made_from(root, meta, err);
}

/* What a reader would refuse must never be written: better no backup than one that cannot be read. */
static int check_readable(const char *text, struct np_error *err)
{
    struct np_error why = NP_ERROR_INIT;
    NP_CLEANUP(cleanup_meta) struct np_meta *meta = NULL;
    if (np_meta_parse(text, strlen(text), "new stream", &meta, &why) < 0)
        return np_fail(err, NP_FAILED, "cannot write a META that no reader would accept: %s", why.message);
    return 0;
}

int np_meta_format(const struct np_meta *meta, char **text, struct np_error *err)
{
    NP_CLEANUP(np_json_strict_put) struct json_object *root = json_object_new_object();
    if (root == NULL)
        return np_fail(err, NP_FAILED, "cannot make the JSON of META: out of memory");
    if (build(root, meta, err) < 0)
        return -1;

    const char *plain =
        json_object_to_json_string_ext(root, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
    NP_AUTO_FREE char *copy = plain != NULL ? strdup(plain) : NULL;
    if (copy == NULL)
        return np_fail(err, NP_FAILED, "cannot make the JSON of META: out of memory");
    if (check_readable(copy, err) < 0)
        return -1;
    *text = NP_STEAL(copy);
    return 0;
}

/* ---- reading ---- */

static int parse_list(struct json_object *array, const char *key, const struct np_json_field *fields,
                      void *list, size_t count, size_t size, const char *where, struct np_error *err)
{
    for (size_t i = 0; i < count; i++) {
        char entry[512];
        snprintf(entry, sizeof(entry), "%s: %s[%zu]", where, key, i);
        if (np_json_fields_get(fields, json_object_array_get_idx(array, i), (char *)list + i * size, entry,
                               err) < 0)
            return -1;
    }
    return 0;
}

static int parse_made_from(struct json_object *array, struct np_meta *meta, const char *where,
                           struct np_error *err)
{
    for (size_t i = 0; i < meta->made_from_count; i++) {
        struct json_object *uuid = json_object_array_get_idx(array, i);
        if (!json_object_is_type(uuid, json_type_string) ||
            !np_uuid_parse(json_object_get_string(uuid), &meta->made_from[i]))
            return np_fail(err, NP_DAMAGED, "%s: made_from[%zu] is no UUID", where, i);
    }
    return 0;
}

static int parse_root(struct json_object *root, const char *where, struct np_meta *meta, struct np_error *err)
{
    struct json_object *point, *point_disks, *disks, *made_from = NULL;
    if (np_meta_check_constants(root, where, err) < 0 ||
        np_json_fields_get(meta_fields, root, meta, where, err) < 0)
        return -1;
    json_object_object_get_ex(root, "point", &point);
    if (np_json_fields_array(point, "disks", NP_DISKS_MAX, where, &point_disks, err) < 0 ||
        np_json_fields_array(root, "disks", NP_DISKS_MAX, where, &disks, err) < 0)
        return -1;
    if (json_object_object_get_ex(point, "guest", NULL) &&
        np_json_fields_get(guest_fields, point, meta, where, err) < 0)
        return -1;
    if (json_object_object_get_ex(root, "made_from", NULL) &&
        np_json_fields_array(root, "made_from", NP_META_MADE_FROM_MAX, where, &made_from, err) < 0)
        return -1;

    meta->point_disk_count = json_object_array_length(point_disks);
    meta->disk_count = json_object_array_length(disks);
    meta->made_from_count = made_from != NULL ? json_object_array_length(made_from) : 0;
    if (make_lists(meta, NULL, err) < 0)
        return -1;
    if (parse_list(point_disks, "point.disks", point_disk_fields, meta->point_disks, meta->point_disk_count,
                   sizeof(*meta->point_disks), where, err) < 0 ||
        parse_list(disks, "disks", disk_fields, meta->disks, meta->disk_count, sizeof(*meta->disks), where,
                   err) < 0)
        return -1;
    return parse_made_from(made_from, meta, where, err);
}

int np_meta_parse(const char *text, size_t size, const char *name, struct np_meta **meta,
                  struct np_error *err)
{
    char where[256];
    snprintf(where, sizeof(where), "%s: META", name);

    NP_CLEANUP(np_json_strict_put) struct json_object *root = NULL;
    if (np_json_strict_parse(text, size, where, &root, err) < 0)
        return -1;
    NP_CLEANUP(cleanup_meta) struct np_meta *parsed = calloc(1, sizeof(*parsed));
    if (parsed == NULL)
        return np_fail(err, NP_FAILED, "%s: out of memory", where);
    if (parse_root(root, where, parsed, err) < 0 || np_meta_check(parsed, where, err) < 0)
        return -1;
    *meta = NP_STEAL(parsed);
    return 0;
}

/* ---- looking up ---- */

const struct np_meta_disk *np_meta_disk_by_id(const struct np_meta *meta, uint16_t id)
{
    for (size_t i = 0; i < meta->disk_count; i++)
        if (meta->disks[i].id == id)
            return &meta->disks[i];
    return NULL;
}

const struct np_meta_disk *np_meta_disk_by_target(const struct np_meta *meta, const char *target)
{
    for (size_t i = 0; i < meta->disk_count; i++)
        if (strcmp(meta->disks[i].target, target) == 0)
            return &meta->disks[i];
    return NULL;
}
