/*
 * What the files of this folder see of a domain.
 */
#ifndef NP_VIRT_DOMAIN_H
#define NP_VIRT_DOMAIN_H

#include "connection.h"

struct np_domain {
    struct np_virt *virt;      /* borrowed */
    _Atomic(virDomainPtr) ptr; /* owned; as the connection's */
    char *name;                /* owned */
    struct np_uuid uuid;
    struct np_watch *started; /* owned; since before np_domain_start_paused, else NULL */
};

/* After a broken connection: find the domain on a new one. */
int np_domain_reach(struct np_domain *domain, struct np_error *err);

/* @return 0, or -1: NP_BUSY while a block job (copy, commit, pull) uses one of its disks */
int np_job_check_disks(struct np_domain *domain, struct np_error *err);

#endif
