/*
 * Disks as the XML tells them, before libvirt and the images are asked.
 */
#ifndef NP_VIRT_DISKS_H
#define NP_VIRT_DISKS_H

#include "nbdpull/virt.h"

/* All but sizes and what the image files say. @param disks out, owned: np_domain_disks_clear, on failure too
 */
int np_disks_parse(const char *domain_xml, struct np_domain_disks *disks, struct np_error *err);

/* What the image file behind `source` says: identity, and the qcow2 version that can hold no bitmap. */
void np_disks_look_at_image(struct np_domain_disk *disk);

#endif
