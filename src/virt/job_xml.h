/*
 * The XML of a backup job and of its checkpoint, written from a spec and read back.
 */
#ifndef NP_VIRT_JOB_XML_H
#define NP_VIRT_JOB_XML_H

#include "nbdpull/virt.h"

/*
 * <domainbackup>: every disk of the domain is listed, backup='no' for those that are not in the spec.
 * @param xml out, owned (free)
 */
int np_job_xml_backup(const struct np_job_spec *spec, char **xml, struct np_error *err);

/*
 * <domaincheckpoint>: every disk of the domain is listed, checkpoint='bitmap' only for disks that are backed
 * up in the same job. The other way libvirt accepts, and the next increment would miss what was written
 * before.
 * @param xml out, owned (free)
 */
int np_job_xml_checkpoint(const struct np_job_spec *spec, char **xml, struct np_error *err);

/* Is the running job the one that was asked for: socket, and for each disk mode, base, export, bitmap,
 * scratch? */
int np_job_xml_compare(const struct np_job_spec *spec, const char *xml, struct np_error *err);

/* Where the job's NBD server listens: "/path", or "HOST:PORT", or "" for a push job. @param socket out, owned
 */
int np_job_xml_socket(const char *xml, char **socket, struct np_error *err);

/*
 * What libvirt calls the scratch file of a disk, "vda[5]", for block thresholds.
 * @param node out, owned (free); NULL when the job is not that of the socket, or the disk is not in it
 */
int np_job_xml_scratch_node(const char *xml, const char *socket, const char *target, char **node,
                            struct np_error *err);

#endif
