/*
 * Checkpoints of a domain that is off: libvirt only keeps their XML then; the bitmaps in the images are made
 * and removed by others (include/nbdpull/image_file.h).
 */
#include "checkpoint.h"
#include "checkpoint_xml.h"
#include "domain.h"
#include "nbdpull/cleanup.h"
#include "virt_error.h"
#include "xml.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static bool has(const struct np_names *names, const char *name)
{
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->list[i], name) == 0)
            return true;
    return false;
}

static bool add_disks(xmlNodePtr root, const struct np_names *targets, const struct np_domain_disks *all)
{
    xmlNodePtr disks = np_xml_add(root, "disks");
    for (size_t i = 0; disks != NULL && i < all->count; i++) {
        const char *target = all->list[i].target;
        xmlNodePtr node = np_xml_add(disks, "disk");
        if (node == NULL || !np_xml_set(node, "name", target) ||
            !np_xml_set(node, "checkpoint", has(targets, target) ? "bitmap" : "no"))
            return false;
    }
    return disks != NULL;
}

/* A checkpoint that is redefined must say when it was made. */
static bool add_name_and_time(xmlNodePtr root, const char *text)
{
    char seconds[32];
    snprintf(seconds, sizeof(seconds), "%jd", (intmax_t)time(NULL));
    xmlNodePtr name = np_xml_add(root, "name"), created = np_xml_add(root, "creationTime");
    return name != NULL && created != NULL && np_xml_set_text(name, text) &&
           np_xml_set_text(created, seconds);
}

int np_checkpoint_declare(struct np_domain *domain, const char *name, const struct np_names *targets,
                          const struct np_domain_disks *disks, struct np_error *err)
{
    NP_XML_DOC xmlDocPtr doc = np_xml_new("domaincheckpoint");
    xmlNodePtr root = doc == NULL ? NULL : xmlDocGetRootElement(doc);
    NP_AUTO_FREE char *xml = NULL;
    if (root == NULL || !add_name_and_time(root, name) || !add_disks(root, targets, disks))
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot write the XML of checkpoint %s", name);
    if (np_xml_dump(doc, &xml, err) < 0)
        return -1;
    AUTO_CHECKPOINT made =
        virDomainCheckpointCreateXML(domain->ptr, xml, VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE);
    if (made == NULL)
        return np_virt_error(err, "cannot define checkpoint %s of domain %s", name, domain->name);
    return 0;
}

int np_checkpoint_targets(struct np_domain *domain, const char *name, struct np_names *targets,
                          struct np_error *err)
{
    AUTO_CHECKPOINT checkpoint = virDomainCheckpointLookupByName(domain->ptr, name, 0);
    NP_AUTO_FREE char *xml =
        checkpoint == NULL ? NULL
                           : virDomainCheckpointGetXMLDesc(checkpoint, VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN);
    if (xml == NULL)
        return np_virt_error(err, "cannot get checkpoint %s of domain %s", name, domain->name);
    return np_checkpoint_xml_targets(xml, targets, err);
}

int np_checkpoint_forget(struct np_domain *domain, const char *name, struct np_error *err)
{
    AUTO_CHECKPOINT checkpoint = virDomainCheckpointLookupByName(domain->ptr, name, 0);
    if (checkpoint == NULL && np_virt_error_code() == VIR_ERR_NO_DOMAIN_CHECKPOINT)
        return 0;
    if (checkpoint == NULL)
        return np_virt_error(err, "cannot look for checkpoint %s of domain %s", name, domain->name);
    if (virDomainCheckpointDelete(checkpoint, VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY) < 0)
        return np_virt_error(err, "cannot make libvirt forget checkpoint %s of domain %s", name,
                             domain->name);
    return 0;
}
