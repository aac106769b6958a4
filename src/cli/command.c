#include "command.h"

#include <string.h>

static const struct np_command *const commands[] = {
    &np_cmd_backup,      &np_cmd_restore, &np_cmd_dump,     &np_cmd_verify, &np_cmd_estimate,
    &np_cmd_checkpoints, &np_cmd_repair,  &np_cmd_guardian, NULL,
};

const struct np_command *const *np_command_all(void)
{
    return commands;
}

const struct np_command *np_command_find(const char *name)
{
    for (size_t i = 0; commands[i] != NULL; i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}
