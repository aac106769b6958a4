/*
 * META and results. The first byte says which; the text follows.
 *
 * What the strict check lets pass, the parser must take; what is parsed is written again, parsed again, and
 * is the same. Names that become paths are safe.
 */
#include "fuzz.h"

#include "../memory.h"
#include "json_strict.h"
#include "meta_check.h"
#include "results.h"

#include "nbdpull/file.h"

enum what { META, RESULTS, STRICT };

static void cleanup_meta(struct np_meta **meta)
{
    np_meta_free(*meta);
}

/* Nothing that json-c understands otherwise than the check does. */
static bool is_strict(const char *text, size_t size)
{
    struct np_error err = NP_ERROR_INIT;
    NP_CLEANUP(np_json_strict_put) struct json_object *root = NULL;
    bool strict = np_json_strict_check(text, size, "text", &err) == 0;
    if (!strict)
        refused(&err);
    struct np_error why = NP_ERROR_INIT;
    MUST((np_json_strict_parse(text, size, "text", &root, &why) == 0) == strict);
    MUST(!strict || json_object_is_type(root, json_type_object));
    return strict;
}

static bool is_text(const char *text, size_t room)
{
    return memchr(text, '\0', room) != NULL;
}

static void check_disk(const struct np_meta *meta, const struct np_meta_disk *disk)
{
    struct np_error err = NP_ERROR_INIT;
    MUST(np_name_is_safe(disk->target) && strcmp(disk->target, "..") != 0);
    MUST_WORK(np_geometry_check(&disk->geometry, &err));
    MUST(disk->geometry.size < NP_OFFSET_LIMIT && disk->base_size < NP_OFFSET_LIMIT);
    MUST(np_meta_disk_by_id(meta, disk->id) == disk);
    MUST(np_meta_disk_by_target(meta, disk->target) == disk);
    MUST(is_text(disk->source_format, sizeof(disk->source_format)) && is_text(disk->image, NP_IMAGE_MAX));
    MUST(is_text(disk->level, NP_LEVEL_MAX) && is_text(disk->how, NP_HOW_MAX) &&
         is_text(disk->why, NP_WHY_MAX));
}

static void check_meta(const struct np_meta *meta)
{
    struct np_error err = NP_ERROR_INIT;
    MUST(meta->disk_count >= 1 && meta->disk_count <= NP_DISKS_MAX && meta->point_disk_count <= NP_DISKS_MAX);
    MUST(meta->made_from_count <= NP_META_MADE_FROM_MAX);
    for (size_t i = 0; i < meta->disk_count; i++)
        check_disk(meta, &meta->disks[i]);
    for (size_t i = 0; i < meta->point_disk_count; i++)
        MUST(np_name_is_safe(meta->point_disks[i].target));
    MUST_WORK(np_meta_check(meta, "META", &err));
}

static void write_again(const struct np_meta *meta)
{
    struct np_error err = NP_ERROR_INIT;
    NP_AUTO_FREE char *text = NULL;
    NP_AUTO_FREE char *again = NULL;
    NP_CLEANUP(cleanup_meta) struct np_meta *second = NULL;
    NP_CLEANUP(cleanup_meta) struct np_meta *copy = NULL;
    if (np_meta_format(meta, &text, &err) < 0) { /* only what is larger when it is written */
        MUST(strstr(err.message, "1 MiB") != NULL || strstr(err.message, "1048576") != NULL);
        return;
    }
    MUST(is_strict(text, strlen(text)));
    MUST_WORK(np_meta_parse(text, strlen(text), "META", &second, &err));
    copy = np_meta_copy(second, &err);
    MUST(copy != NULL);
    MUST_WORK(np_meta_format(copy, &again, &err));
    MUST(strcmp(text, again) == 0);
    MUST(meta->disk_count == copy->disk_count && meta->point_disk_count == copy->point_disk_count);
    for (size_t i = 0; i < meta->disk_count; i++) {
        MUST(meta->disks[i].id == copy->disks[i].id);
        MUST(meta->disks[i].geometry.size == copy->disks[i].geometry.size);
        MUST(np_uuid_equal(&meta->disks[i].base_state, &copy->disks[i].base_state));
        MUST(meta->disks[i].image_ino == copy->disks[i].image_ino);
        MUST(strcmp(meta->disks[i].image, copy->disks[i].image) == 0);
    }
}

static void read_meta(const char *text, size_t size)
{
    struct np_error err = NP_ERROR_INIT;
    NP_CLEANUP(cleanup_meta) struct np_meta *meta = NULL;
    bool strict = is_strict(text, size);
    if (np_meta_parse(text, size, "META", &meta, &err) < 0) {
        refused(&err);
        return;
    }
    MUST(strict);
    check_meta(meta);
    write_again(meta);
}

/* Of two disks, one of them on a base of unknown digest. */
static void read_results(const char *text, size_t size)
{
    static const struct np_geometry geometries[] = {{1 << 20, 64 << 10, 4 << 10}, {5, 64 << 10, 64 << 10}};
    static const struct np_totals totals[] = {{3, 12288, 4096, 0, 5000, true, {7, 9}},
                                              {1, 0, 5, 0, 0, false, {0, 0}}};
    struct np_error err = NP_ERROR_INIT, why = NP_ERROR_INIT;
    NP_AUTO_FREE char *right = NULL;
    NP_CLEANUP(cleanup_meta) struct np_meta *meta = memory_meta(geometries, 2, &err);
    MUST(meta != NULL);
    MUST_WORK(np_results_format(meta, totals, 2, &right, &err));
    MUST_WORK(np_results_check(right, strlen(right), "stream", meta, totals, 2, &err));
    if (np_results_check(text, size, "stream", meta, totals, 2, &why) < 0)
        refused(&why);
    else
        MUST(is_strict(text, size));
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    BOUNDED_TIME;
    if (size < 1)
        return 0;
    /* Of that size exactly: the text in a record has no NUL behind it. */
    NP_AUTO_FREE char *text = malloc(size > 1 ? size - 1 : 1);
    MUST(text != NULL);
    memcpy(text, input + 1, size - 1);
    switch (input[0] % 3) {
    case META:
        read_meta(text, size - 1);
        break;
    case RESULTS:
        read_results(text, size - 1);
        break;
    default:
        is_strict(text, size - 1);
        break;
    }
    return 0;
}
