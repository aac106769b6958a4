#include "targets.h"

#include <string.h>

static const struct np_target_ops *const targets[] = {&np_target_qcow2, &np_target_raw, NULL};

const struct np_target_ops *const *np_target_all(void)
{
    return targets;
}

const struct np_target_ops *np_target_find(const char *name)
{
    for (const struct np_target_ops *const *target = targets; *target != NULL; target++)
        if (strcmp((*target)->name, name) == 0)
            return *target;
    return NULL;
}
