/*
 * What the files about checkpoints share: a checkpoint's pointer that is freed when its scope ends.
 */
#ifndef NP_VIRT_CHECKPOINT_H
#define NP_VIRT_CHECKPOINT_H

#include "nbdpull/cleanup.h"

#include <libvirt/libvirt.h>

static inline void np_checkpoint_unref(virDomainCheckpointPtr *checkpoint)
{
    if (*checkpoint != NULL)
        virDomainCheckpointFree(*checkpoint);
}

#define AUTO_CHECKPOINT NP_CLEANUP(np_checkpoint_unref) virDomainCheckpointPtr

#endif
