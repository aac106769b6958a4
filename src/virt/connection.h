/*
 * What the files of this folder see of a connection.
 */
#ifndef NP_VIRT_CONNECTION_H
#define NP_VIRT_CONNECTION_H

#include "nbdpull/virt.h"
#include "watch.h"

/*
 * Any thread may find that the connection broke, and put another one in its place (np_domain_reach, one at a
 * time). The old one stays as long as the process: who has just taken it from here gets an error from it.
 */
struct np_virt {
    _Atomic(virConnectPtr) conn;
    char *uri;
    _Atomic(struct np_link *) link;
    bool gone; /* it broke, and did not come back; of np_domain_reach */
};

/* The connection broke: open another one, with the same watches. Domains must be looked up again. */
int np_virt_reopen(struct np_virt *virt, struct np_error *err);

#endif
