#include "qemu_nbd.h"

#include "listener.h"

#include "nbdpull/cleanup.h"

#include <errno.h>
#include <stdio.h>

void np_qemu_nbd_init(struct np_qemu_nbd *server)
{
    *server = (struct np_qemu_nbd){.end = NP_ERROR_INIT};
    pthread_mutex_init(&server->lock, NULL);
    np_child_init(&server->child);
    np_nbd_group_init(&server->group);
}

static void disconnect(struct np_qemu_nbd *server)
{
    while (server->idle_count > 0)
        np_nbd_client_close(server->idle[--server->idle_count]);
}

void np_qemu_nbd_clear(struct np_qemu_nbd *server)
{
    disconnect(server);
    free(server->idle);
    np_child_clear(&server->child);
    np_nbd_group_clear(&server->group);
    pthread_mutex_destroy(&server->lock);
}

void np_qemu_nbd_kill(struct np_qemu_nbd *server)
{
    np_nbd_group_interrupt(&server->group);
    np_child_kill(&server->child);
}

/* It is made to end if it has not. Several writers may ask at once. */
static void learn_end(struct np_qemu_nbd *server)
{
    pthread_mutex_lock(&server->lock);
    if (!server->ended) {
        np_child_end(&server->child);
        np_child_wait(&server->child, &server->end);
        server->ended = true;
    }
    pthread_mutex_unlock(&server->lock);
}

/* A cause that is known better than what the connection told. */
static int fail_by_end(struct np_qemu_nbd *server, struct np_error *err)
{
    learn_end(server);
    if (server->end.class == NP_OK)
        return -1;
    uint64_t offset = err->offset;
    *err = (struct np_error)NP_ERROR_INIT;
    np_fail(err, NP_FAILED, "%s: cannot write the image: %s", server->subject, server->end.message);
    return np_error_where(err, NULL, offset);
}

int np_qemu_nbd_explain(struct np_qemu_nbd *server, const struct np_nbd_client *client, struct np_error *err)
{
    return np_nbd_client_is_lost(client) ? fail_by_end(server, err) : -1;
}

static int connect_all(struct np_qemu_nbd *server, unsigned connections, const char *socket,
                       struct np_error *err)
{
    struct np_nbd_address address = {
        .socket = socket, .export_name = "", .subject = server->subject, .lost = "qemu-nbd ended"};
    server->idle = calloc(connections, sizeof(struct np_nbd_client *));
    if (server->idle == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s", server->subject);
    for (; server->idle_count < connections; server->idle_count++)
        if (np_nbd_client_open(&address, &server->group, &server->idle[server->idle_count], err) < 0)
            return fail_by_end(server, err);
    server->connection_count = connections;
    return 0;
}

int np_qemu_nbd_start(struct np_qemu_nbd *server, const char *subject, const char *image, const char *cache,
                      unsigned connections, struct np_error *err)
{
    NP_CLEANUP(np_listener_close) struct np_listener listener = NP_LISTENER_NONE;
    server->subject = subject;
    if (np_listener_open(&listener, (int)connections, err) < 0)
        return -1;
    char shared[32];
    snprintf(shared, sizeof(shared), "--shared=%u", connections);
    const char *argv[] = {"qemu-nbd", "--format=qcow2", cache, shared, image, NULL};
    if (np_child_start(&server->child, argv, listener.fd, err) < 0)
        return np_error_context(err, "%s", subject);
    np_listener_hand_over(&listener);
    return connect_all(server, connections, listener.path, err);
}

int np_qemu_nbd_lend(struct np_qemu_nbd *server, struct np_nbd_client **client, struct np_error *err)
{
    pthread_mutex_lock(&server->lock);
    bool there = server->idle_count > 0;
    if (there)
        *client = server->idle[--server->idle_count];
    pthread_mutex_unlock(&server->lock);
    if (!there)
        return np_fail(err, NP_FAILED, "%s: more than %zu writers at once", server->subject,
                       server->connection_count);
    return 0;
}

void np_qemu_nbd_give_back(struct np_qemu_nbd *server, struct np_nbd_client *client)
{
    pthread_mutex_lock(&server->lock);
    server->idle[server->idle_count++] = client;
    pthread_mutex_unlock(&server->lock);
}

int np_qemu_nbd_finish(struct np_qemu_nbd *server, struct np_error *err)
{
    for (size_t i = 0; i < server->idle_count; i++)
        if (np_nbd_client_flush(server->idle[i], err) < 0)
            return np_qemu_nbd_explain(server, server->idle[i], err);
    disconnect(server);
    if (np_child_wait(&server->child, err) < 0)
        return np_error_context(err, "%s: cannot finish the image", server->subject);
    return 0;
}
