/**
 * @file subprocess.h
 * Child processes (qemu-img, qemu-nbd): found by PATH, never through a shell, in a process group of their
 * own (so that Ctrl-C reaches us first and we end them in order), and killed by the kernel if we die.
 *
 * The kernel goes by the thread: a child gets SIGTERM when the *thread* that started it ends. Start a child
 * from a thread that lives until the child has been waited for.
 */
#ifndef NBDPULL_SUBPROCESS_H
#define NBDPULL_SUBPROCESS_H

#include "nbdpull/error.h"

#include <sys/types.h>

struct np_subprocess {
    pid_t pid;     /**< 0 when none runs */
    int output;    /**< read end of its standard error (and output, if asked), or -1 */
    char name[64]; /**< program, for messages */
};

/** Run to the end and fail unless the status is 0; the message carries the last line it printed. */
int np_subprocess_run(const char *const argv[], struct np_error *err);

/**
 * As np_subprocess_run, but it finishes its work when we die: for what must not be cut short, and takes no
 * time.
 * @param pass_fd a descriptor that the child inherits under the same number, or -1
 */
int np_subprocess_run_whole(const char *const argv[], int pass_fd, struct np_error *err);

/**
 * Run to the end and take its standard output.
 * @param limit most bytes to take; more is NP_FAILED
 * @param text  out, owned (free), NUL-terminated
 */
int np_subprocess_output(const char *const argv[], size_t limit, char **text, struct np_error *err);

/**
 * Start and return at once. The end must come by np_subprocess_wait or np_subprocess_stop.
 * @param argv     borrowed, NULL at the end
 * @param pass_fd  a descriptor that the child inherits under the same number, or -1
 */
int np_subprocess_start(struct np_subprocess *child, const char *const argv[], int pass_fd,
                        struct np_error *err);

/**
 * As np_subprocess_start, and the child is handed a listening socket the way systemd does it (LISTEN_FDS): a
 * client may connect at once, it need not be known when the child is ready. If the child ends, waiting
 * connections are closed, provided that the caller has closed its own copy.
 * @param listening borrowed; the child has it as descriptor 3
 * @param orphaned  signal that the child gets when we die
 */
int np_subprocess_start_socket(struct np_subprocess *child, const char *const argv[], int listening,
                               int orphaned, struct np_error *err);

/** Wait for its end; as np_subprocess_run about its status. */
int np_subprocess_wait(struct np_subprocess *child, struct np_error *err);

/** SIGTERM and wait; nothing if none runs. Takes what NP_CLEANUP gives it. */
void np_subprocess_stop(struct np_subprocess *child);

#endif
