#include "client.h"

#include <sys/socket.h>

static void on_cancel(void *ctx)
{
    np_nbd_group_interrupt(ctx);
}

void np_nbd_group_init(struct np_nbd_group *group, struct np_cancel *cancel)
{
    pthread_mutex_init(&group->lock, NULL);
    group->interrupted = false;
    group->first = NULL;
    group->cancel = cancel;
    np_cancel_add(cancel, &group->on_cancel, on_cancel, group);
}

void np_nbd_group_clear(struct np_nbd_group *group)
{
    np_cancel_remove(group->cancel, &group->on_cancel);
    pthread_mutex_destroy(&group->lock);
}

/* shutdown is seen by a thread that waits for the socket at once; close would not be, and the number could be
 * somebody else's by then. */
void np_nbd_group_interrupt(struct np_nbd_group *group)
{
    pthread_mutex_lock(&group->lock);
    group->interrupted = true;
    for (struct np_nbd_client *client = group->first; client != NULL; client = client->next)
        shutdown(client->socket, SHUT_RDWR);
    pthread_mutex_unlock(&group->lock);
}

int np_nbd_group_join(struct np_nbd_group *group, struct np_nbd_client *client, struct np_error *err)
{
    pthread_mutex_lock(&group->lock);
    bool interrupted = group->interrupted;
    if (!interrupted) {
        client->next = group->first;
        group->first = client;
        client->group = group;
    }
    pthread_mutex_unlock(&group->lock);
    return interrupted ? np_fail(err, NP_FAILED, "%s: cannot connect: interrupted", client->subject) : 0;
}

void np_nbd_group_leave(struct np_nbd_client *client)
{
    if (client->group == NULL)
        return;
    pthread_mutex_lock(&client->group->lock);
    struct np_nbd_client **link = &client->group->first;
    while (*link != client)
        link = &(*link)->next;
    *link = client->next;
    pthread_mutex_unlock(&client->group->lock);
    client->group = NULL;
}

bool np_nbd_group_is_interrupted(struct np_nbd_group *group)
{
    pthread_mutex_lock(&group->lock);
    bool interrupted = group->interrupted;
    pthread_mutex_unlock(&group->lock);
    return interrupted;
}
