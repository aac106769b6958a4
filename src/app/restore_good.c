#include "restore_parts.h"

#include "targets.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SHOWN 5
#define TRIED 20 /* so many chains are opened whole */

/* Is every stream on the disk's path there, the right one, and none that the error names? Data is not read.
 */
static bool disk_is_good(struct np_origin *origin, const char *target, const struct np_error *why)
{
    struct np_origin_disk opened;
    struct np_error ignored = NP_ERROR_INIT;
    if (np_origin_open_disk(origin, target, false, &opened, &ignored) < 0)
        return false;
    bool good = true;
    for (size_t i = 0; i < opened.count; i++)
        good = good && strstr(why->message, np_stream_name(opened.streams[i])) == NULL;
    np_origin_close_disk(origin, &opened);
    return good;
}

static bool is_good(const struct np_restore_request *request, struct np_origin *origin,
                    const struct np_error *why)
{
    const struct np_point *point = origin->point;
    size_t wanted = 0;
    for (size_t i = 0; i < point->disk_count; i++) {
        const struct np_point_disk *disk = &point->disks[i];
        if (!disk->stored || !np_targets_want(&request->disks, disk->target))
            continue;
        if (!disk_is_good(origin, disk->target, why))
            return false;
        wanted++;
    }
    return wanted > 0;
}

/* Its own stream only: a chain as long as the set would be opened once for each of its points. */
static bool stream_is_good(struct np_origin *origin, const struct np_point *point,
                           const struct np_point_disk *disk, const struct np_error *why)
{
    struct np_origin_disk opened;
    struct np_error ignored = NP_ERROR_INIT;
    if (strstr(why->message, disk->file) != NULL ||
        np_origin_open_stream(origin, point, disk, &opened, &ignored) < 0)
        return false;
    np_origin_close_disk(origin, &opened);
    return true;
}

static bool parent_may_be_good(const struct np_points *points, const bool *maybe, const char *parent)
{
    for (size_t i = 0; parent[0] != '\0' && i < points->count; i++)
        if (strcmp(points->list[i].id, parent) == 0)
            return maybe[i];
    return parent[0] == '\0';
}

/* Points that are not known to be bad. A parent's id is lower than its child's. @return owned; NULL: no
 * memory, or asked to stop */
static bool *sift(const struct np_restore_request *request, struct np_origin *origin,
                  const struct np_error *why)
{
    const struct np_points *points = &origin->points;
    NP_AUTO_FREE bool *maybe = calloc(points->count + 1, sizeof(*maybe));
    for (size_t i = 0; maybe != NULL && i < points->count; i++) {
        const struct np_point *point = &points->list[i];
        if (np_cancel_requested(request->cancel))
            return NULL;
        maybe[i] = true;
        for (size_t j = 0; j < point->disk_count && maybe[i]; j++) {
            const struct np_point_disk *disk = &point->disks[j];
            if (disk->stored && np_targets_want(&request->disks, disk->target))
                maybe[i] = parent_may_be_good(points, maybe, disk->parent) &&
                           stream_is_good(origin, point, disk, why);
        }
    }
    return NP_STEAL(maybe);
}

static void name_good_points(const struct np_restore_request *request, struct np_origin *origin,
                             struct np_error *err)
{
    const struct np_point *failed = origin->point;
    char names[SHOWN * (NP_POINT_ID_MAX + 2)] = "";
    size_t used = 0, shown = 0, tried = 0, length = strlen(err->message);
    NP_AUTO_FREE bool *maybe = sift(request, origin, err);
    if (maybe == NULL)
        return;
    for (size_t i = origin->points.count; i > 0 && shown < SHOWN && tried < TRIED; i--) {
        origin->point = &origin->points.list[i - 1];
        if (origin->point == failed || !maybe[i - 1])
            continue;
        tried++;
        if (!is_good(request, origin, err))
            continue;
        used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s", shown > 0 ? ", " : "",
                                 origin->point->id);
        shown++;
    }
    origin->point = failed;
    if (shown > 0)
        snprintf(err->message + length, sizeof(err->message) - length,
                 "; not known to be damaged (--until): %s", names);
    else if (tried < TRIED)
        snprintf(err->message + length, sizeof(err->message) - length, "; no other point of the set is good");
}

static void say_salvage(struct np_error *err)
{
    size_t length = strlen(err->message);
    snprintf(err->message + length, sizeof(err->message) - length,
             "; --salvage takes what is left of this one");
}

void np_restore_say_salvage(const char *path, struct np_error *err)
{
    if (np_origin_looks_like_stream(path))
        say_salvage(err);
}

void np_restore_say_what_next(const struct np_restore_request *request, struct np_origin *origin,
                              struct np_error *err)
{
    if (origin->set != NULL)
        name_good_points(request, origin, err);
    say_salvage(err);
}
