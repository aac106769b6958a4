#include "internal.h"
#include "point.h"
#include "until.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"
#include "nbdpull/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- reading ---- */

int np_point_read(struct np_set *set, const char *id, struct np_point *point, bool *found,
                  struct np_error *err)
{
    char key[NP_SET_KEY_MAX];
    np_point_key(id, key);
    NP_AUTO_FREE char *path = np_path_join(set->path, key);
    NP_AUTO_FREE char *text = NULL;
    size_t size;
    if (path == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s: cannot read %s", set->path, key);
    if (set->store->ops->get(set->store, key, NP_POINT_TEXT_MAX, &text, &size, err) < 0)
        return -1;
    *found = text != NULL;
    return *found ? np_point_decode(text, size, path, id, point, err) : 0;
}

/* Each takes 1.6 KiB, and 45 bytes in its record: a set must not decide how much memory it takes. */
#define DISKS_MAX 262144

static bool is_record(const char *name, char id[NP_POINT_ID_MAX])
{
    uint64_t number;
    return np_point_id_of_file(name, id, &number) && strcmp(name + strlen(id), ".json") == 0;
}

static int compare_points(const void *a, const void *b)
{
    uint64_t x = 0, y = 0;
    np_point_id_parse(((const struct np_point *)a)->id, &x);
    np_point_id_parse(((const struct np_point *)b)->id, &y);
    return x < y ? -1 : x > y;
}

static int compare_streams(const void *a, const void *b)
{
    const struct np_point_disk *x = *(const struct np_point_disk *const *)a;
    const struct np_point_disk *y = *(const struct np_point_disk *const *)b;
    return memcmp(x->stream_uuid.bytes, y->stream_uuid.bytes, sizeof(x->stream_uuid.bytes));
}

/* Each attempt has a new stream UUID. One that is there twice is a file, or a record, that was copied. */
static int refuse_duplicates(const struct np_set *set, const struct np_points *points, struct np_error *err)
{
    size_t count = 0;
    for (size_t i = 0; i < points->count; i++)
        count += points->list[i].disk_count;
    NP_AUTO_FREE const struct np_point_disk **disks = calloc(count + 1, sizeof(struct np_point_disk *));
    if (disks == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s: cannot list the streams", set->path);
    count = 0;
    for (size_t i = 0; i < points->count; i++)
        for (size_t j = 0; j < points->list[i].disk_count; j++)
            if (points->list[i].disks[j].stored)
                disks[count++] = &points->list[i].disks[j];
    /* NOLINTNEXTLINE(bugprone-sizeof-expression): of pointers */
    qsort(disks, count, sizeof(*disks), compare_streams);
    for (size_t i = 1; i < count; i++)
        if (np_uuid_equal(&disks[i]->stream_uuid, &disks[i - 1]->stream_uuid))
            return np_fail(
                err, NP_DAMAGED,
                "%s: %s and %s have the same stream UUID: one of them, with its record in points/, is a "
                "copy of the other; \"nbdpull repair\" sets it aside, and all other points are as good as "
                "before",
                set->path, disks[i - 1]->file, disks[i]->file);
    return 0;
}

/* A point builds on older ones only. */
static int name_unaffected(const char *id, struct np_error *err)
{
    size_t length = strlen(err->message);
    if (err->class == NP_DAMAGED)
        snprintf(err->message + length, sizeof(err->message) - length,
                 "; the points before %s do not need it (--until), and \"nbdpull repair\" rebuilds it or "
                 "moves it away",
                 id);
    return -1;
}

/* Who looks after a set wants all that is good of it; all others, nothing of a set that is not. */
struct judge {
    np_set_bad_point *bad; /* NULL: the first fault ends it */
    void *ctx;
};

static int read_all(struct np_set *set, const struct judge *judge, const struct np_names *names,
                    struct np_points *all, struct np_error *err)
{
    size_t disks = 0;
    for (size_t i = 0; i < names->count; i++) {
        char id[NP_POINT_ID_MAX];
        bool found = false;
        struct np_error mine = NP_ERROR_INIT;
        if (!is_record(names->list[i], id)) {
            np_log_debug("%s/points/%s: no point record, left alone", set->path, names->list[i]);
            continue;
        }
        if (np_point_read(set, id, &all->list[all->count], &found, &mine) == 0) {
            disks += found ? all->list[all->count].disk_count : 0;
            all->count += found; /* a reader may meet a point that is being removed */
            if (disks > DISKS_MAX)
                return np_fail(err, NP_DAMAGED, "%s: its points have more than %d disks in all", set->path,
                               DISKS_MAX);
            continue;
        }
        name_unaffected(id, &mine);
        if (judge->bad == NULL) {
            *err = mine;
            return -1;
        }
        judge->bad(judge->ctx, id, &mine);
        if (mine.class != NP_DAMAGED && np_names_add(&all->unread, id, err) < 0)
            return -1;
    }
    return 0;
}

static int list_points(struct np_set *set, const struct judge *judge, struct np_points *points,
                       struct np_error *err)
{
    NP_CLEANUP(np_names_clear) struct np_names names = {0};
    NP_CLEANUP(np_points_clear) struct np_points all = {0};
    if (set->store->ops->list(set->store, "points", &names, err) < 0)
        return -1;
    all.list = calloc(names.count + 1, sizeof(*all.list));
    if (all.list == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s: cannot list the points", set->path);
    if (read_all(set, judge, &names, &all, err) < 0)
        return -1;
    if (all.count > 1)
        qsort(all.list, all.count, sizeof(*all.list), compare_points);
    struct np_error mine = NP_ERROR_INIT;
    if (refuse_duplicates(set, &all, &mine) < 0) {
        if (judge->bad == NULL || mine.class != NP_DAMAGED) {
            *err = mine;
            return -1;
        }
        judge->bad(judge->ctx, NULL, &mine);
    }
    all.name = strdup(set->path);
    if (all.name == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s: cannot list the points", set->path);
    *points = all;
    all = (struct np_points){0};
    return 0;
}

int np_set_points(struct np_set *set, struct np_points *points, struct np_error *err)
{
    const struct judge none = {0};
    return list_points(set, &none, points, err);
}

int np_set_points_good(struct np_set *set, np_set_bad_point *bad, void *ctx, struct np_points *points,
                       struct np_error *err)
{
    const struct judge judge = {.bad = bad, .ctx = ctx};
    return list_points(set, &judge, points, err);
}

void np_points_clear(struct np_points *points)
{
    for (size_t i = 0; i < points->count; i++)
        np_point_clear(&points->list[i]);
    free(points->list);
    free(points->name);
    np_names_clear(&points->unread);
    *points = (struct np_points){0};
}

/* ---- finding ---- */

static bool matches(const struct np_point *point, const char *until)
{
    uint64_t own, wanted;
    size_t digits = strspn(until, "0123456789");
    if (until[0] == '\0') /* not the points without a checkpoint */
        return false;
    if (until[digits] != '\0')
        return strcmp(point->checkpoint, until) == 0;
    wanted = digits <= 18 ? strtoull(until, NULL, 10) : 0;
    return np_point_id_parse(point->id, &own) && own == wanted;
}

/* In front of a message, whose points they are. */
static int say_whose(const struct np_points *points, struct np_error *err)
{
    return points->name != NULL ? np_error_context(err, "%s", points->name) : -1;
}

static int fail_unknown(const struct np_points *points, const char *until, struct np_error *err)
{
    const size_t shown = 5;
    char newest[256] = "";
    size_t used = 0;
    for (size_t i = 0; i < shown && i < points->count; i++) {
        const struct np_point *point = &points->list[points->count - 1 - i];
        used += (size_t)snprintf(newest + used, sizeof(newest) - used, "%s%s (%s)", i == 0 ? "" : ", ",
                                 point->id[0] != '\0' ? point->id : "one without an id", point->time);
    }
    np_fail(err, NP_FAILED, "no restore point \"%.100s\"; the newest of %zu: %s%s", until, points->count,
            newest, points->count > shown ? ", ..." : "");
    return say_whose(points, err);
}

/* Times that find_by_time has been through are good. */
static time_t time_of(const struct np_point *point)
{
    time_t seconds = 0;
    np_until_parse(point->time, &seconds);
    return seconds;
}

/* Where a clock went backwards, ids tell the order and times do not. */
static void warn_of_clock(const struct np_points *points)
{
    for (size_t i = 1; i < points->count; i++)
        if (time_of(&points->list[i]) < time_of(&points->list[i - 1])) {
            np_log_warning(
                "the clock went backwards between points %s (%s) and %s (%s); the highest point that is "
                "not after the time is taken",
                points->list[i - 1].id, points->list[i - 1].time, points->list[i].id, points->list[i].time);
            return;
        }
}

static int find_by_time(const struct np_points *points, const char *until, time_t seconds,
                        const struct np_point **point, struct np_error *err)
{
    time_t ignored;
    for (size_t i = 0; i < points->count; i++)
        if (!np_until_parse(points->list[i].time, &ignored))
            return np_fail(
                err, NP_DAMAGED,
                "the record of point %s has no readable time, so that none can be found by time; name "
                "a point by its id",
                points->list[i].id);
    warn_of_clock(points);
    for (size_t i = points->count; i > 0; i--) {
        *point = &points->list[i - 1];
        if (time_of(*point) <= seconds)
            return 0;
    }
    np_fail(err, NP_FAILED, "no restore point is as old as %s; the oldest is %s%sof %s", until,
            points->list[0].id, points->list[0].id[0] != '\0' ? " " : "", points->list[0].time);
    return say_whose(points, err);
}

int np_points_find(const struct np_points *points, const char *until, const struct np_point **point,
                   struct np_error *err)
{
    time_t seconds;
    if (points->count == 0) {
        np_fail(err, NP_FAILED, "the backup set holds no restore point");
        return say_whose(points, err);
    }
    *point = &points->list[points->count - 1];
    if (until == NULL || strcmp(until, "latest") == 0)
        return 0;
    for (size_t i = points->count; i > 0; i--) {
        *point = &points->list[i - 1];
        if (matches(*point, until))
            return 0;
    }
    if (np_until_parse(until, &seconds))
        return find_by_time(points, until, seconds, point, err);
    return fail_unknown(points, until, err);
}

const struct np_point_disk *np_point_disk_of(const struct np_point *point, const char *target)
{
    for (size_t i = 0; i < point->disk_count; i++) {
        if (strcmp(point->disks[i].target, target) == 0)
            return &point->disks[i];
    }
    return NULL;
}

static const struct np_point *find_id(const struct np_points *points, const char *id)
{
    for (size_t i = 0; i < points->count; i++) {
        if (strcmp(points->list[i].id, id) == 0)
            return &points->list[i];
    }
    return NULL;
}

bool np_points_is_unread(const struct np_points *points, const char *id)
{
    for (size_t i = 0; i < points->unread.count; i++)
        if (strcmp(points->unread.list[i], id) == 0)
            return true;
    return false;
}

int np_points_path(const struct np_points *points, const struct np_point *point, const char *target,
                   const struct np_point_disk ***path, size_t *count, struct np_error *err)
{
    /* NOLINTNEXTLINE(bugprone-sizeof-expression): of pointers */
    NP_AUTO_FREE const struct np_point_disk **list = calloc(points->count + 1, sizeof(*list));
    if (list == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "point %s: cannot list the points of %s", point->id,
                             target);
    const struct np_point_disk *disk = np_point_disk_of(point, target);
    if (disk == NULL || !disk->stored)
        return np_fail(err, NP_FAILED, "point %s does not contain disk %s%s%s", point->id, target,
                       disk == NULL ? "" : ": ", disk == NULL ? "" : disk->why);

    size_t length = 0; /* a parent's id is lower than its child's, so this ends */
    for (list[length++] = disk; disk->parent[0] != '\0'; list[length++] = disk) {
        const struct np_point *parent = find_id(points, disk->parent);
        const struct np_point_disk *next = parent == NULL ? NULL : np_point_disk_of(parent, target);
        if (next == NULL || !next->stored) {
            bool unread = parent == NULL && np_points_is_unread(points, disk->parent);
            if (parent == NULL)
                np_fail(err, unread ? NP_FAILED : NP_DAMAGED, "%s builds on point %s, %s (points/%s.json)",
                        disk->file, disk->parent,
                        unread ? "whose record cannot be read" : "which has no record that is good",
                        disk->parent);
            else
                np_fail(err, NP_DAMAGED, "%s builds on point %s, which does not contain the disk", disk->file,
                        disk->parent);
            return np_error_where(err, target, NP_NO_OFFSET);
        }
        disk = next;
    }
    *path = NP_STEAL(list);
    *count = length;
    return 0;
}
