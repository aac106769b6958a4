/**
 * @file lost_bitmaps.h
 * Bitmaps of ours in the images of a domain's disks whose checkpoint libvirt does not know: its metadata was
 * deleted, or went with a domain that was transient or renamed. They record for ever.
 */
#ifndef NP_LOST_BITMAPS_H
#define NP_LOST_BITMAPS_H

#include "nbdpull/virt.h"

struct np_lost_bitmaps {
    struct np_names names; /**< in the disks' own images, each once */
    struct np_names
        below; /**< only in images of a backing chain or of read-only disks: others may use those */
    struct np_names unseen; /**< messages: disks whose images could not be looked at, and why */
};

/** While the domain runs its QEMU is asked, else the images. @param lost out, owned; also on -1 */
int np_lost_bitmaps_find(struct np_domain *domain, bool active, struct np_lost_bitmaps *lost,
                         struct np_error *err);
void np_lost_bitmaps_clear(struct np_lost_bitmaps *lost); /**< takes a zeroed struct */

/** Remove one of the names from all images of the disks. -1 too when it is still there afterwards. */
int np_lost_bitmaps_remove(struct np_domain *domain, const char *name, struct np_error *err);

#endif
