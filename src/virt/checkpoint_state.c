/*
 * Whether a checkpoint of ours can still be used, and telling libvirt again of one that it has lost.
 */
#include "checkpoint.h"
#include "domain.h"
#include "nbdpull/cleanup.h"
#include "virt_error.h"
#include "xml.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <string.h>

/* libvirt leaves out the size of a disk whose bitmap is lost or inconsistent. */
static int read_size(const char *xml, const char *target, struct np_checkpoint_state *state,
                     struct np_error *err)
{
    NP_XML_DOC xmlDocPtr doc = NULL;
    if (np_xml_parse(xml, "checkpoint XML", "domaincheckpoint", &doc, err) < 0)
        return -1;
    NP_XML_FOUND xmlXPathObjectPtr disks =
        np_xml_find(doc, "/domaincheckpoint/disks/disk[@checkpoint='bitmap']");
    if (disks == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot read the XML of a checkpoint");
    for (size_t i = 0; i < np_xml_count(disks); i++) {
        xmlNodePtr disk = np_xml_at(disks, i);
        NP_AUTO_FREE char *size = np_xml_attribute(disk, "size");
        if (!np_xml_attribute_is(disk, "name", target) || size == NULL)
            continue;
        state->usable = true;
        state->dirty_bytes = strtoull(size, NULL, 10);
    }
    return 0;
}

int np_checkpoint_probe(struct np_domain *domain, const char *name, const char *target,
                        struct np_checkpoint_state *state, struct np_error *err)
{
    *state = (struct np_checkpoint_state){0};
    AUTO_CHECKPOINT checkpoint = virDomainCheckpointLookupByName(domain->ptr, name, 0);
    if (checkpoint == NULL && np_virt_error_code() == VIR_ERR_NO_DOMAIN_CHECKPOINT)
        return 0;
    if (checkpoint == NULL)
        return np_virt_error(err, "cannot look for checkpoint %s of domain %s", name, domain->name);
    state->known = true;

    NP_AUTO_FREE char *xml = virDomainCheckpointGetXMLDesc(checkpoint, VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN |
                                                                           VIR_DOMAIN_CHECKPOINT_XML_SIZE);
    if (xml == NULL)
        return np_virt_error(err, "cannot get the sizes of checkpoint %s of domain %s", name, domain->name);
    return read_size(xml, target, state, err);
}

/*
 * The saved XML names a parent that may be gone and describes the domain as it was: neither is needed, and
 * both can make libvirt refuse.
 */
int np_checkpoint_redefine(struct np_domain *domain, const char *saved_xml, const char *name,
                           struct np_error *err)
{
    NP_AUTO_FREE char *xml = NULL;
    NP_XML_DOC xmlDocPtr doc = NULL;
    if (np_xml_parse(saved_xml, "checkpoint XML", "domaincheckpoint", &doc, err) < 0)
        return -1;
    xmlNodePtr named = np_xml_child(xmlDocGetRootElement(doc), "name");
    NP_AUTO_FREE char *found = named == NULL ? NULL : np_xml_text(named);
    if (found == NULL || strcmp(found, name) != 0)
        return np_fail(err, NP_DAMAGED, "the saved checkpoint XML is of \"%s\", not of %s",
                       found != NULL ? found : "", name);
    if (np_xml_remove_all(doc,
                          "/domaincheckpoint/parent | /domaincheckpoint/domain | "
                          "/domaincheckpoint/disks/disk/@size",
                          err) < 0 ||
        np_xml_dump(doc, &xml, err) < 0)
        return -1;
    AUTO_CHECKPOINT made = virDomainCheckpointCreateXML(domain->ptr, xml,
                                                        VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE |
                                                            VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE_VALIDATE);
    if (made == NULL)
        return np_virt_error(err, "cannot redefine checkpoint %s of domain %s", name, domain->name);
    return 0;
}
