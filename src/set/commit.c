#include "internal.h"
#include "point.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"
#include "nbdpull/log.h"

#include <errno.h>
#include <stdio.h>

/* The highest number that occurs in an area, or high if that is higher. */
int np_point_raise_to_area(struct np_set *set, const char *area, uint64_t *high, struct np_error *err)
{
    NP_CLEANUP(np_names_clear) struct np_names names = {0};
    if (set->store->ops->list(set->store, area, &names, err) < 0)
        return -1;
    for (size_t i = 0; i < names.count; i++) {
        char id[NP_POINT_ID_MAX];
        uint64_t number;
        if (np_point_id_of_file(names.list[i], id, &number))
            *high = np_max_u64(*high, number);
    }
    return 0;
}

int np_set_next_id(struct np_set *set, char id[NP_POINT_ID_MAX], struct np_error *err)
{
    uint64_t next = np_max_u64(np_max_u64(set->json.next, set->json.committed + 1), 1);
    uint64_t high = next - 1;
    for (size_t i = 0; np_store_areas[i] != NULL; i++) {
        if (np_point_raise_to_area(set, np_store_areas[i], &high, err) < 0)
            return -1;
    }
    if (high >= NP_POINT_NUMBER_MAX)
        return np_fail(err, NP_FAILED, "%s: no id is left for another point; begin a new set", set->path);

    /* Used up before anything bears it: then neither a crash nor a removal brings it back. */
    struct np_set_json json = set->json;
    json.next = high + 2;
    if (np_set_json_write(set->store, set->path, &json, err) < 0)
        return -1;
    set->json = json;
    np_point_id_format(high + 1, id);
    return 0;
}

int np_set_has_record(struct np_set *set, const char *id, bool *has, struct np_error *err)
{
    char key[NP_SET_KEY_MAX];
    np_point_key(id, key);
    struct np_store_reader *reader;
    if (set->store->ops->open(set->store, key, &reader, err) < 0)
        return -1;
    *has = reader != NULL;
    if (reader != NULL)
        reader->close(reader);
    return 0;
}

/* Nothing is committed that could not be read back. */
static int encode_checked(const struct np_point *point, const char *path, char **text, size_t *size,
                          struct np_error *err)
{
    NP_CLEANUP(np_point_clear) struct np_point again = {0};
    NP_AUTO_FREE char *encoded = NULL;
    if (np_point_encode(point, path, &encoded, size, err) < 0)
        return -1;
    if (np_point_decode(encoded, *size, path, point->id, &again, err) < 0) {
        err->class = NP_FAILED; /* our own mistake, nothing is damaged yet */
        return np_error_context(err, "the point cannot be committed");
    }
    if (*size > NP_POINT_TEXT_MAX)
        return np_fail(err, NP_FAILED, "%s: the point's record is too large", path);
    *text = NP_STEAL(encoded);
    return 0;
}

/* It is there, and none that was put in its place. What is damaged of it is for verify to find. */
static int check_stream(struct np_set *set, const struct np_point_disk *disk, struct np_error *err)
{
    NP_CLEANUP(np_cleanup_input) struct np_stream_input *file = NULL;
    struct np_input_at input;
    struct np_error ignored = NP_ERROR_INIT;
    struct np_meta *meta;
    if (np_set_stream_open(set, disk, &file, &input, err) < 0)
        return -1;
    if (np_stream_first_meta(&input, disk->file, &meta, &ignored) < 0)
        return 0;
    bool same = np_uuid_equal(&meta->stream, &disk->stream_uuid);
    np_meta_free(meta);
    if (same)
        return 0;
    np_fail(err, NP_DAMAGED, "%s/%s: it is not the stream that the point's record names", set->path,
            disk->file);
    return np_error_where(err, disk->target, NP_NO_OFFSET);
}

/* What a disk builds on. Of a chain that is broken below, repair rebuilds what is there: @param made by a run
 */
static int check_parent(struct np_set *set, const struct np_point_disk *disk, bool made, struct np_error *err)
{
    NP_CLEANUP(np_point_clear) struct np_point parent = {0};
    bool has = false;
    if (np_point_read(set, disk->parent, &parent, &has, err) < 0)
        return -1;
    if (!has)
        return np_fail(err, NP_FAILED, "%s: the record of point %s is not there any more", set->path,
                       disk->parent);
    const struct np_point_disk *below = np_point_disk_of(&parent, disk->target);
    return made && below != NULL && below->stored ? check_stream(set, below, err) : 0;
}

static int check_disks(struct np_set *set, const struct np_point *point, struct np_error *err)
{
    for (size_t i = 0; i < point->disk_count; i++) {
        const struct np_point_disk *disk = &point->disks[i];
        if (disk->parent[0] != '\0' && check_parent(set, disk, set->written != NULL, err) < 0)
            return -1;
        if (disk->stored && check_stream(set, disk, err) < 0)
            return -1;
    }
    return 0;
}

/*
 * Whoever is told that it is done must find the point where the set was given. Last, so that the record
 * counts for nothing when the set, or a part of it, was taken away at any time before.
 */
static int check_all(struct np_set *set, const struct np_point *point, struct np_error *err)
{
    bool has;
    if (np_set_check_place(set, err) < 0 || np_written_check(set, err) < 0 ||
        np_set_has_record(set, point->id, &has, err) < 0)
        return -1;
    return has ? check_disks(set, point, err)
               : np_fail(err, NP_FAILED, "%s: the record of point %s is not there any more", set->path,
                         point->id);
}

/* After a failed put the record may stand there: it must not make a point of what is about to be removed. */
static int put_record(struct np_set *set, const struct np_point *point, const char *key, const char *text,
                      size_t size, struct np_error *err)
{
    if (set->store->ops->put(set->store, key, text, size, NP_STORE_NEW, err) == 0 &&
        check_all(set, point, err) == 0)
        return 0;
    struct np_error second = NP_ERROR_INIT;
    if (set->store->ops->remove(set->store, key, &second) < 0)
        np_log_warning("%s", second.message);
    return -1;
}

/* Only a hint for finding debris, so the point stands without it. */
static void raise_committed(struct np_set *set, uint64_t number)
{
    struct np_set_json json = set->json;
    struct np_error err = NP_ERROR_INIT;
    json.committed = np_max_u64(json.committed, number);
    json.next = np_max_u64(json.next, number + 1);
    if (np_set_json_write(set->store, set->path, &json, &err) < 0)
        np_log_warning("%s", err.message);
    else
        set->json = json;
}

int np_set_commit(struct np_set *set, const struct np_point *point, struct np_error *err)
{
    uint64_t number;
    if (!np_point_id_parse(point->id, &number))
        return np_fail(err, NP_FAILED, "%s: \"%s\" is no id of a point", set->path, point->id);
    char key[NP_SET_KEY_MAX];
    np_point_key(point->id, key);
    NP_AUTO_FREE char *path = np_path_join(set->path, key);
    if (path == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s: cannot commit", set->path);

    NP_AUTO_FREE char *text = NULL;
    size_t size;
    bool taken;
    if (encode_checked(point, path, &text, &size, err) < 0 ||
        np_set_has_record(set, point->id, &taken, err) < 0)
        return -1;
    if (taken)
        return np_fail(err, NP_FAILED, "%s: the point is committed already", path);
    if (put_record(set, point, key, text, size, err) < 0)
        return -1;
    np_written_clear(set);
    raise_committed(set, number);
    return 0;
}
