/*
 * A guest that was off, started paused for a backup. A mark in its live XML tells whose it is: it is gone
 * when the domain ends, so that one which somebody starts later is never taken for it.
 *
 * The mark must be there from the first moment: put in afterwards, it is missing for ever where libvirtd dies
 * in between. So the domain is not started from its configuration but from a copy with the mark in it (as by
 * `virsh create` of a domain that is defined): the configuration stays as it is. Where libvirtd dies in the
 * middle of the start, its next one ends what has not come to be.
 */
#include "domain.h"
#include "nbdpull/cleanup.h"
#include "virt_error.h"
#include "xml.h"

#include <libvirt/virterror.h>
#include <string.h>

#define MARK_PREFIX "nbdpull"
#define MARK_URI "urn:nbdpull:run"
#define MARK_ELEMENT "run"

/* Of an earlier run, where somebody has defined the domain from its live XML. */
static int remove_marks(xmlDocPtr doc, struct np_error *err)
{
    return np_xml_remove_all(doc, "/domain/metadata/*[namespace-uri()='" MARK_URI "']", err);
}

static bool add_mark(xmlDocPtr doc, const char *mark)
{
    xmlNodePtr domain = xmlDocGetRootElement(doc), metadata = np_xml_child(domain, "metadata");
    if (metadata == NULL)
        metadata = np_xml_add(domain, "metadata");
    xmlNodePtr element = metadata == NULL ? NULL : np_xml_add(metadata, MARK_ELEMENT);
    xmlNsPtr namespace =
        element == NULL ? NULL : xmlNewNs(element, (const xmlChar *)MARK_URI, (const xmlChar *)MARK_PREFIX);
    if (namespace == NULL)
        return false;
    xmlSetNs(element, namespace);
    return np_xml_set_text(element, mark);
}

/* With its passwords, for somebody may resume it. @param xml out, owned (free) */
static int marked_xml(struct np_domain *domain, const char *mark, char **xml, struct np_error *err)
{
    NP_XML_DOC xmlDocPtr doc = NULL;
    NP_AUTO_FREE char *defined =
        virDomainGetXMLDesc(domain->ptr, VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_SECURE);
    if (defined == NULL)
        return np_virt_error(err, "cannot get the XML of domain %s", domain->name);
    if (np_xml_parse(defined, "domain XML", "domain", &doc, err) < 0 || remove_marks(doc, err) < 0)
        return -1;
    if (!add_mark(doc, mark))
        return np_fail(err, NP_FAILED,
                       "cannot mark domain %s as started by this run: out of memory, or not UTF-8: %s",
                       domain->name, mark);
    return np_xml_dump(doc, xml, err);
}

int np_domain_start_paused(struct np_domain *domain, const char *mark, struct np_error *err)
{
    NP_AUTO_FREE char *xml = NULL;
    bool saved;
    if (np_domain_is_saved(domain, &saved, err) < 0 || marked_xml(domain, mark, &xml, err) < 0)
        return -1;
    if (saved) /* since the run looked first */
        return np_fail(err, NP_FAILED, "domain %s has a saved memory by now, and is not started",
                       domain->name);
    virDomainPtr started = virDomainCreateXML(domain->virt->conn, xml, VIR_DOMAIN_START_PAUSED);
    if (started == NULL)
        return np_virt_error(err, "cannot start domain %s, paused, to read its disks", domain->name);
    virDomainFree(started);
    return 0;
}

static bool has_mark(struct np_domain *domain, const char *mark)
{
    struct np_error ignored = NP_ERROR_INIT;
    NP_XML_DOC xmlDocPtr doc = NULL;
    NP_AUTO_FREE char *found =
        virDomainGetMetadata(domain->ptr, VIR_DOMAIN_METADATA_ELEMENT, MARK_URI, VIR_DOMAIN_AFFECT_LIVE);
    if (found == NULL || np_xml_parse(found, "mark", MARK_ELEMENT, &doc, &ignored) < 0)
        return false;
    NP_AUTO_FREE char *text = np_xml_text(xmlDocGetRootElement(doc));
    return text != NULL && strcmp(text, mark) == 0;
}

/* What libvirtd ends by itself, in the middle of a start that it did not live to finish, is ended too. */
static int destroy(struct np_domain *domain, struct np_error *err)
{
    struct np_error ignored = NP_ERROR_INIT;
    bool active = true;
    if (virDomainDestroyFlags(domain->ptr, VIR_DOMAIN_DESTROY_GRACEFUL) == 0)
        return 0;
    np_virt_error(err, "cannot end domain %s, which was started paused for the backup", domain->name);
    if (np_domain_is_active(domain, &active, &ignored) < 0 || active)
        return -1;
    *err = (struct np_error)NP_ERROR_INIT;
    return 0;
}

/* It may have been resumed a moment ago: that cannot be seen, as with every look before a call. */
int np_domain_stop_paused(struct np_domain *domain, const char *mark, enum np_stopped *how,
                          struct np_error *err)
{
    int state, reason;
    bool active;
    *how = NP_STOPPED_WAS_OFF;
    if (np_domain_reach(domain, err) < 0 || np_domain_is_active(domain, &active, err) < 0)
        return -1;
    if (!active)
        return 0;
    if (virDomainGetState(domain->ptr, &state, &reason, 0) < 0)
        return np_virt_error(err, "cannot ask for the state of domain %s", domain->name);
    if (state == VIR_DOMAIN_PAUSED && reason == VIR_DOMAIN_PAUSED_IOERROR) { /* it has run */
        *how = NP_STOPPED_RESUMED;
        return 0;
    }
    if (state != VIR_DOMAIN_PAUSED || !has_mark(domain, mark)) {
        *how = state == VIR_DOMAIN_PAUSED ? NP_STOPPED_NOT_OURS : NP_STOPPED_RESUMED;
        return 0;
    }
    if (destroy(domain, err) < 0)
        return -1;
    *how = NP_STOPPED;
    return 0;
}
