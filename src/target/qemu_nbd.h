/*
 * qemu-nbd, serving one image to us alone, and our connections to it.
 *
 * All connections are made at the start, while the socket's directory exists, and lent to writers. qemu-nbd
 * serves until the last of them is closed, so it ends when we do, in whatever way we end.
 */
#ifndef TARGET_QEMU_NBD_H
#define TARGET_QEMU_NBD_H

#include "child.h"

#include "nbdpull/nbd_client.h"

struct np_qemu_nbd {
    const char *subject; /* borrowed; messages begin with it */
    struct np_child child;
    struct np_nbd_group group;

    pthread_mutex_t lock; /* guards all below; taken before the locks of child and group */
    struct np_nbd_client **idle;
    size_t idle_count, connection_count;
    bool ended;
    struct np_error end; /* once it ended: NP_OK, or what was wrong with its end */
};

void np_qemu_nbd_init(struct np_qemu_nbd *server);
void np_qemu_nbd_clear(struct np_qemu_nbd *server); /* ends what runs */

/*
 * Start it on a qcow2 image and connect.
 * subject: borrowed until np_qemu_nbd_clear
 * cache:   an option such as "--cache=none"
 */
int np_qemu_nbd_start(struct np_qemu_nbd *server, const char *subject, const char *image, const char *cache,
                      unsigned connections, struct np_error *err);

/* Borrow a connection for one thread; NP_FAILED when all are lent. client: out, np_qemu_nbd_give_back */
int np_qemu_nbd_lend(struct np_qemu_nbd *server, struct np_nbd_client **client, struct np_error *err);
void np_qemu_nbd_give_back(struct np_qemu_nbd *server, struct np_nbd_client *client);

/*
 * After a client failed: when its connection was lost, say why qemu-nbd ended in place of that it did, with
 * the last line it printed. From any thread. Returns -1.
 */
int np_qemu_nbd_explain(struct np_qemu_nbd *server, const struct np_nbd_client *client, struct np_error *err);

/* Have it write out all it holds, disconnect, and wait for its end, which must be a good one. All are given
 * back. */
int np_qemu_nbd_finish(struct np_qemu_nbd *server, struct np_error *err);

/* Make everything fail soon, for good. From any thread, does not block. */
void np_qemu_nbd_kill(struct np_qemu_nbd *server);

#endif
