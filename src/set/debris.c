/*
 * What an interrupted run leaves behind: streams and config of an id that has no point record.
 *
 * Ids only rise, so debris has a higher id than every committed point. A stream of a lower id without a
 * record is something else: its record was lost. It is kept, for the record can be rebuilt from the stream.
 */
#include "internal.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"
#include "nbdpull/log.h"
#include "nbdpull/set_repair.h"
#include "nbdpull/stream.h"

#include <stdio.h>
#include <string.h>

static const char *const areas[] = {"streams", "config"};

/* Only names that we give: ID.TARGET.nbp and config/ID. Whatever else lies there is not ours to judge. */
bool np_point_is_file(const char *area, const char *name, char id[NP_POINT_ID_MAX], uint64_t *number)
{
    if (!np_point_id_of_file(name, id, number))
        return false;
    const char *rest = name + strlen(id);
    if (strcmp(area, "config") == 0)
        return rest[0] == '\0';
    char target[NP_TARGET_MAX];
    const char *end = strrchr(rest, '.');
    if (rest[0] != '.' || end == NULL || strcmp(end, ".nbp") != 0 || end <= rest)
        return false;
    size_t length = (size_t)(end - rest - 1);
    if (length >= sizeof(target))
        return false;
    memcpy(target, rest + 1, length);
    target[length] = '\0';
    return np_name_is_safe(target);
}

/* What cannot be read is what an interrupted run leaves. */
static bool is_of_other_set(struct np_set *set, const char *name)
{
    char key[NP_SET_KEY_MAX * 3];
    NP_CLEANUP(np_cleanup_input) struct np_stream_input *file = NULL;
    struct np_input_at input;
    struct np_error ignored = NP_ERROR_INIT;
    struct np_meta *meta;
    snprintf(key, sizeof(key), "streams/%s", name);
    if (np_set_file_open(set, key, &file, &input, &ignored) < 0 ||
        np_stream_first_meta(&input, key, &meta, &ignored) < 0)
        return false;
    bool other = !np_uuid_equal(&meta->set, &set->json.uuid);
    np_meta_free(meta);
    return other;
}

/*
 * Another set's streams/ may stand where ours was: a stream that says so is not ours to remove, nor is what
 * goes with it.
 * @param foreign out
 */
static int look_for_other_set(struct np_set *set, const char *id, bool *foreign, struct np_error *err)
{
    NP_CLEANUP(np_names_clear) struct np_names names = {0};
    *foreign = false;
    if (set->store->ops->list(set->store, "streams", &names, err) < 0)
        return -1;
    for (size_t i = 0; i < names.count && !*foreign; i++) {
        char owner[NP_POINT_ID_MAX];
        uint64_t number;
        *foreign = np_point_is_file("streams", names.list[i], owner, &number) && strcmp(owner, id) == 0 &&
                   is_of_other_set(set, names.list[i]);
        if (*foreign)
            np_log_warning("%s/streams/%s is of another backup set; it stays, with all files of %s",
                           set->path, names.list[i], id);
    }
    return 0;
}

static int remove_one(struct np_set *set, const char *area, const char *name, struct np_error *err)
{
    char key[NP_SET_KEY_MAX * 3];
    snprintf(key, sizeof(key), "%s/%s", area, name);
    if (set->store->ops->remove(set->store, key, err) < 0)
        return -1;
    np_log_debug("removed %s/%s", set->path, key);
    return 0;
}

static int remove_of_point(struct np_set *set, const char *area, const char *id, struct np_error *err)
{
    NP_CLEANUP(np_names_clear) struct np_names names = {0};
    if (set->store->ops->list(set->store, area, &names, err) < 0)
        return -1;
    for (size_t i = 0; i < names.count; i++) {
        char owner[NP_POINT_ID_MAX];
        uint64_t number;
        if (np_point_is_file(area, names.list[i], owner, &number) && strcmp(owner, id) == 0 &&
            remove_one(set, area, names.list[i], err) < 0)
            return -1;
    }
    return 0;
}

int np_set_has_point_files(struct np_set *set, const char *point_id, bool *has, struct np_error *err)
{
    *has = false;
    for (size_t i = 0; i < NP_ARRAY_SIZE(areas); i++) {
        NP_CLEANUP(np_names_clear) struct np_names names = {0};
        if (set->store->ops->list(set->store, areas[i], &names, err) < 0)
            return -1;
        for (size_t j = 0; j < names.count; j++) {
            char owner[NP_POINT_ID_MAX];
            uint64_t number;
            *has |= np_point_is_file(areas[i], names.list[j], owner, &number) && strcmp(owner, point_id) == 0;
        }
    }
    bool foreign = false;
    if (*has && look_for_other_set(set, point_id, &foreign, err) < 0)
        return -1;
    *has = *has && !foreign;
    return 0;
}

