/**
 * @file recovery.h
 * Putting right what a run has begun and not brought to its end: by its guardian when it was killed, else by
 * the next run into the set.
 */
#ifndef NP_RECOVERY_H
#define NP_RECOVERY_H

#include "nbdpull/set.h"
#include "nbdpull/virt.h"

struct np_recovery {
    const struct np_intent *intent; /**< what was begun; borrowed, as the others */
    struct np_set *set;             /**< open for writing; NULL: the run had none */
    struct np_domain *domain;       /**< NULL: libvirt has no domain of that UUID any more */
    bool told;               /**< by the run itself: its intent is trusted, whatever became of the set */
    bool commits;            /**< told: its point may be committed, only the set can tell */
    bool cleared;            /**< the set's intent was found cleared: say nothing unless something was left */
    bool *frozen;            /**< out, or NULL: the guest could not be thawed */
    bool again;              /**< that has been tried, and said, before */
    struct np_error *unread; /**< out, or NULL: why the set cannot tell what may go, or NP_OK */
    bool begun;              /**< begin is known to have returned: nothing of it can be queued */
    struct np_cancel *cancel; /**< or NULL; ends the wait for a begin that may be queued */
};

/**
 * Take back all that the intent names, or, if its point was committed, only what would have come after the
 * commit; say in one line what was there; clear the intent. A foreign job or checkpoint is not touched. A
 * checkpoint that cannot go yet (the domain is off) is noted in the set, which loses it at the next
 * np_recover. On -1 the intent stays.
 * The job ends whatever became of the set. Where its points cannot be read, what one of them may need stays:
 * checkpoint, streams, and the intent; a warning says so, and the result is 0.
 */
int np_put_right(const struct np_recovery *recovery, struct np_error *err);

/**
 * At the start of a run: put right what an earlier one left, and delete checkpoints that had to wait. -1,
 * after all that could be done, where points cannot be read that would tell what of it may go.
 * @param frozen out; that run's freeze could not be undone: the intent stays, and this one has to try again
 */
int np_recover(struct np_set *set, struct np_domain *domain, struct np_cancel *cancel, bool *frozen,
               struct np_error *err);

#endif
