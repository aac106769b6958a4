/**
 * @file command.h
 * The table of subcommands. A new one is a file cmd_NAME.c, a line in command.c, and its part of the man
 * page.
 */
#ifndef NP_COMMAND_H
#define NP_COMMAND_H

#include "nbdpull/cancel.h"
#include "nbdpull/error.h"

/** What every command shares. */
struct np_context {
    struct np_cancel *cancel;
    char command_line[256]; /**< for who meets our lock */
    bool told; /**< the document on standard error has the error: a line of text would spoil it */
};

struct np_command {
    const char *name;
    const char *summary; /**< one line for `nbdpull --help`; NULL: not for users, not shown */

    /**
     * Parse argv (argv[0] is the command's name), do it, print results.
     * @return 0, or -1 with err: main prints it and turns it into the exit status
     */
    int (*run)(struct np_context *context, int argc, char **argv, struct np_error *err);
};

extern const struct np_command np_cmd_backup, np_cmd_restore, np_cmd_dump, np_cmd_verify, np_cmd_estimate,
    np_cmd_checkpoints, np_cmd_repair, np_cmd_guardian;

/** By exact name, or NULL. */
const struct np_command *np_command_find(const char *name);

/** All commands, NULL at the end. */
const struct np_command *const *np_command_all(void);

#endif
