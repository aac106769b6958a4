/*
 * What is read from the XML of a checkpoint, as libvirt gives it or as it was saved beside a point.
 */
#ifndef NP_VIRT_CHECKPOINT_XML_H
#define NP_VIRT_CHECKPOINT_XML_H

#include "nbdpull/virt.h"
#include "xml.h"

/*
 * Is the disk's bitmap usable, and how much does it call dirty? libvirt leaves out the size of a disk whose
 * bitmap is lost or inconsistent.
 * @param state changed only when it is usable
 */
int np_checkpoint_xml_size(const char *xml, const char *target, struct np_checkpoint_state *state,
                           struct np_error *err);

/* Targets of the disks that it covers. @param targets zeroed; filled */
int np_checkpoint_xml_targets(const char *xml, struct np_names *targets, struct np_error *err);

/*
 * A saved XML as libvirt can be told of it again: without parent, domain and sizes, each bitmap named like
 * it.
 * @param saved_xml hostile
 * @param name      the checkpoint that it must be of; NP_DAMAGED else
 * @param doc       out, owned: NP_XML_DOC; on failure too
 */
int np_checkpoint_xml_saved(const char *saved_xml, const char *name, xmlDocPtr *doc, struct np_error *err);

#endif
