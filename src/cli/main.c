#include "command.h"
#include "leaks.h"
#include "output.h"
#include "signals.h"

#include "nbdpull/uri.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define DESCRIPTORS 65536

static void print_help(void)
{
    printf("nbdpull %s: exact backups of KVM guests\n\nUsage: nbdpull COMMAND [OPTIONS]\n       nbdpull "
           "--help | --version\n\nCommands:\n",
           NBDPULL_VERSION);
    for (const struct np_command *const *command = np_command_all(); *command != NULL; command++)
        if ((*command)->summary != NULL)
            printf("  %-11s %s\n", (*command)->name, (*command)->summary);
    printf("\nnbdpull COMMAND --help tells a command's options; the manual is nbdpull(1).\n");
}

/*
 * A standard descriptor that was closed when we started would be given to the next file or socket: a warning
 * would then be written into a stream, and a stream into libvirt's connection. What stands in its place fails
 * on use, as the closed one would.
 */
static int hold_standard_descriptors(struct np_error *err)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        bool closed = fcntl(fd, F_GETFD) < 0 && errno == EBADF;
        if (closed && open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
            return np_fail_errno(err, NP_FAILED, errno,
                                 "descriptor %d is closed, and /dev/null cannot be opened", fd);
    }
    return 0;
}

/*
 * Each stream of a chain is a descriptor, for all disks at once in a backup: more than the 1024 that a
 * process is given at first, once a chain is long. What is used is what is opened; but libvirt 9.0's embedded
 * driver goes through all that might be whenever it starts a process, so there is a limit.
 */
static void allow_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= DESCRIPTORS)
        return;
    limit.rlim_cur = limit.rlim_max < DESCRIPTORS ? limit.rlim_max : DESCRIPTORS;
    setrlimit(RLIMIT_NOFILE, &limit); /* if not, opening one too many will say so */
}

/*
 * A core would hold what the guest has on its disks, in a place and of a mode that are not ours to choose.
 * Where the kernel pipes cores to a collector it does not ask for the limit, but for 1, which to it means a
 * collector that crashes itself; and no core is so small that a file of it would be written. A hard limit of
 * 0 is in the way of that, and stays where it may not be raised.
 */
static void forbid_cores(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_CORE, &limit) < 0)
        return;
    rlim_t hard = limit.rlim_max;
    limit.rlim_cur = 1;
    if (hard < 1)
        limit.rlim_max = 1;
    if (setrlimit(RLIMIT_CORE, &limit) == 0)
        return;
    limit = (struct rlimit){.rlim_cur = 0, .rlim_max = hard};
    setrlimit(RLIMIT_CORE, &limit); /* lowering it is always allowed */
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
    if (command == NULL) {
        char shown[NP_URI_SHOWN_MAX];
        return np_fail(err, NP_USAGE, "unknown command '%s'; see nbdpull --help",
                       np_uri_masked(name, shown, sizeof(shown)));
    }
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
    allow_descriptors();
    forbid_cores();

    int status = 0;
    if (hold_standard_descriptors(&err) < 0 || run(&context, argc, argv, &err) < 0) {
        if (!context.told)
            np_output_error(err.message);
        status = np_error_exit_status(&err);
    }
    /* What an earlier write of its buffer lost, the last one does not know. */
    errno = 0;
    if ((fflush(stdout) != 0 || ferror(stdout)) && status == 0) {
        fprintf(stderr, "nbdpull: standard output: cannot write: %s\n",
                errno != 0 ? strerror(errno) : "a part of it was lost");
        status = np_error_exit_status(&(struct np_error){.class = NP_FAILED});
    }
    fflush(stderr);
    np_leaks_check();
    _exit(status);
}
