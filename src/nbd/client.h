/* What the files of this folder share: the inside of a client, and how its errors are told. */
#ifndef NBD_CLIENT_H
#define NBD_CLIENT_H

#include "nbdpull/nbd_client.h"

#include <libnbd.h>

#define NP_NBD_REQUEST_MAX (32u << 20) /* what a server must take that does not say otherwise */
#define NP_NBD_ALLOCATION "base:allocation"
#define NP_NBD_BITMAP "qemu:dirty-bitmap:"

struct np_nbd_client {
    struct nbd_handle *nbd;
    int socket;     /* our own descriptor of it: libnbd closes its one as soon as the connection dies */
    bool connected; /* the handshake is done; the connection may be lost since */
    struct np_nbd_group *group;
    struct np_nbd_client *next; /* guarded by group->lock */
    char *subject;
    char *lost;
    char *bitmap_context; /* or NULL */
    uint64_t size;
    uint32_t minimum, preferred; /* as advertised, or 0 */
    uint32_t align;              /* what requests must be multiples of, at least 1 */
    uint32_t request_max;        /* multiple of align */
    uint32_t read_flags;         /* LIBNBD_CMD_FLAG_DF where the server knows it */
    uint8_t *block;              /* room for one block of `align` bytes when that is more than 1 */
};

/* Put the client into the group, so that interrupt reaches it. Fails when it is interrupted already. */
int np_nbd_group_join(struct np_nbd_group *group, struct np_nbd_client *client, struct np_error *err);
void np_nbd_group_leave(struct np_nbd_client *client);
bool np_nbd_group_is_interrupted(struct np_nbd_group *group);

/* Fill err from libnbd's error of the last call, which this thread made: "SUBJECT: WHAT: cause". Returns -1.
 */
int np_nbd_client_fail(const struct np_nbd_client *client, struct np_error *err, const char *what, ...)
    __attribute__((format(printf, 3, 4)));

#endif
