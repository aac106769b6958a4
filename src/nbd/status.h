/* The block status of an export: asks the server, keeps its answer, and hands it out piece by piece. */
#ifndef NBD_STATUS_H
#define NBD_STATUS_H

#include "client.h"
#include "extents.h"

/*
 * The last answer of the server, one list a context. It may be kept: an export of a backup job does not
 * change. Zeroed, it is empty. Memory: two lists of at most NP_NBD_EXTENTS_KEPT runs, however large the disk.
 */
struct np_nbd_status {
    struct np_nbd_extents lists[2]; /* base:allocation, and the dirty bitmap if the client has one */
};

void np_nbd_status_clear(struct np_nbd_status *status);

/* As np_source_ops.extents. */
int np_nbd_status_extents(struct np_nbd_status *status, struct np_nbd_client *client, uint64_t offset,
                          uint64_t length, struct np_extent *extents, size_t room, size_t *count,
                          struct np_error *err);

#endif
