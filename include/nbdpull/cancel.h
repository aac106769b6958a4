/**
 * @file cancel.h
 * Asking long work to stop: by a signal, or because another part failed. The request wakes whoever waits,
 * through hooks; the work unwinds the way it does after an error.
 */
#ifndef NBDPULL_CANCEL_H
#define NBDPULL_CANCEL_H

#include "nbdpull/error.h"

#include <pthread.h>
#include <stdatomic.h>

/** Wakes one waiter. Called with the list's lock held, from the thread that asks: must not block. */
typedef void np_cancel_hook(void *ctx);

struct np_cancel_entry {
    np_cancel_hook *hook;
    void *ctx;
    struct np_cancel_entry *next;
};

/** Shared by all threads of one command. Initialise with np_cancel_init. */
struct np_cancel {
    atomic_int signal;    /**< 0, or the signal that asked first */
    pthread_mutex_t lock; /**< guards the list */
    struct np_cancel_entry *hooks;
};

void np_cancel_init(struct np_cancel *cancel);
void np_cancel_clear(struct np_cancel *cancel);

/** Ask to stop because of a signal. Only the first one counts. Not for signal handlers: use a thread in
 * sigwait. */
void np_cancel_request(struct np_cancel *cancel, int signal);

/** 0, or -1 with NP_INTERRUPTED once somebody asked. @param cancel borrowed, or NULL: never asked */
int np_cancel_check(struct np_cancel *cancel, struct np_error *err);

/** True once somebody asked. @param cancel borrowed, or NULL */
bool np_cancel_requested(struct np_cancel *cancel);

/**
 * Call hook(ctx) when somebody asks, at once if somebody has.
 * @param entry borrowed until np_cancel_remove; lives in the waiter's own memory
 */
void np_cancel_add(struct np_cancel *cancel, struct np_cancel_entry *entry, np_cancel_hook *hook, void *ctx);

/** After this the hook is not running and will not be called. @param cancel borrowed, or NULL */
void np_cancel_remove(struct np_cancel *cancel, struct np_cancel_entry *entry);

#endif
