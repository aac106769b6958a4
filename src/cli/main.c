#include "command.h"
#include "output.h"
#include "signals.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void print_help(void)
{
    printf(
        "nbdpull %s: exact backups of running KVM guests\n\nUsage: nbdpull COMMAND [OPTIONS]\n\nCommands:\n",
        NBDPULL_VERSION);
    for (const struct np_command *const *command = np_command_all(); *command != NULL; command++)
        printf("  %-10s %s\n", (*command)->name, (*command)->summary);
    printf("\nnbdpull COMMAND --help tells a command's options, nbdpull --version the version; the manual is "
           "nbdpull(1).\n");
}

static void note_command_line(struct np_context *context, int argc, char **argv)
{
    size_t used = 0;
    for (int i = 0; i < argc && used < sizeof(context->command_line); i++)
        used += (size_t)snprintf(context->command_line + used, sizeof(context->command_line) - used, "%s%s",
                                 i > 0 ? " " : "", i > 0 ? argv[i] : "nbdpull");
}

static int run(struct np_context *context, int argc, char **argv, struct np_error *err)
{
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        print_help();
        return 0;
    }
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        printf("nbdpull %s\n", NBDPULL_VERSION);
        return 0;
    }
    if (name[0] == '\0')
        return np_fail(err, NP_USAGE, "no command; see nbdpull --help");
    const struct np_command *command = np_command_find(name);
    if (command == NULL)
        return np_fail(err, NP_USAGE, "unknown command '%s'; see nbdpull --help", name);
    if (np_signals_start(context->cancel, err) < 0)
        return -1;
    return command->run(context, argc - 1, argv + 1, err);
}

/*
 * The status leaves by _exit: libvirt's embedded driver has been seen to crash while the process takes itself
 * apart, after all work was done, and that must not turn a success into a failure.
 */
int main(int argc, char **argv)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_cancel cancel;
    np_cancel_init(&cancel);
    struct np_context context = {.cancel = &cancel};
    note_command_line(&context, argc, argv);

    int status = 0;
    if (run(&context, argc, argv, &err) < 0) {
        np_output_clear_line();
        fprintf(stderr, "nbdpull: %s\n", err.message);
        status = np_error_exit_status(&err);
    }
    if (fflush(stdout) != 0 && status == 0)
        status = 1;
    fflush(stderr);
    _exit(status);
}
