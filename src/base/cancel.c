#include "nbdpull/cancel.h"

#include <string.h>

void np_cancel_init(struct np_cancel *cancel)
{
    atomic_init(&cancel->signal, 0);
    pthread_mutex_init(&cancel->lock, NULL);
    cancel->hooks = NULL;
}

void np_cancel_clear(struct np_cancel *cancel)
{
    pthread_mutex_destroy(&cancel->lock);
}

void np_cancel_request(struct np_cancel *cancel, int signal)
{
    int nobody = 0;
    if (!atomic_compare_exchange_strong(&cancel->signal, &nobody, signal))
        return;

    pthread_mutex_lock(&cancel->lock);
    for (struct np_cancel_entry *entry = cancel->hooks; entry != NULL; entry = entry->next)
        entry->hook(entry->ctx);
    pthread_mutex_unlock(&cancel->lock);
}

bool np_cancel_requested(struct np_cancel *cancel)
{
    return cancel != NULL && atomic_load(&cancel->signal) != 0;
}

int np_cancel_check(struct np_cancel *cancel, struct np_error *err)
{
    if (!np_cancel_requested(cancel))
        return 0;
    int signal = atomic_load(&cancel->signal);
    np_fail(err, NP_INTERRUPTED, "ended by signal %d (%s)", signal, strsignal(signal));
    err->signal = signal;
    return -1;
}

void np_cancel_add(struct np_cancel *cancel, struct np_cancel_entry *entry, np_cancel_hook *hook, void *ctx)
{
    entry->hook = hook;
    entry->ctx = ctx;
    if (cancel == NULL)
        return;

    pthread_mutex_lock(&cancel->lock);
    entry->next = cancel->hooks;
    cancel->hooks = entry;
    if (atomic_load(&cancel->signal) != 0)
        hook(ctx);
    pthread_mutex_unlock(&cancel->lock);
}

void np_cancel_remove(struct np_cancel *cancel, struct np_cancel_entry *entry)
{
    if (cancel == NULL)
        return;

    pthread_mutex_lock(&cancel->lock);
    struct np_cancel_entry **link = &cancel->hooks;
    while (*link != NULL && *link != entry)
        link = &(*link)->next;
    if (*link != NULL)
        *link = entry->next;
    pthread_mutex_unlock(&cancel->lock);
}
