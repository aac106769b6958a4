/*
 * A transient domain takes its checkpoints with it when it ends; their bitmaps stay in the images, where they
 * record for ever once the domain is made again. Nothing but their name is known then.
 */
#include "domain.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/log.h"
#include "xml.h"

#include <errno.h>

static bool add_disk(xmlNodePtr disks, const char *target, const char *bitmap)
{
    xmlNodePtr disk = np_xml_add(disks, "disk");
    return disk != NULL && np_xml_set(disk, "name", target) && np_xml_set(disk, "checkpoint", "bitmap") &&
           np_xml_set(disk, "bitmap", bitmap);
}

/* @param count out: disks that it covers */
static int describe(const char *name, const struct np_domain_disks *all, char **xml, size_t *count,
                    struct np_error *err)
{
    NP_XML_DOC xmlDocPtr doc = np_xml_new("domaincheckpoint");
    xmlNodePtr root = doc == NULL ? NULL : xmlDocGetRootElement(doc);
    xmlNodePtr named = root == NULL ? NULL : np_xml_add(root, "name");
    xmlNodePtr created = root == NULL ? NULL : np_xml_add(root, "creationTime");
    xmlNodePtr disks = root == NULL ? NULL : np_xml_add(root, "disks");
    bool whole = named != NULL && created != NULL && disks != NULL && np_xml_set_text(named, name) &&
                 np_xml_set_text(created, "1"); /* libvirt forgets a time of 0, and then misses it */
    *count = 0;
    for (size_t i = 0; whole && i < all->count; i++) {
        if (!all->list[i].can_bitmap)
            continue;
        whole = add_disk(disks, all->list[i].target, name);
        (*count)++;
    }
    if (!whole)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot write the XML of checkpoint %s", name);
    return np_xml_dump(doc, xml, err);
}

int np_checkpoint_recall(struct np_domain *domain, const char *name, bool *found, struct np_error *err)
{
    NP_CLEANUP(np_domain_disks_clear) struct np_domain_disks all = {0};
    NP_AUTO_FREE char *xml = NULL;
    size_t count;
    *found = false;
    if (np_domain_disks(domain, &all, err) < 0 || describe(name, &all, &xml, &count, err) < 0)
        return -1;
    struct np_error why = NP_ERROR_INIT;
    *found = count > 0 && np_checkpoint_redefine(domain, xml, name, &why) == 0;
    if (count == 0 || *found)
        return 0;
    if (why.class != NP_BITMAP) { /* libvirt did not look */
        *err = why;
        return -1;
    }
    np_log_debug("no image has a bitmap of checkpoint %s: %s", name, why.message);
    return 0;
}
