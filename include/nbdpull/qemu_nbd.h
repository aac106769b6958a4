/**
 * @file qemu_nbd.h
 * qemu-nbd, serving one image for reading, to us alone.
 *
 * It holds QEMU's lock on the image, which keeps a guest from being started, so it must never outlive us: it
 * is killed when we die, and ends by itself when the connection ends that np_qemu_nbd_connect makes.
 */
#ifndef NBDPULL_QEMU_NBD_H
#define NBDPULL_QEMU_NBD_H

#include "nbdpull/child.h"
#include "nbdpull/listener.h"
#include "nbdpull/nbd_client.h"

struct np_qemu_nbd {
    const char *subject; /**< borrowed; messages begin with it */
    struct np_child child;
    struct np_nbd_group group;
    struct np_listener listener; /**< its path, once the server has it */
    char export_name[64];
    struct np_nbd_client *client; /**< our own connection, or NULL */
};

/** What to serve, and how. All strings are borrowed, subject until np_qemu_nbd_clear. */
struct np_qemu_nbd_spec {
    const char *subject;     /**< messages begin with it */
    const char *image;       /**< absolute path */
    const char *format;      /**< of the image: it is never probed */
    const char *export_name; /**< not "" */
    const char *bitmap;      /**< a dirty bitmap to export; NULL: none */
    const char *socket;      /**< path to listen at; NULL: a private place */
};

/** @param cancel borrowed until np_qemu_nbd_clear, or NULL: as of np_nbd_group_init */
void np_qemu_nbd_init(struct np_qemu_nbd *server, struct np_cancel *cancel);
void np_qemu_nbd_clear(struct np_qemu_nbd *server); /**< ends what runs, removes the socket */

/** Start it. It is not known yet whether it can open the image: np_qemu_nbd_connect tells. */
int np_qemu_nbd_start(struct np_qemu_nbd *server, const struct np_qemu_nbd_spec *spec, struct np_error *err);

/**
 * Make our connection: when it returns, the image is open and QEMU's lock on it is held. Anybody who reaches
 * the socket may connect too, until np_qemu_nbd_clear.
 */
int np_qemu_nbd_connect(struct np_qemu_nbd *server, struct np_error *err);

/** Make everything fail soon, for good. From any thread, does not block. */
void np_qemu_nbd_kill(struct np_qemu_nbd *server);

#endif
