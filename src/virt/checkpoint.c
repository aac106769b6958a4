#include "checkpoint.h"
#include "domain.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/log.h"
#include "virt_error.h"
#include "xml.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <string.h>

struct found {
    virDomainCheckpointPtr *list;
    int count;
};

static void free_found(struct found *found)
{
    for (int i = 0; i < found->count; i++)
        virDomainCheckpointFree(found->list[i]);
    free(found->list);
}

static int add_names(virDomainPtr domain, const char *prefix, struct np_names *names, struct np_error *err)
{
    NP_CLEANUP(free_found) struct found found = {0};
    int count = virDomainListAllCheckpoints(domain, &found.list, VIR_DOMAIN_CHECKPOINT_LIST_TOPOLOGICAL);
    if (count < 0)
        return np_virt_error(err, "cannot list the checkpoints of domain %s", virDomainGetName(domain));
    found.count = count;
    for (int i = 0; i < found.count; i++) {
        const char *name = virDomainCheckpointGetName(found.list[i]);
        if (strncmp(name, prefix, strlen(prefix)) == 0 && np_names_add(names, name, err) < 0)
            return -1;
    }
    return 0;
}

int np_checkpoint_list(struct np_domain *domain, const char *prefix, struct np_names *out,
                       struct np_error *err)
{
    NP_CLEANUP(np_names_clear) struct np_names names = {0};
    if (add_names(domain->ptr, prefix, &names, err) < 0)
        return -1;
    *out = names;
    names = (struct np_names){0};
    return 0;
}

int np_checkpoint_list_all(struct np_domain *domain, const char *prefix, struct np_names *out,
                           struct np_error *err)
{
    virDomainPtr *domains = NULL;
    NP_CLEANUP(np_names_clear) struct np_names names = {0};
    if (add_names(domain->ptr, prefix, &names, err) < 0)
        return -1;
    int count = virConnectListAllDomains(virDomainGetConnect(domain->ptr), &domains, 0);
    if (count < 0)
        return np_virt_error(err, "cannot list the domains");
    for (int i = 0; i < count; i++) {
        struct np_error gone = NP_ERROR_INIT;
        add_names(domains[i], prefix, &names, &gone);
        virDomainFree(domains[i]);
    }
    free(domains);
    *out = names;
    names = (struct np_names){0};
    return 0;
}

int np_checkpoint_xml(struct np_domain *domain, const char *name, char **xml, struct np_error *err)
{
    AUTO_CHECKPOINT checkpoint = virDomainCheckpointLookupByName(domain->ptr, name, 0);
    *xml = checkpoint == NULL ? NULL : virDomainCheckpointGetXMLDesc(checkpoint, 0);
    if (*xml == NULL)
        return np_virt_error(err, "cannot get checkpoint %s of domain %s", name, domain->name);
    return 0;
}

/* ---- deleting ---- */

/*
 * The disk that libvirt's text names as the one whose bitmap is gone, if the checkpoint covers it and libvirt
 * shows no size for it either. NULL otherwise: a bitmap that is there must not be forgotten, it would record
 * for ever.
 */
static xmlNodePtr find_dead_disk(xmlXPathObjectPtr covered, const char *text)
{
    for (size_t i = 0; i < np_xml_count(covered); i++) {
        xmlNodePtr disk = np_xml_at(covered, i);
        NP_AUTO_FREE char *target = np_xml_attribute(disk, "name");
        NP_AUTO_FREE char *size = np_xml_attribute(disk, "size");
        if (target != NULL && size == NULL && np_virt_error_names(text, target))
            return disk;
    }
    return NULL;
}

static int redefine(struct np_domain *domain, const char *name, xmlDocPtr doc, struct np_error *err)
{
    NP_AUTO_FREE char *xml = NULL;
    if (np_xml_remove_all(doc, "/domaincheckpoint/disks/disk/@size", err) < 0 ||
        np_xml_dump(doc, &xml, err) < 0)
        return -1;
    AUTO_CHECKPOINT made =
        virDomainCheckpointCreateXML(domain->ptr, xml, VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE);
    if (made == NULL)
        return np_virt_error(err, "cannot redefine checkpoint %s of domain %s", name, domain->name);
    return 0;
}

