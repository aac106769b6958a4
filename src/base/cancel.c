#include "nbdpull/cancel.h"

#include <string.h>

#define BY_ERROR (-1)

void np_cancel_init(struct np_cancel *cancel)
{
    atomic_init(&cancel->asked, 0);
    pthread_mutex_init(&cancel->lock, NULL);
    cancel->hooks = NULL;
}

void np_cancel_clear(struct np_cancel *cancel)
{
    pthread_mutex_destroy(&cancel->lock);
}

/* The hooks ask for the reason under our lock: so it is read without. */
static bool ask(struct np_cancel *cancel, int why, const struct np_error *error)
{
    pthread_mutex_lock(&cancel->lock);
    bool first = atomic_load(&cancel->asked) == 0;
    if (first && error != NULL)
        cancel->error = *error;
    if (first)
        atomic_store(&cancel->asked, why);
    for (struct np_cancel_entry *entry = first ? cancel->hooks : NULL; entry != NULL; entry = entry->next)
        entry->hook(entry->ctx);
    pthread_mutex_unlock(&cancel->lock);
    return first;
}

void np_cancel_request(struct np_cancel *cancel, int signal)
{
    ask(cancel, signal, NULL);
}

bool np_cancel_fail(struct np_cancel *cancel, const struct np_error *error)
{
    return cancel != NULL && ask(cancel, BY_ERROR, error);
}

bool np_cancel_requested(struct np_cancel *cancel)
{
    return cancel != NULL && atomic_load(&cancel->asked) != 0;
}

int np_cancel_check(struct np_cancel *cancel, struct np_error *err)
{
    int asked = cancel == NULL ? 0 : atomic_load(&cancel->asked);
    if (asked == 0)
        return 0;
    if (asked == BY_ERROR) {
        *err = cancel->error;
        return -1;
    }
    np_fail(err, NP_INTERRUPTED, "ended by signal %d (%s)", asked, strsignal(asked));
    err->signal = asked;
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
    if (atomic_load(&cancel->asked) != 0)
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
