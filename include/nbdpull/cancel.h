/**
 * @file cancel.h
 * Asking long work to stop: by a signal, or because of an error that somebody beside it has found. The first
 * who asks gives the reason. The request wakes whoever waits, through hooks; the work unwinds the way it does
 * after an error.
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
    atomic_int asked;      /**< 0, the signal that asked first, or -1: the error did */
    struct np_error error; /**< never changes once asked is -1 */
    pthread_mutex_t lock;  /**< guards the list, and who is first */
    struct np_cancel_entry *hooks;
};

void np_cancel_init(struct np_cancel *cancel);
void np_cancel_clear(struct np_cancel *cancel);

/** Ask to stop because of a signal. Only the first one counts. Not for signal handlers: use a thread in
 * sigwait. */
void np_cancel_request(struct np_cancel *cancel, int signal);

/**
 * Ask to stop because of an error.
 * @param cancel borrowed, or NULL: nobody can be asked
 * @param error  copied
 * @return true when nobody has asked before: it is the reason
 */
bool np_cancel_fail(struct np_cancel *cancel, const struct np_error *error);

/** 0, or -1 with the reason once somebody asked: NP_INTERRUPTED for a signal. @param cancel borrowed, or
 * NULL: never asked */
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
