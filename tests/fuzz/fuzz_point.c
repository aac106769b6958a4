/*
 * The JSON files of a set. The first byte says which one, the text follows; of a point record, the second
 * byte is the number in its file's name.
 *
 * What is read is written and read again, and is the same. Names that become paths stay in the set.
 */
#include "fuzz.h"

#include "set/internal.h"
#include "set/json_read.h"
#include "set/point.h"

#include "nbdpull/file.h"
#include "nbdpull/set_repair.h"

enum what { POINT, SET, INTENT, DEFERRED, FIND };

/* ---- a store of one object ---- */

struct one {
    struct np_store store;
    const char *text;
    size_t size;
    char *put; /* owned */
    size_t put_size;
};

static int one_get(struct np_store *store, const char *key, size_t limit, char **bytes, size_t *size,
                   struct np_error *err)
{
    struct one *one = (struct one *)store;
    if (one->size > limit)
        return np_fail(err, NP_DAMAGED, "%s: too large", key);
    *bytes = text_of((const uint8_t *)one->text, one->size);
    *size = one->size;
    return 0;
}

static int one_put(struct np_store *store, const char *key, const void *bytes, size_t size,
                   enum np_store_put how, struct np_error *err)
{
    struct one *one = (struct one *)store;
    (void)key;
    (void)how;
    (void)err;
    free(one->put);
    one->put = text_of(bytes, size);
    one->put_size = size;
    return 0;
}

static int one_remove(struct np_store *store, const char *key, struct np_error *err)
{
    return one_put(store, key, "", 0, NP_STORE_REPLACE, err);
}

static const struct np_store_ops one_ops = {.get = one_get, .put = one_put, .remove = one_remove};

static void one_clear(struct one *one)
{
    free(one->put);
}

/* What was put becomes what is got. */
static void one_turn(struct one *one)
{
    one->text = one->put;
    one->size = one->put_size;
}

/* ---- points ---- */

static void check_point_disk(const struct np_point *point, const struct np_point_disk *disk)
{
    MUST(np_name_is_safe(disk->target));
    MUST(np_point_disk_of(point, disk->target) == disk);
    if (!disk->stored)
        return;
    static const char area[] = "streams/";
    char id[NP_POINT_ID_MAX];
    uint64_t own, number;
    MUST(strncmp(disk->file, area, strlen(area)) == 0 && strchr(disk->file + strlen(area), '/') == NULL);
    MUST(np_point_id_of_file(disk->file + strlen(area), id, &number) && strcmp(id, point->id) == 0);
    MUST(np_point_id_parse(point->id, &own));
    if (disk->parent[0] != '\0')
        MUST(np_point_id_parse(disk->parent, &number) && number < own);
}

/* Every name of a file is one that the store takes for its own. */
static void check_files(struct np_point *point)
{
    for (size_t i = 0; i < point->disk_count; i++)
        check_point_disk(point, &point->disks[i]);
    struct np_points points = {.list = point, .count = 1};
    for (size_t i = 0; i < point->disk_count; i++) {
        NP_AUTO_FREE const struct np_point_disk **path = NULL;
        struct np_error err = NP_ERROR_INIT;
        size_t count;
        int got = np_points_path(&points, point, point->disks[i].target, &path, &count, &err);
        MUST((got == 0) == (point->disks[i].stored && point->disks[i].parent[0] == '\0'));
        MUST(got < 0 || (count == 1 && path[0] == &point->disks[i]));
    }
}

static void read_point(uint8_t number, const char *text, size_t size)
{
    struct np_error err = NP_ERROR_INIT;
    NP_CLEANUP(np_point_clear) struct np_point point = {0};
    NP_CLEANUP(np_point_clear) struct np_point second = {0};
    NP_AUTO_FREE char *written = NULL;
    NP_AUTO_FREE char *again = NULL;
    size_t written_size, again_size;
    char id[NP_POINT_ID_MAX];
    bool same;
    np_point_id_format(number, id);
    if (np_point_decode(text, size, "file", id, &point, &err) < 0) {
        MUST(point.disks == NULL);
        refused(&err);
        return;
    }
    MUST(strcmp(point.id, id) == 0 && point.disk_count >= 1 && point.disk_count <= NP_DISKS_MAX);
    check_files(&point);
    MUST_WORK(np_point_encode(&point, "file", &written, &written_size, &err));
    MUST_WORK(np_point_decode(written, written_size, "file", id, &second, &err));
    MUST_WORK(np_point_encode(&second, "file", &again, &again_size, &err));
    MUST(written_size == again_size && memcmp(written, again, again_size) == 0);
    MUST_WORK(np_point_same(&point, &second, &same, &err));
    MUST(same);
}

