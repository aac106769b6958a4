#include "checkpoint_xml.h"

#include <errno.h>
#include <string.h>

static xmlXPathObjectPtr find_covered(xmlDocPtr doc, struct np_error *err)
{
    xmlXPathObjectPtr covered = np_xml_find(doc, "/domaincheckpoint/disks/disk[@checkpoint='bitmap']");
    if (covered == NULL)
        np_fail_errno(err, NP_FAILED, ENOMEM, "cannot read the XML of a checkpoint");
    return covered;
}

int np_checkpoint_xml_size(const char *xml, const char *target, struct np_checkpoint_state *state,
                           struct np_error *err)
{
    NP_XML_DOC xmlDocPtr doc = NULL;
    if (np_xml_parse(xml, "checkpoint XML", "domaincheckpoint", &doc, err) < 0)
        return -1;
    NP_XML_FOUND xmlXPathObjectPtr disks = find_covered(doc, err);
    if (disks == NULL)
        return -1;
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

int np_checkpoint_xml_targets(const char *xml, struct np_names *targets, struct np_error *err)
{
    NP_XML_DOC xmlDocPtr doc = NULL;
    if (np_xml_parse(xml, "checkpoint XML", "domaincheckpoint", &doc, err) < 0)
        return -1;
    NP_XML_FOUND xmlXPathObjectPtr covered = find_covered(doc, err);
    if (covered == NULL)
        return -1;
    for (size_t i = 0; i < np_xml_count(covered); i++) {
        NP_AUTO_FREE char *target = np_xml_attribute(np_xml_at(covered, i), "name");
        if (target != NULL && np_names_add(targets, target, err) < 0)
            return -1;
    }
    return 0;
}

/*
 * The saved XML names a parent that may be gone and describes the domain as it was: neither is needed, and
 * both can make libvirt refuse. Ours has the bitmaps that libvirt names like the checkpoint; another name is
 * nobody's.
 */
int np_checkpoint_xml_saved(const char *saved_xml, const char *name, xmlDocPtr *doc, struct np_error *err)
{
    if (np_xml_parse(saved_xml, "checkpoint XML", "domaincheckpoint", doc, err) < 0)
        return -1;
    xmlNodePtr named = np_xml_child(xmlDocGetRootElement(*doc), "name");
    NP_AUTO_FREE char *found = named == NULL ? NULL : np_xml_text(named);
    if (found == NULL || strcmp(found, name) != 0)
        return np_fail(err, NP_DAMAGED, "the saved checkpoint XML is of \"%s\", not of %s",
                       found != NULL ? found : "", name);
    return np_xml_remove_all(*doc,
                             "/domaincheckpoint/parent | /domaincheckpoint/domain | "
                             "/domaincheckpoint/disks/disk/@size | /domaincheckpoint/disks/disk/@bitmap",
                             err);
}
