/* What to do about a set whose set.json is lost or damaged: repair makes it anew from the streams. */
#include "internal.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Is there anything in an area? One that cannot be read helps nobody. */
static bool has_any(int dir, const char *path, const char *name)
{
    NP_CLEANUP(np_names_clear) struct np_names names = {0};
    struct np_error ignored = NP_ERROR_INIT;
    NP_AUTO_FD int area = np_dir_open(dir, path, name, &ignored);
    if (area < 0 || np_names_of_dir(area, path, &names, &ignored) < 0)
        return false;
    for (size_t i = 0; i < names.count; i++)
        if (!np_names_is_temporary(names.list[i]))
            return true;
    return false;
}

int np_lost_say(int dir, const char *path, struct np_error *err)
{
    size_t used = strlen(err->message), room = sizeof(err->message) - used;
    char *end = err->message + used;
    if (!has_any(dir, path, "streams")) {
        if (has_any(dir, path, "points"))
            snprintf(end, room, "; no stream is there to rebuild set.json from: put a copy of it back");
        return -1;
    }
    if (faccessat(dir, ".", W_OK | X_OK, AT_EACCESS) == 0)
        snprintf(end, room, "; \"nbdpull repair -i %s\" rebuilds set.json from the streams", path);
    else
        snprintf(end, room,
                 "; \"nbdpull repair -i COPY\" rebuilds set.json from the streams, in a copy of the set, for "
                 "this one "
                 "cannot be written");
    return -1;
}
