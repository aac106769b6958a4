#include "level.h"

#include <string.h>

int np_level_check(const char *level, const char *from, struct np_error *err)
{
    static const char *const levels[] = {"full", "inc", "diff", "auto", "copy", NULL};
    size_t i = 0;
    while (levels[i] != NULL && strcmp(levels[i], level) != 0)
        i++;
    if (levels[i] == NULL)
        return np_fail(err, NP_USAGE, "unknown level '%s'; there are full, inc, diff, auto and copy", level);
    if (from != NULL && strcmp(level, "diff") != 0)
        return np_fail(err, NP_USAGE,
                       "--from goes with -l diff; an inc builds on the last point of its chain");
    return 0;
}
