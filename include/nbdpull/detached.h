/**
 * @file detached.h
 * A child process that outlives this one: this very program again, in a session of its own, so that neither
 * the terminal nor a signal to our process group reaches it. SIGINT, SIGTERM and SIGHUP are ignored from its
 * first instruction on, and it is not killed when we die.
 */
#ifndef NBDPULL_DETACHED_H
#define NBDPULL_DETACHED_H

#include "nbdpull/error.h"

#include <sys/types.h>

/** The first descriptor that is passed gets this number in the child, the next one the next. */
#define NP_DETACHED_FD 3
#define NP_DETACHED_FDS_MAX 2

/**
 * Start it. Standard input and output are /dev/null, standard error is ours; it has no other descriptor than
 * those that are passed. When exec fails, the first of them is written two bytes: 'x' and the errno value.
 * @param argv  borrowed, NULL at the end; argv[0] is only its name in ps
 * @param fds   borrowed; 1 to NP_DETACHED_FDS_MAX of them
 * @param pid   out: to be waited for
 */
int np_detached_start(const char *const argv[], const int *fds, size_t count, pid_t *pid,
                      struct np_error *err);

/** Wait for its end. @return a wait status */
int np_detached_wait(pid_t pid);

#endif
