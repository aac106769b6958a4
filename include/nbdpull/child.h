/**
 * @file child.h
 * The programs that work on an image, one at a time, each of which may be ended from any thread.
 * np_subprocess alone leaves room for a signal to a process number that is somebody else's by then; a pidfd
 * does not.
 */
#ifndef NBDPULL_CHILD_H
#define NBDPULL_CHILD_H

#include "nbdpull/error.h"
#include "nbdpull/subprocess.h"

#include <pthread.h>

struct np_child {
    struct np_subprocess process; /**< used by one thread at a time */
    pthread_mutex_t lock;         /**< guards all below */
    int pidfd;                    /**< of the process that runs, or -1 */
    bool killed;                  /**< no other process may be started */
};

void np_child_init(struct np_child *child);
void np_child_clear(struct np_child *child); /**< ends and reaps what runs */

/** Run to the end, as np_subprocess_run. */
int np_child_run(struct np_child *child, const char *const argv[], struct np_error *err);

/** As np_subprocess_start_socket. End it by np_child_wait. */
int np_child_start(struct np_child *child, const char *const argv[], int listening, int orphaned,
                   struct np_error *err);

/** Wait for its end, as np_subprocess_wait. */
int np_child_wait(struct np_child *child, struct np_error *err);

/**
 * Make what runs end: SIGTERM, and SIGKILL if it has not gone after two seconds. From the thread that waits
 * for it; np_child_wait follows.
 */
void np_child_end(struct np_child *child);

/** SIGKILL, for good: what is started later is killed too. From any thread, does not block. */
void np_child_kill(struct np_child *child);

#endif
