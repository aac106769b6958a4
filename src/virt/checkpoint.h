/*
 * What the files about checkpoints share: a checkpoint's pointer that is freed when its scope ends, and
 * deleting one that nobody misses.
 */
#ifndef NP_VIRT_CHECKPOINT_H
#define NP_VIRT_CHECKPOINT_H

#include "nbdpull/cleanup.h"

#include <libvirt/libvirt.h>
#include <stdbool.h>

static inline void np_checkpoint_unref(virDomainCheckpointPtr *checkpoint)
{
    if (*checkpoint != NULL)
        virDomainCheckpointFree(*checkpoint);
}

#define AUTO_CHECKPOINT NP_CLEANUP(np_checkpoint_unref) virDomainCheckpointPtr

struct np_domain;
struct np_error;

/** As np_checkpoint_delete. @param say false: that a bitmap of it is gone is no news */
int np_checkpoint_delete_as(struct np_domain *domain, const char *name, bool say, struct np_error *err);

#endif
