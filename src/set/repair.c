#include "internal.h"
#include "point.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/set_repair.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

_Static_assert(NP_SET_ASIDE_MAX == NP_STORE_ASIDE_MAX, "a name that the store gives fits");

bool np_set_is_lost(const struct np_set *set, const char **why)
{
    *why = set->damaged.class == NP_OK ? "it is missing" : set->damaged.message;
    return set->lost;
}

/* ---- the files ---- */

static bool is_record(const char *name, char id[NP_POINT_ID_MAX], uint64_t *number)
{
    return np_point_id_of_file(name, id, number) && strcmp(name + strlen(id), ".json") == 0;
}

static bool describe(const char *area, const char *name, struct np_set_file *file)
{
    *file = (struct np_set_file){.record = strcmp(area, "points") == 0};
    snprintf(file->name, sizeof(file->name), "%s/%.100s", area, name);
    if (file->record)
        return is_record(name, file->id, &file->number);
    if (!np_point_is_file(area, name, file->id, &file->number))
        return false;
    const char *target = name + strlen(file->id) + 1;
    snprintf(file->target, sizeof(file->target), "%.*s", (int)(strlen(target) - strlen(".nbp")), target);
    return true;
}

static int compare_files(const void *a, const void *b)
{
    const struct np_set_file *x = a, *y = b;
    if (x->number != y->number)
        return x->number < y->number ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int add_area(const char *area, const struct np_names *names, struct np_set_files *files,
                    struct np_error *err)
{
    if (names->count == 0)
        return 0;
    struct np_set_file *list = reallocarray(files->list, files->count + names->count, sizeof(*list));
    if (list == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot list the files of the backup set");
    files->list = list;
    for (size_t i = 0; i < names->count; i++)
        files->count += describe(area, names->list[i], &files->list[files->count]);
    return 0;
}

int np_set_files(struct np_set *set, struct np_set_files *files, struct np_error *err)
{
    static const char *const areas[] = {"points", "streams"};
    for (size_t i = 0; i < NP_ARRAY_SIZE(areas); i++) {
        NP_CLEANUP(np_names_clear) struct np_names names = {0};
        if (set->store->ops->list(set->store, areas[i], &names, err) < 0 ||
            add_area(areas[i], &names, files, err) < 0)
            return -1;
    }
    if (files->count > 1)
        qsort(files->list, files->count, sizeof(*files->list), compare_files);
    return 0;
}

void np_set_files_clear(struct np_set_files *files)
{
    free(files->list);
    *files = (struct np_set_files){0};
}

int np_set_put_aside(struct np_set *set, const char *name, char to[NP_SET_ASIDE_MAX], struct np_error *err)
{
    return set->store->ops->set_aside(set->store, name, to, err);
}

/* ---- set.json ---- */

uint64_t np_set_committed(const struct np_set *set)
{
    return set->json.committed;
}

static int write_json(struct np_set *set, const struct np_set_json *json, struct np_error *err)
{
    if (np_set_json_write(set->store, set->path, json, err) < 0)
        return -1;
    set->json = *json;
    set->lost = false;
    return 0;
}

int np_set_raise_committed(struct np_set *set, uint64_t number, struct np_error *err)
{
    struct np_set_json json = set->json;
    if (number <= json.committed)
        return 0;
    json.committed = number;
    json.next = np_max_u64(json.next, number + 1);
    return write_json(set, &json, err);
}

int np_set_rebuild(struct np_set *set, const struct np_uuid *uuid, const char *domain_name,
                   const struct np_uuid *domain, uint64_t committed, struct np_error *err)
{
    struct np_set_json json = {.uuid = *uuid, .domain = *domain, .committed = committed};
    struct np_uuid random;
    uint64_t high = committed;
    snprintf(json.domain_name, sizeof(json.domain_name), "%s", domain_name);
    if (np_uuid_random(&random, err) < 0 || np_home_find(set->dir, set->path, &json.home, err) < 0 ||
        np_create_areas(set->dir, set->path, err) < 0 || np_point_raise_to_area(set, "aside", &high, err) < 0)
        return -1;
    for (size_t i = 0; np_store_areas[i] != NULL; i++)
        if (np_point_raise_to_area(set, np_store_areas[i], &high, err) < 0)
            return -1;
    np_home_id(&random, json.home_id);
    json.next = high + 1;
    return write_json(set, &json, err);
}

/* ---- records ---- */

/* As text: so no field that a record has is forgotten here. */
int np_point_same(const struct np_point *a, const struct np_point *b, bool *same, struct np_error *err)
{
    NP_AUTO_FREE char *text_a = NULL;
    NP_AUTO_FREE char *text_b = NULL;
    NP_AUTO_FREE struct np_point_disk *disks = calloc(b->disk_count + 1, sizeof(*disks));
    size_t size_a, size_b;
    struct np_point other = *b;
    if (disks == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "point %s", a->id);
    *same = a->disk_count == b->disk_count;
    if (!*same)
        return 0;
    memcpy(disks, b->disks, b->disk_count * sizeof(*disks));
    for (size_t i = 0; i < b->disk_count; i++) {
        memcpy(disks[i].codec, a->disks[i].codec, sizeof(disks[i].codec));
        disks[i].has_below = a->disks[i].has_below;
        disks[i].below = a->disks[i].below;
    }
    other.disks = disks;
    if (np_point_encode(a, a->id, &text_a, &size_a, err) < 0 ||
        np_point_encode(&other, b->id, &text_b, &size_b, err) < 0)
        return -1;
    *same = size_a == size_b && memcmp(text_a, text_b, size_a) == 0;
    return 0;
}