/* Which of two points is meant by what somebody has typed. */
static void find_point(const char *until)
{
    struct np_point list[] = {
        {.id = "0001", .time = "2026-11-20T03:00:00Z", .checkpoint = "nbdpull-1"},
        {.id = "0012", .time = "2026-11-21T03:00:00Z"},
    };
    const struct np_points points = {.list = list, .count = NP_ARRAY_SIZE(list)};
    const struct np_point *found = NULL;
    struct np_error err = NP_ERROR_INIT;
    if (np_points_find(&points, until, &found, &err) < 0)
        MUST(err.class != NP_OK);
    else
        MUST(found == &list[0] || found == &list[1]);
}

/* ---- the other files ---- */

static void read_set(struct one *one)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_set_json json = {0}, second = {0};
    bool found;
    if (np_set_json_read(&one->store, "/set", &json, &found, &err) < 0) {
        refused(&err);
        return;
    }
    MUST(found && strlen(json.home_id) == NP_HOME_ID_SIZE - 1);
    MUST_WORK(np_set_json_write(&one->store, "/set", &json, &err));
    one_turn(one);
    NP_AUTO_FREE char *written = text_of((const uint8_t *)one->text, one->size);
    MUST_WORK(np_set_json_read(&one->store, "/set", &second, &found, &err));
    MUST_WORK(np_set_json_write(&one->store, "/set", &second, &err));
    MUST(strcmp(written, one->put) == 0);
    MUST(json.next == second.next && json.committed == second.committed);
    MUST(np_uuid_equal(&json.uuid, &second.uuid) && strcmp(json.domain_name, second.domain_name) == 0);
    MUST(np_home_equal(&json.home, &second.home));
}

static void read_intent(const char *text, size_t size)
{
    struct np_error err = NP_ERROR_INIT;
    NP_CLEANUP(np_intent_clear) struct np_intent intent = {0};
    NP_CLEANUP(np_intent_clear) struct np_intent second = {0};
    NP_AUTO_FREE char *written = NULL;
    NP_AUTO_FREE char *again = NULL;
    size_t written_size, again_size;
    if (np_intent_decode(text, size, "file", &intent, &err) < 0) {
        refused(&err);
        return;
    }
    for (size_t i = 0; i < intent.image_count; i++)
        MUST(intent.by_images && intent.images[i].path[0] == '/');
    MUST_WORK(np_intent_encode(&intent, &written, &written_size, &err));
    MUST_WORK(np_intent_decode(written, written_size, "file", &second, &err));
    MUST_WORK(np_intent_encode(&second, &again, &again_size, &err));
    MUST(strcmp(written, again) == 0);
    MUST(intent.image_count == second.image_count && intent.by_images == second.by_images);
}

static void read_deferred(struct one *one)
{
    struct np_error err = NP_ERROR_INIT;
    NP_CLEANUP(np_names_clear) struct np_names names = {0};
    NP_CLEANUP(np_names_clear) struct np_names second = {0};
    char path[] = "/set";
    struct np_set set = {.path = path, .store = &one->store};
    if (np_set_deferred_read(&set, &names, &err) < 0) {
        refused(&err);
        return;
    }
    MUST_WORK(np_set_deferred_write(&set, &names, &err));
    one_turn(one);
    if (names.count == 0)
        return;
    MUST_WORK(np_set_deferred_read(&set, &second, &err));
    MUST(names.count == second.count);
    for (size_t i = 0; i < names.count; i++)
        MUST(strcmp(names.list[i], second.list[i]) == 0 && strlen(names.list[i]) < NP_CHECKPOINT_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    BOUNDED_TIME;
    if (size < 2)
        return 0;
    enum what what = input[0] % 5;
    size_t head = what == POINT ? 2 : 1;
    NP_AUTO_FREE char *text = text_of(input + head, size - head);
    NP_CLEANUP(one_clear) struct one one = {.store.ops = &one_ops, .text = text, .size = size - head};
    switch (what) {
    case POINT:
        read_point(input[1], text, size - head);
        break;
    case SET:
        read_set(&one);
        break;
    case INTENT:
        read_intent(text, size - head);
        break;
    case DEFERRED:
        read_deferred(&one);
        break;
    case FIND:
        find_point(text);
        break;
    }
    return 0;
}
