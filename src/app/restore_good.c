#include "restore_parts.h"

#include "targets.h"

#include <stdio.h>
#include <string.h>

#define SHOWN 5

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

static void name_good_points(const struct np_restore_request *request, struct np_origin *origin,
                             struct np_error *err)
{
    const struct np_point *failed = origin->point;
    char names[SHOWN * (NP_POINT_ID_MAX + 2)] = "";
    size_t used = 0, shown = 0, length = strlen(err->message);
    for (size_t i = origin->points.count; i > 0 && shown < SHOWN; i--) {
        origin->point = &origin->points.list[i - 1];
        if (origin->point == failed || !is_good(request, origin, err))
            continue;
        used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s", shown > 0 ? ", " : "",
                                 origin->point->id);
        shown++;
    }
    origin->point = failed;
    snprintf(err->message + length, sizeof(err->message) - length,
             shown > 0 ? "; still good (--until): %s" : "; no other point of the set is still good", names);
}

void np_restore_say_salvage(struct np_error *err)
{
    size_t length = strlen(err->message);
    snprintf(err->message + length, sizeof(err->message) - length,
             "; --salvage takes what is left of this one");
}

void np_restore_say_what_next(const struct np_restore_request *request, struct np_origin *origin,
                              struct np_error *err)
{
    if (origin->set != NULL)
        name_good_points(request, origin, err);
    np_restore_say_salvage(err);
}
