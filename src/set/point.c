#include "point.h"

#include "internal.h"
#include "json_read.h"
#include "json_write.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- writing ---- */

static void encode_stored(const struct np_point_disk *disk, struct np_json_write *out)
{
    struct np_json_write inner;
    np_json_write_string(out, "level", disk->level);
    np_json_write_string(out, "how", disk->how);
    np_json_write_string_or_null(out, "parent", disk->parent);
    np_json_write_uuid(out, "state", &disk->state);
    np_json_write_number(out, "size", disk->virtual_size);
    np_json_write_hash_or_null(out, "digest", disk->digest_known, disk->digest);
    np_json_write_string_or_null(out, "checkpoint", disk->checkpoint);

    np_json_write_object(out, "stream", &inner);
    np_json_write_uuid(&inner, "uuid", &disk->stream_uuid);
    np_json_write_string(&inner, "file", disk->file);
    np_json_write_number(&inner, "size", disk->stream_size);
    np_json_write_string(&inner, "codec", disk->codec);
    np_json_write_number(&inner, "data_bytes", disk->data_bytes);
    np_json_write_number(&inner, "zero_bytes", disk->zero_bytes);
    np_json_write_number(&inner, "stored_bytes", disk->stored_bytes);

    np_json_write_object(out, "image", &inner);
    np_json_write_string(&inner, "source", disk->image);
    np_json_write_number_text(&inner, "dev", disk->image_dev);
    np_json_write_number_text(&inner, "ino", disk->image_ino);
    if (disk->has_below)
        np_json_write_hash_or_null(&inner, "below", true, disk->below);
}

int np_point_encode(const struct np_point *point, const char *file, char **text, size_t *size,
                    struct np_error *err)
{
    NP_CLEANUP(np_json_write_clear) struct np_json_write out;
    np_json_write_init(&out);
    np_json_write_string(&out, "id", point->id);
    np_json_write_uuid(&out, "uuid", &point->uuid);
    np_json_write_string(&out, "level", point->level);
    np_json_write_string(&out, "time", point->time);
    np_json_write_string_or_null(&out, "checkpoint", point->checkpoint);
    np_json_write_bool(&out, "quiesced", point->quiesced);
    if (point->guest[0] != '\0')
        np_json_write_string(&out, "guest", point->guest);

    struct json_object *array = np_json_write_array(&out, "disks");
    for (size_t i = 0; i < point->disk_count; i++) {
        const struct np_point_disk *disk = &point->disks[i];
        struct np_json_write inner;
        np_json_write_element(&out, array, &inner);
        np_json_write_string(&inner, "target", disk->target);
        np_json_write_bool(&inner, "stored", disk->stored);
        np_json_write_string(&inner, "why", disk->why);
        if (disk->stored)
            encode_stored(disk, &inner);
    }
    return np_json_write_text(&out, file, text, size, err);
}

/* ---- reading ---- */

static bool is_one_of(const char *word, const char *const words[])
{
    for (size_t i = 0; words[i] != NULL; i++) {
        if (strcmp(word, words[i]) == 0)
            return true;
    }
    return false;
}

static int decode_level(const struct np_json_read *in, struct np_point_disk *disk, struct np_error *err)
{
    static const char *const levels[] = {"full", "copy", "inc", "diff", NULL};
    static const char *const hows[] = {"all", "bitmap", "scan", "merge", NULL};
    if (np_json_read_string(in, "level", disk->level, sizeof(disk->level), err) < 0)
        return -1;
    if (!is_one_of(disk->level, levels))
        return np_json_read_wrong(in, "level", "is not full, copy, inc or diff", err);
    if (np_json_read_string(in, "how", disk->how, sizeof(disk->how), err) < 0)
        return -1;
    if (!is_one_of(disk->how, hows))
        return np_json_read_wrong(in, "how", "is not all, bitmap, scan or merge", err);
    return 0;
}

/* A parent is older than its child: so a walk along parents ends. */
static int decode_parent(const struct np_json_read *in, const char *id, struct np_point_disk *disk,
                         struct np_error *err)
{
    if (np_json_read_string_or_null(in, "parent", disk->parent, sizeof(disk->parent), err) < 0)
        return -1;
    bool whole = strcmp(disk->level, "full") == 0 || strcmp(disk->level, "copy") == 0;
    if (whole != (disk->parent[0] == '\0'))
        return np_json_read_wrong(in, "parent", whole ? "is not null, at a full" : "is null, at an increment",
                                  err);
    uint64_t own, parent;
    if (!whole &&
        (!np_point_id_parse(disk->parent, &parent) || !np_point_id_parse(id, &own) || parent >= own))
        return np_json_read_wrong(in, "parent", "is not the id of an older point", err);
    return 0;
}

/* Debris is known by the id in its name: so a point's files carry its own id. */
static bool file_belongs(const char *file, const char *id)
{
    static const char area[] = "streams/";
    const size_t length = sizeof(area) - 1;
    char owner[NP_POINT_ID_MAX];
    uint64_t number;
    return strncmp(file, area, length) == 0 && strchr(file + length, '/') == NULL &&
           np_point_id_of_file(file + length, owner, &number) && strcmp(owner, id) == 0;
}