/*
 * Take one disk whose bitmap is gone out of the checkpoint.
 * @param text what libvirt said to the plain delete
 * @param left out: disks that the checkpoint still covers; with none it was not redefined
 */
static int drop_dead_disk(struct np_domain *domain, virDomainCheckpointPtr checkpoint, const char *text,
                          size_t *left, struct np_error *err)
{
    const char *name = virDomainCheckpointGetName(checkpoint);
    NP_AUTO_FREE char *xml = virDomainCheckpointGetXMLDesc(checkpoint, VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN |
                                                                           VIR_DOMAIN_CHECKPOINT_XML_SIZE);
    if (xml == NULL)
        return np_virt_error(err, "cannot get checkpoint %s of domain %s", name, domain->name);
    NP_XML_DOC xmlDocPtr doc = NULL;
    if (np_xml_parse(xml, "checkpoint XML", "domaincheckpoint", &doc, err) < 0)
        return -1;
    NP_XML_FOUND xmlXPathObjectPtr covered =
        np_xml_find(doc, "/domaincheckpoint/disks/disk[@checkpoint='bitmap']");
    if (covered == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot read the XML of checkpoint %s", name);

    xmlNodePtr dead = np_virt_error_names(text, name) ? find_dead_disk(covered, text) : NULL;
    if (dead == NULL)
        return np_fail(err, NP_FAILED, "cannot delete checkpoint %s of domain %s: %s", name, domain->name,
                       text);
    *left = np_xml_count(covered) - 1;
    if (*left == 0)
        return 0;
    if (!np_xml_set(dead, "checkpoint", "no"))
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot change the XML of checkpoint %s", name);
    xmlUnsetProp(dead, (const xmlChar *)"bitmap");
    return redefine(domain, name, doc, err);
}

/* One attempt. @param left out: 0, it is gone; else it covers one disk less, so many, and is worth another
 * attempt */
static int try_delete(struct np_domain *domain, const char *name, bool say, size_t *left,
                      struct np_error *err)
{
    *left = 0;
    AUTO_CHECKPOINT checkpoint = virDomainCheckpointLookupByName(domain->ptr, name, 0);
    if (checkpoint == NULL && np_virt_error_code() == VIR_ERR_NO_DOMAIN_CHECKPOINT)
        return 0;
    if (checkpoint == NULL)
        return np_virt_error(err, "cannot look for checkpoint %s of domain %s", name, domain->name);
    bool active;
    if (np_domain_is_active(domain, &active, err) < 0)
        return -1;
    if (!active) /* metadata alone could go, but the bitmap would stay in the image and record for ever */
        return np_fail(err, NP_FAILED,
                       "domain %s is off: deleting checkpoint %s is deferred until the domain runs",
                       domain->name, name);

    if (virDomainCheckpointDelete(checkpoint, 0) == 0 || np_virt_error_code() == VIR_ERR_NO_DOMAIN_CHECKPOINT)
        return 0;
    if (np_virt_error_code() != VIR_ERR_INTERNAL_ERROR)
        return np_virt_error(err, "cannot delete checkpoint %s of domain %s", name, domain->name);
    NP_AUTO_FREE char *text = strdup(np_virt_error_text());
    if (text == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot delete checkpoint %s", name);
    if (drop_dead_disk(domain, checkpoint, text, left, err) < 0)
        return -1;
    if (say)
        np_log_info("domain %s, checkpoint %s: %s; deleting it without that bitmap", domain->name, name,
                    text);
    if (*left == 0 && virDomainCheckpointDelete(checkpoint, VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY) < 0)
        return np_virt_error(err, "cannot delete checkpoint %s of domain %s", name, domain->name);
    return 0;
}

int np_checkpoint_delete(struct np_domain *domain, const char *name, struct np_error *err)
{
    return np_checkpoint_delete_as(domain, name, true, err);
}

int np_checkpoint_delete_as(struct np_domain *domain, const char *name, bool say, struct np_error *err)
{
    size_t left = SIZE_MAX;
    do {
        size_t before = left;
        if (try_delete(domain, name, say, &left, err) < 0)
            return -1;
        if (left >= before)
            return np_fail(err, NP_FAILED,
                           "cannot delete checkpoint %s of domain %s: redefining it had no effect", name,
                           domain->name);
    } while (left > 0);
    return 0;
}
