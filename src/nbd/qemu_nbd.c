#include "nbdpull/qemu_nbd.h"

#include "nbdpull/cleanup.h"

#include <signal.h>
#include <stdio.h>

#define BACKLOG 16

void np_qemu_nbd_init(struct np_qemu_nbd *server, struct np_cancel *cancel)
{
    *server = (struct np_qemu_nbd){.listener = NP_LISTENER_NONE};
    np_child_init(&server->child);
    np_nbd_group_init(&server->group, cancel);
}

void np_qemu_nbd_clear(struct np_qemu_nbd *server)
{
    np_nbd_client_close(server->client);
    np_child_clear(&server->child);
    np_listener_close(&server->listener);
    np_nbd_group_clear(&server->group);
}

void np_qemu_nbd_kill(struct np_qemu_nbd *server)
{
    np_nbd_group_interrupt(&server->group);
    np_child_kill(&server->child);
}

static int open_listener(struct np_qemu_nbd *server, const char *socket, struct np_error *err)
{
    return socket == NULL ? np_listener_open(&server->listener, BACKLOG, err)
                          : np_listener_open_at(&server->listener, socket, BACKLOG, err);
}

/* SIGKILL when we die: qemu-nbd loses a SIGTERM that comes before its main loop, and has nothing to save. */
int np_qemu_nbd_start(struct np_qemu_nbd *server, const struct np_qemu_nbd_spec *spec, struct np_error *err)
{
    server->subject = spec->subject;
    snprintf(server->export_name, sizeof(server->export_name), "%s", spec->export_name);
    const char *argv[] = {
        "qemu-nbd",        "--read-only", "--shared=0", "--format", spec->format, "--export-name",
        spec->export_name, spec->image,   NULL,         NULL,       NULL};
    if (spec->bitmap != NULL) {
        argv[7] = "--bitmap";
        argv[8] = spec->bitmap;
        argv[9] = spec->image;
    }
    if (open_listener(server, spec->socket, err) < 0 ||
        np_child_start(&server->child, argv, server->listener.fd, SIGKILL, err) < 0)
        return np_error_context(err, "%s", spec->subject);
    np_listener_hand_over(&server->listener);
    return 0;
}

int np_qemu_nbd_connect(struct np_qemu_nbd *server, struct np_error *err)
{
    const struct np_nbd_address address = {.socket = server->listener.path,
                                           .export_name = server->export_name,
                                           .subject = server->subject,
                                           .lost = "qemu-nbd ended"};
    if (np_nbd_client_open(&address, &server->group, &server->client, err) == 0)
        return 0;
    if (np_cancel_requested(server->group.cancel))
        return -1;
    /* What it printed says more than what became of the connection. */
    struct np_error end = NP_ERROR_INIT;
    np_child_end(&server->child);
    if (np_child_wait(&server->child, &end) == 0)
        return -1;
    *err = (struct np_error)NP_ERROR_INIT;
    return np_fail(err, NP_FAILED, "%s: cannot read the image: %s", server->subject, end.message);
}
