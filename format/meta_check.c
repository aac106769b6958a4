#include "meta_check.h"

#include "json_fields.h"

#include "nbdpull/file.h"

#include <string.h>

/* ---- what a stream needs of its reader ---- */

static const int format_number = 1;

static const struct {
    const char *key, *value;
} algorithms[] = {{"sum", "xxh3"}, {"hash", "xxh3-128"}};

int np_meta_check_put_constants(struct json_object *root, struct np_error *err)
{
    if (np_json_fields_add(root, "format", json_object_new_int(format_number), err) < 0 ||
        np_json_fields_add(root, "requires", json_object_new_array(), err) < 0)
        return -1;
    for (size_t i = 0; i < sizeof(algorithms) / sizeof(algorithms[0]); i++)
        if (np_json_fields_add(root, algorithms[i].key, json_object_new_string(algorithms[i].value), err) < 0)
            return -1;
    return 0;
}

static int check_format(struct json_object *root, const char *where, struct np_error *err)
{
    struct json_object *format;
    if (!json_object_object_get_ex(root, "format", &format) || !json_object_is_type(format, json_type_int))
        return np_fail(err, NP_DAMAGED, "%s: \"format\" is missing or no integer", where);
    if (json_object_get_int64(format) != format_number)
        return np_fail(err, NP_FAILED, "%s: format %s is not known here; use a newer nbdpull", where,
                       json_object_get_string(format));
    return 0;
}

/* No name is known yet, so any name is one that this program lacks. */
static int check_requires(struct json_object *root, const char *where, struct np_error *err)
{
    struct json_object *array;
    if (np_json_fields_array(root, "requires", NP_JSON_KEYS_MAX, where, &array, err) < 0)
        return -1;
    if (json_object_array_length(array) == 0)
        return 0;
    struct json_object *name = json_object_array_get_idx(array, 0);
    if (!json_object_is_type(name, json_type_string))
        return np_fail(err, NP_DAMAGED, "%s: \"requires\" holds something other than names", where);
    return np_fail(err, NP_FAILED,
                   "%s: the stream requires \"%.64s\", which is not known here; use a newer nbdpull", where,
                   json_object_get_string(name));
}

int np_meta_check_constants(struct json_object *root, const char *where, struct np_error *err)
{
    if (check_format(root, where, err) < 0 || check_requires(root, where, err) < 0)
        return -1;
    for (size_t i = 0; i < sizeof(algorithms) / sizeof(algorithms[0]); i++) {
        struct json_object *name;
        if (!json_object_object_get_ex(root, algorithms[i].key, &name) ||
            !json_object_is_type(name, json_type_string))
            return np_fail(err, NP_DAMAGED, "%s: \"%s\" is missing or no string", where, algorithms[i].key);
        if (strcmp(json_object_get_string(name), algorithms[i].value) != 0)
            return np_fail(err, NP_FAILED,
                           "%s: \"%s\" is \"%.64s\", which is not known here; use a newer nbdpull", where,
                           algorithms[i].key, json_object_get_string(name));
    }
    return 0;
}

/* ---- what must agree ---- */

static int check_created(const struct np_meta *meta, const char *where, struct np_error *err)
{
    static const char shape[] = "0000-00-00T00:00:00Z";
    bool fits = strlen(meta->created) == sizeof(shape) - 1;
    for (size_t i = 0; fits && shape[i] != '\0'; i++) {
        char c = meta->created[i];
        fits = shape[i] == '0' ? c >= '0' && c <= '9' : c == shape[i];
    }
    return fits ? 0 : np_fail(err, NP_DAMAGED, "%s: \"created\" is not of the form %s", where, shape);
}

static int check_point_disks(const struct np_meta *meta, const char *where, struct np_error *err)
{
    for (size_t i = 0; i < meta->point_disk_count; i++) {
        const struct np_meta_point_disk *disk = &meta->point_disks[i];
        if (!np_name_is_safe(disk->target))
            return np_fail(err, NP_DAMAGED, "%s: point.disks[%zu]: the target is no safe name", where, i);
        if (!np_uuid_is_nil(&disk->stream) && np_uuid_is_nil(&disk->state))
            return np_fail(err, NP_DAMAGED, "%s: point.disks[%zu]: a stream without a state", where, i);
        for (size_t k = 0; k < i; k++)
            if (strcmp(meta->point_disks[k].target, disk->target) == 0)
                return np_fail(err, NP_DAMAGED, "%s: point.disks names %s twice", where, disk->target);
    }
    return 0;
}

/* Point records can be rebuilt from METAs only if the list of the point tells the truth about this stream. */
static int check_listed(const struct np_meta *meta, const struct np_meta_disk *disk, const char *where,
                        struct np_error *err)
{
    for (size_t i = 0; i < meta->point_disk_count; i++) {
        const struct np_meta_point_disk *listed = &meta->point_disks[i];
        if (strcmp(listed->target, disk->target) != 0)
            continue;
        if (np_uuid_equal(&listed->state, &disk->state) && np_uuid_equal(&listed->stream, &meta->stream))
            return 0;
        return np_fail(err, NP_DAMAGED, "%s: disk %s: point.disks names another state or stream of it", where,
                       disk->target);
    }
    return np_fail(err, NP_DAMAGED, "%s: disk %s is not in point.disks", where, disk->target);
}

/* The base's size is below 2^53 as every number of the JSON is. */
static int check_base(const struct np_meta_disk *disk, const char *where, struct np_error *err)
{
    if (np_uuid_is_nil(&disk->base_state))
        return 0;
    if (np_uuid_equal(&disk->base_state, &disk->state))
        return np_fail(err, NP_DAMAGED, "%s: disk %s builds on its own state", where, disk->target);
    return 0;
}

static int check_disk(const struct np_meta *meta, size_t i, const char *where, struct np_error *err)
{
    const struct np_meta_disk *disk = &meta->disks[i];
    if (!np_name_is_safe(disk->target))
        return np_fail(err, NP_DAMAGED, "%s: disks[%zu]: the target is no safe name", where, i);
    if (disk->id >= NP_DISKS_MAX)
        return np_fail(err, NP_DAMAGED, "%s: disk %s: ids are 0 to 1023", where, disk->target);
    if (i > 0 && meta->disks[i - 1].id >= disk->id)
        return np_fail(err, NP_DAMAGED, "%s: disk %s: ids do not rise", where, disk->target);
    for (size_t k = 0; k < i; k++) {
        if (strcmp(meta->disks[k].target, disk->target) == 0)
            return np_fail(err, NP_DAMAGED, "%s: disks names %s twice", where, disk->target);
        if (np_uuid_equal(&meta->disks[k].state, &disk->state))
            return np_fail(err, NP_DAMAGED, "%s: disks %s and %s have the same state", where,
                           meta->disks[k].target, disk->target);
    }
    if (np_geometry_check(&disk->geometry, err) < 0)
        return np_error_context(err, "%s: disk %s", where, disk->target);
    if (check_base(disk, where, err) < 0)
        return -1;
    return check_listed(meta, disk, where, err);
}

int np_meta_check(const struct np_meta *meta, const char *where, struct np_error *err)
{
    if (check_created(meta, where, err) < 0 || check_point_disks(meta, where, err) < 0)
        return -1;
    if (meta->disk_count == 0)
        return np_fail(err, NP_DAMAGED, "%s: it describes no disk", where);
    for (size_t i = 0; i < meta->disk_count; i++)
        if (check_disk(meta, i, where, err) < 0)
            return -1;
    return 0;
}
