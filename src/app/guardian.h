/**
 * @file guardian.h
 * The child process that watches over a run: a killed client does not end its job, whose scratch would grow
 * until the guest stops. When the run dies, the guardian puts right what it has begun. It connects to
 * libvirt only then, for an embedded root admits one process.
 *
 * It is told the intent through a socket pair, so that it can do it without a set too, or whatever somebody
 * did to the set's, and inherits the lock of the set, which so stays locked until it is done. What goes over
 * the socket: the intent's text and a NUL; its answer NP_GUARDIAN_READY; then NP_GUARDIAN_BEGUN once begin
 * has returned, NP_GUARDIAN_THAWED when the guest is not frozen any more, NP_GUARDIAN_COMMITS before the
 * point may appear, NP_GUARDIAN_END when nothing is left to do. The end of file without that is the death of
 * the run.
 */
#ifndef NP_GUARDIAN_H
#define NP_GUARDIAN_H

#include "nbdpull/set.h"

#include <sys/types.h>

#define NP_GUARDIAN_READY 'r'
#define NP_GUARDIAN_BEGUN 'b'
#define NP_GUARDIAN_THAWED 't'
#define NP_GUARDIAN_COMMITS 'c'
#define NP_GUARDIAN_END 'e'

/** The run's side. {0}: none. */
struct np_guardian {
    pid_t pid; /**< 0: none */
    int channel;
};

/**
 * Start one, and return when it watches: before the run begins anything, and after its intent is durable.
 * @param domain its name, for ps
 * @param set    whose lock it inherits; NULL: none
 */
int np_guardian_start(const struct np_intent *intent, const char *domain, struct np_set *set,
                      struct np_guardian *guardian, struct np_error *err);

/** Begin has returned: nothing of it waits in libvirt any more. */
void np_guardian_begun(struct np_guardian *guardian);

/** The guest is not frozen any more: what freezes it later is somebody else. */
void np_guardian_thawed(struct np_guardian *guardian);

/** The point may appear from here on: one that cannot reach the set must leave its checkpoint. */
void np_guardian_commits(struct np_guardian *guardian);

/** Nothing is left to do: end it and wait. Warns when it is gone already. Nothing if there is none. */
void np_guardian_dismiss(struct np_guardian *guardian);

/** The run gives up on something: the guardian goes on with it, now and after our end. */
void np_guardian_leave(struct np_guardian *guardian);

#endif
