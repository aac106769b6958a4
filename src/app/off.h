/**
 * @file off.h
 * Checkpoints while the domain is off: libvirt then knows their XML only, and the bitmaps lie in image files
 * that nobody has open.
 */
#ifndef NP_OFF_H
#define NP_OFF_H

#include "nbdpull/set.h"
#include "nbdpull/virt.h"

/** NP_FAILED when the disk cannot be read by its image while the domain is off: why, and what to do. */
int np_off_check_disk(const struct np_domain_disk *disk, struct np_error *err);

/**
 * Delete a checkpoint with its bitmaps, whether the domain runs or is off. None of that name: fine. Off, all
 * or nothing: NP_FAILED "deferred until the domain runs" when one of its bitmaps cannot be reached.
 */
int np_off_delete_checkpoint(struct np_domain *domain, const char *name, struct np_error *err);

/**
 * Take back the bitmaps that a run on images has added, or has been about to, and their checkpoint. The guest
 * may have been started since: then QEMU has them, and libvirt is told so that it can delete them.
 * An image that the domain has no more is not waited for: what cannot be done to it is a warning.
 * @param domain NULL: there is none any more
 * @param was    out; there was something to take back
 */
int np_off_take_back(struct np_domain *domain, const struct np_intent *intent, bool *was,
                     struct np_error *err);

#endif