static int decode_stream(const struct np_json_read *in, const char *id, struct np_point_disk *disk,
                         struct np_error *err)
{
    struct np_json_read stream;
    if (np_json_read_object(in, "stream", &stream, err) < 0 ||
        np_json_read_uuid(&stream, "uuid", &disk->stream_uuid, err) < 0 ||
        np_json_read_string(&stream, "file", disk->file, sizeof(disk->file), err) < 0)
        return -1;
    if (!file_belongs(disk->file, id))
        return np_json_read_wrong(&stream, "file", "is not a file of this point in streams/", err);
    if (np_json_read_number(&stream, "size", &disk->stream_size, err) < 0 ||
        np_json_read_string(&stream, "codec", disk->codec, sizeof(disk->codec), err) < 0 ||
        np_json_read_number(&stream, "data_bytes", &disk->data_bytes, err) < 0 ||
        np_json_read_number(&stream, "zero_bytes", &disk->zero_bytes, err) < 0)
        return -1;
    return np_json_read_number(&stream, "stored_bytes", &disk->stored_bytes, err);
}

static int decode_image(const struct np_json_read *in, struct np_point_disk *disk, struct np_error *err)
{
    struct np_json_read image;
    if (np_json_read_object(in, "image", &image, err) < 0 ||
        np_json_read_string(&image, "source", disk->image, sizeof(disk->image), err) < 0 ||
        np_json_read_number_text(&image, "dev", &disk->image_dev, err) < 0 ||
        np_json_read_number_text(&image, "ino", &disk->image_ino, err) < 0)
        return -1;
    return json_object_object_get_ex(image.object, "below", NULL)
               ? np_json_read_hash_or_null(&image, "below", &disk->has_below, &disk->below, err)
               : 0;
}

static int decode_stored(const struct np_json_read *in, const char *id, struct np_point_disk *disk,
                         struct np_error *err)
{
    if (decode_level(in, disk, err) < 0 || decode_parent(in, id, disk, err) < 0 ||
        np_json_read_uuid(in, "state", &disk->state, err) < 0 ||
        np_json_read_number(in, "size", &disk->virtual_size, err) < 0 ||
        np_json_read_hash_or_null(in, "digest", &disk->digest_known, &disk->digest, err) < 0 ||
        np_json_read_string_or_null(in, "checkpoint", disk->checkpoint, sizeof(disk->checkpoint), err) < 0 ||
        decode_stream(in, id, disk, err) < 0)
        return -1;
    return decode_image(in, disk, err);
}

static int decode_disk(const struct np_json_read *in, const struct np_point *point, size_t i,
                       struct np_error *err)
{
    struct np_point_disk *disk = &point->disks[i];
    if (np_json_read_string(in, "target", disk->target, sizeof(disk->target), err) < 0)
        return -1;
    if (!np_name_is_safe(disk->target))
        return np_json_read_wrong(in, "target", "is no name of a disk", err);
    for (size_t j = 0; j < i; j++) {
        if (strcmp(point->disks[j].target, disk->target) == 0)
            return np_json_read_wrong(in, "target", "is the same as another disk's", err);
    }
    if (np_json_read_bool(in, "stored", &disk->stored, err) < 0 ||
        np_json_read_string(in, "why", disk->why, sizeof(disk->why), err) < 0)
        return -1;
    return disk->stored ? decode_stored(in, point->id, disk, err) : 0;
}

static int decode_disks(const struct np_json_read *in, struct np_point *point, struct np_error *err)
{
    struct json_object *array;
    if (np_json_read_array(in, "disks", NP_DISKS_MAX, &array, err) < 0)
        return -1;
    size_t count = json_object_array_length(array);
    if (count == 0)
        return np_json_read_wrong(in, "disks", "is empty", err);
    point->disks = calloc(count, sizeof(*point->disks));
    if (point->disks == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s: cannot read", in->file);
    point->disk_count = count;
    for (size_t i = 0; i < count; i++) {
        struct np_json_read element;
        if (np_json_read_element(in, "disks", array, i, &element, err) < 0 ||
            decode_disk(&element, point, i, err) < 0)
            return -1;
    }
    return 0;
}

static int decode(const struct np_json_read *in, const char *id, struct np_point *point, struct np_error *err)
{
    if (np_json_read_string(in, "id", point->id, sizeof(point->id), err) < 0)
        return -1;
    if (strcmp(point->id, id) != 0)
        return np_json_read_wrong(in, "id", "is not the one in the file's name", err);
    if (np_json_read_uuid(in, "uuid", &point->uuid, err) < 0 ||
        np_json_read_string(in, "level", point->level, sizeof(point->level), err) < 0 ||
        np_json_read_string(in, "time", point->time, sizeof(point->time), err) < 0 ||
        np_json_read_string_or_null(in, "checkpoint", point->checkpoint, sizeof(point->checkpoint), err) <
            0 ||
        np_json_read_bool(in, "quiesced", &point->quiesced, err) < 0)
        return -1;
    if (json_object_object_get_ex(in->object, "guest", NULL) &&
        np_json_read_string(in, "guest", point->guest, sizeof(point->guest), err) < 0)
        return -1;
    return decode_disks(in, point, err);
}

int np_point_decode(const char *text, size_t size, const char *file, const char *id, struct np_point *point,
                    struct np_error *err)
{
    *point = (struct np_point){0};
    NP_CLEANUP(np_json_read_free) struct np_json_read in = {0};
    if (np_json_read_parse(text, size, file, &in, err) == 0 && decode(&in, id, point, err) == 0)
        return 0;
    np_point_clear(point);
    return -1;
}

void np_point_clear(struct np_point *point)
{
    free(point->disks);
    *point = (struct np_point){0};
}
