/**
 * @file nbd_client.h
 * One NBD connection over a Unix socket, and groups of them that can be interrupted together. The only code
 * that uses libnbd; sources (nbd.h) and reading an image back (image.h) stand on it.
 *
 * A client belongs to one thread at a time. A group may be used from any thread.
 */
#ifndef NBDPULL_NBD_CLIENT_H
#define NBDPULL_NBD_CLIENT_H

#include "nbdpull/cancel.h"
#include "nbdpull/error.h"

#include <pthread.h>

struct np_nbd_client;

/** The connections that np_nbd_group_interrupt ends. Does not move in memory. */
struct np_nbd_group {
    struct np_cancel *cancel; /* or NULL */
    struct np_cancel_entry on_cancel;
    pthread_mutex_t lock; /* guards all below, and the clients' links */
    bool interrupted;
    struct np_nbd_client *first;
};

/**
 * @param cancel borrowed until np_nbd_group_clear, or NULL: whoever asks it to stop interrupts the group, and
 * what fails then fails with the reason
 */
void np_nbd_group_init(struct np_nbd_group *group, struct np_cancel *cancel);
void np_nbd_group_clear(struct np_nbd_group *group); /**< its clients are closed */

/** Make everything fail soon that the group's clients do or wait for, and every later open. Does not block.
 */
void np_nbd_group_interrupt(struct np_nbd_group *group);

/** Where to connect to, what is needed there, and how messages speak of it. All strings are copied. */
struct np_nbd_address {
    const char *socket;      /**< path of the Unix socket */
    const char *export_name; /**< "" is the server's default export */
    bool allocation;         /**< block status is needed: structured replies and base:allocation */
    const char *bitmap;      /**< the context "qemu:dirty-bitmap:BITMAP" is needed too; NULL: it is not */
    const char *subject;     /**< messages begin with it; NULL: "export 'NAME' on SOCKET" */
    const char *lost;        /**< what it may mean when the connection is lost */
};

/**
 * Connect and negotiate.
 * @param group  borrowed until np_nbd_client_close
 * @param client out, owned: np_nbd_client_close
 * @return 0, or -1 with NP_FAILED: no such socket or export, or something that is needed is not offered
 */
int np_nbd_client_open(const struct np_nbd_address *address, struct np_nbd_group *group,
                       struct np_nbd_client **client, struct np_error *err);

/** Say goodbye and free; waits for nothing. Takes NULL. */
void np_nbd_client_close(struct np_nbd_client *client);

/** Bytes of the export. */
uint64_t np_nbd_client_size(const struct np_nbd_client *client);

/** Block sizes that the server advertises, 0 when it does not. */
void np_nbd_client_blocks(const struct np_nbd_client *client, uint32_t *minimum, uint32_t *preferred);

/** The connection is gone: nothing can be done with the client but close it. */
bool np_nbd_client_is_lost(const struct np_nbd_client *client);

/** Read exactly length bytes at offset, whatever block sizes the server asks for. */
int np_nbd_client_read(struct np_nbd_client *client, void *buffer, uint64_t offset, size_t length,
                       struct np_error *err);

#endif
