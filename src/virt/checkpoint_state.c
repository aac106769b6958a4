/*
 * Whether a checkpoint of ours can still be used, and telling libvirt again of one that it has lost.
 */
#include "checkpoint.h"
#include "checkpoint_xml.h"
#include "domain.h"
#include "nbdpull/cleanup.h"
#include "virt_error.h"

#include <libvirt/virterror.h>
#include <string.h>

static int get_sizes(struct np_domain *domain, const char *name, char **xml, struct np_error *err)
{
    AUTO_CHECKPOINT checkpoint = virDomainCheckpointLookupByName(domain->ptr, name, 0);
    *xml = NULL;
    if (checkpoint == NULL && np_virt_error_code() == VIR_ERR_NO_DOMAIN_CHECKPOINT)
        return 0;
    if (checkpoint == NULL)
        return np_virt_error(err, "cannot look for checkpoint %s of domain %s", name, domain->name);
    *xml = virDomainCheckpointGetXMLDesc(checkpoint, VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN |
                                                         VIR_DOMAIN_CHECKPOINT_XML_SIZE);
    if (*xml == NULL)
        return np_virt_error(err, "cannot get the sizes of checkpoint %s of domain %s", name, domain->name);
    return 0;
}

int np_checkpoint_probe(struct np_domain *domain, const char *name, const char *target,
                        struct np_checkpoint_state *state, struct np_error *err)
{
    NP_AUTO_FREE char *xml = NULL;
    *state = (struct np_checkpoint_state){0};
    if (get_sizes(domain, name, &xml, err) < 0)
        return -1;
    state->known = xml != NULL;
    if (xml == NULL)
        return 0;
    return np_checkpoint_xml_size(xml, target, state, err);
}

/* ---- telling again ---- */

/* @return true when libvirt knows it now; else its last error says why not */
static bool tell(struct np_domain *domain, xmlDocPtr doc, unsigned validate)
{
    NP_AUTO_FREE char *xml = NULL;
    struct np_error ignored = NP_ERROR_INIT;
    if (np_xml_dump(doc, &xml, &ignored) < 0)
        return false;
    AUTO_CHECKPOINT made =
        virDomainCheckpointCreateXML(domain->ptr, xml, VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE | validate);
    return made != NULL;
}

/* Take out the disk that the domain has no longer, if that is what libvirt's last error says. */
static bool leave_out_absent(xmlDocPtr doc)
{
    NP_XML_FOUND xmlXPathObjectPtr disks = np_xml_find(doc, "/domaincheckpoint/disks/disk");
    for (size_t i = 0;
         disks != NULL && np_virt_error_code() == VIR_ERR_CONFIG_UNSUPPORTED && i < np_xml_count(disks);
         i++) {
        xmlNodePtr disk = np_xml_at(disks, i);
        NP_AUTO_FREE char *target = np_xml_attribute(disk, "name");
        if (target == NULL || !np_virt_error_names(np_virt_error_text(), target))
            continue;
        np_xml_remove(disk);
        return true;
    }
    return false;
}

static int any_usable(struct np_domain *domain, const char *name, bool *usable, struct np_error *err)
{
    NP_AUTO_FREE char *xml = NULL;
    NP_XML_DOC xmlDocPtr doc = NULL;
    *usable = false;
    if (get_sizes(domain, name, &xml, err) < 0)
        return -1;
    if (xml == NULL)
        return 0;
    if (np_xml_parse(xml, "checkpoint XML", "domaincheckpoint", &doc, err) < 0)
        return -1;
    NP_XML_FOUND xmlXPathObjectPtr sizes = np_xml_find(doc, "/domaincheckpoint/disks/disk/@size");
    *usable = sizes != NULL && np_xml_count(sizes) > 0;
    return 0;
}

/*
 * The bitmap of one disk at least is missing or broken. Told as it is, the others serve; and a broken one,
 * which would stay in its image and forbid to resize it, goes with the checkpoint. If all are, that is now.
 */
static int redefine_broken(struct np_domain *domain, const char *name, xmlDocPtr doc, struct np_error *err)
{
    bool usable;
    struct np_error why = NP_ERROR_INIT;
    np_virt_error(&why, "cannot redefine checkpoint %s of domain %s", name, domain->name);
    if (!tell(domain, doc, 0))
        return np_virt_error(err, "cannot redefine checkpoint %s of domain %s", name, domain->name);
    if (any_usable(domain, name, &usable, err) < 0)
        return -1;
    if (usable)
        return 0;
    if (np_checkpoint_delete_as(domain, name, false, err) < 0)
        return -1;
    *err = why;
    return -1;
}

int np_checkpoint_redefine(struct np_domain *domain, const char *saved_xml, const char *name,
                           struct np_error *err)
{
    NP_XML_DOC xmlDocPtr doc = NULL;
    bool active; /* only a running QEMU can tell whether the bitmaps are there */
    if (np_checkpoint_xml_saved(saved_xml, name, &doc, err) < 0 ||
        np_domain_is_active(domain, &active, err) < 0)
        return -1;
    while (!tell(domain, doc, active ? VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE_VALIDATE : 0)) {
        if (np_virt_error_code() == VIR_ERR_CHECKPOINT_INCONSISTENT)
            return redefine_broken(domain, name, doc, err);
        if (!leave_out_absent(doc)) /* else it is one disk less */
            return np_virt_error(err, "cannot redefine checkpoint %s of domain %s", name, domain->name);
    }
    return 0;
}
