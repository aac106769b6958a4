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
};

#endif
