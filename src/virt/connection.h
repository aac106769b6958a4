/*
 * What the files of this folder see of a connection.
 */
#ifndef NP_VIRT_CONNECTION_H
#define NP_VIRT_CONNECTION_H

#include "nbdpull/virt.h"
#include "watch.h"

struct np_virt {
    virConnectPtr conn;
    char *uri;
    struct np_link *link;
    bool gone; /* it broke, and did not come back */
};

/* The connection broke: open another one, with the same watches. Domains must be looked up again. */
int np_virt_reopen(struct np_virt *virt, struct np_error *err);

#endif