/* A record that was taken back, and came again after a power cut, would be a point without its streams. */
static int forget_record(struct np_set *set, const char *point_id, struct np_error *err)
{
    char key[NP_SET_KEY_MAX];
    np_point_key(point_id, key);
    return set->store->ops->remove(set->store, key, err);
}

/* The highest id that has a record, or ever had one. A damaged record counts: so it is not read. */
static int newest_committed(struct np_set *set, uint64_t *newest, struct np_error *err)
{
    NP_CLEANUP(np_names_clear) struct np_names names = {0};
    if (set->store->ops->list(set->store, "points", &names, err) < 0)
        return -1;
    *newest = set->json.committed;
    for (size_t i = 0; i < names.count; i++) {
        char id[NP_POINT_ID_MAX];
        uint64_t number;
        if (np_point_id_of_file(names.list[i], id, &number))
            *newest = np_max_u64(*newest, number);
    }
    return 0;
}

int np_set_remove_point_files(struct np_set *set, const char *point_id, struct np_error *err)
{
    uint64_t number, newest;
    bool committed, foreign;
    if (!np_point_id_parse(point_id, &number))
        return np_fail(err, NP_FAILED, "%s: \"%s\" is no id of a point", set->path, point_id);
    if (np_set_has_record(set, point_id, &committed, err) < 0)
        return -1;
    if (committed)
        return np_fail(err, NP_FAILED, "%s: point %s is committed, its files are not removed", set->path,
                       point_id);
    if (newest_committed(set, &newest, err) < 0)
        return -1;
    if (number <= newest) /* its record was lost */
        return 0;
    if (look_for_other_set(set, point_id, &foreign, err) < 0)
        return -1;
    if (foreign)
        return 0;
    if (forget_record(set, point_id, err) < 0)
        return -1;
    np_written_clear(set); /* held open, NFS would keep them by another name */
    for (size_t i = 0; i < NP_ARRAY_SIZE(areas); i++) {
        if (remove_of_point(set, areas[i], point_id, err) < 0)
            return -1;
    }
    return 0;
}

static int remove_from_area(struct np_set *set, const char *area, uint64_t newest, struct np_error *err)
{
    NP_CLEANUP(np_names_clear) struct np_names names = {0};
    if (set->store->ops->list(set->store, area, &names, err) < 0)
        return -1;
    for (size_t i = 0; i < names.count; i++) {
        const char *name = names.list[i];
        char id[NP_POINT_ID_MAX];
        uint64_t number;
        bool has_record = false, foreign = false;
        if (!np_point_is_file(area, name, id, &number))
            continue;
        if (number > newest) {
            if (look_for_other_set(set, id, &foreign, err) < 0)
                return -1;
            if (foreign)
                continue;
            if (forget_record(set, id, err) < 0 || remove_one(set, area, name, err) < 0)
                return -1;
            np_log_info("removed %s/%s/%s, which belongs to no restore point", set->path, area, name);
            continue;
        }
        if (np_set_has_record(set, id, &has_record, err) < 0)
            return -1;
        if (!has_record && strcmp(area, "streams") == 0 && !is_of_other_set(set, name))
            np_log_warning(
                "%s/%s/%s: the record of point %s is lost; kept, \"nbdpull repair\" rebuilds it if "
                "all streams of the point are there",
                set->path, area, name, id);
    }
    return 0;
}

/* Only directories of points: others may have found a place beside them. */
static int sweep_configs(struct np_set *set, struct np_error *err)
{
    NP_CLEANUP(np_names_clear) struct np_names names = {0};
    if (set->store->ops->list(set->store, "config", &names, err) < 0)
        return -1;
    for (size_t i = 0; i < names.count; i++) {
        char id[NP_POINT_ID_MAX], key[NP_SET_KEY_MAX];
        uint64_t number;
        if (!np_point_is_file("config", names.list[i], id, &number))
            continue;
        snprintf(key, sizeof(key), "config/%s", id);
        if (set->store->ops->sweep(set->store, key, err) < 0)
            return -1;
    }
    return 0;
}

int np_set_remove_unfinished(struct np_set *set, struct np_error *err)
{
    const struct np_store_ops *ops = set->store->ops;
    if (ops->sweep(set->store, NULL, err) < 0)
        return -1;
    for (size_t i = 0; np_store_areas[i] != NULL; i++)
        if (ops->sweep(set->store, np_store_areas[i], err) < 0)
            return -1;
    return sweep_configs(set, err);
}

int np_set_remove_debris(struct np_set *set, struct np_error *err)
{
    uint64_t newest;
    if (np_set_remove_unfinished(set, err) < 0 || newest_committed(set, &newest, err) < 0)
        return -1;
    for (size_t i = 0; i < NP_ARRAY_SIZE(areas); i++) {
        if (remove_from_area(set, areas[i], newest, err) < 0)
            return -1;
    }
    return 0;
}
