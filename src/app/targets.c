#include "targets.h"

#include <string.h>

bool np_targets_contain(const struct np_targets *targets, const char *target)
{
    for (size_t i = 0; i < targets->count; i++)
        if (strcmp(targets->list[i], target) == 0)
            return true;
    return false;
}

bool np_targets_want(const struct np_targets *targets, const char *target)
{
    return targets->count == 0 || np_targets_contain(targets, target);
}
