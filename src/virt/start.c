/*
 * A guest that was off, started paused for a backup. A mark in its live XML tells whose it is: it is gone
 * when the domain ends, so that one which somebody starts later is never taken for it.
 *
 * Not started from a copy of its configuration with the mark in it: where libvirt 9.0 refuses such a start
 * early, it keeps the copy as the domain's, and what is defined afterwards is lost.
 */
#include "domain.h"
#include "nbdpull/cleanup.h"
#include "virt_error.h"
#include "xml.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MARK_PREFIX "nbdpull"
#define MARK_URI "urn:nbdpull:run"
#define MARK_ELEMENT "run"

/* @param element out, owned (free) */
static int mark_element(struct np_domain *domain, const char *mark, char **element, struct np_error *err)
{
    xmlChar *text = xmlEncodeSpecialChars(NULL, (const xmlChar *)mark);
    int length =
        text == NULL ? -1 : asprintf(element, "<" MARK_ELEMENT ">%s</" MARK_ELEMENT ">", (char *)text);
    xmlFree(text);
    if (length >= 0)
        return 0;
    *element = NULL;
    return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot mark domain %s as started by this run",
                         domain->name);
}

int np_domain_start_paused(struct np_domain *domain, const char *mark, struct np_error *err)
{
    NP_AUTO_FREE char *element = NULL;
    bool saved;
    if (np_domain_is_saved(domain, &saved, err) < 0 || mark_element(domain, mark, &element, err) < 0)
        return -1;
    if (saved) /* since the run looked first: a start would use it up */
        return np_fail(err, NP_FAILED, "domain %s has a saved memory by now, and is not started",
                       domain->name);
    if (virDomainCreateWithFlags(domain->ptr, VIR_DOMAIN_START_PAUSED) < 0)
        return np_virt_error(err, "cannot start domain %s, paused, to read its disks", domain->name);
    if (virDomainSetMetadata(domain->ptr, VIR_DOMAIN_METADATA_ELEMENT, element, MARK_PREFIX, MARK_URI,
                             VIR_DOMAIN_AFFECT_LIVE) == 0)
        return 0;
    np_virt_error(err, "cannot mark domain %s as started by this run", domain->name);
    virDomainDestroyFlags(domain->ptr,
                          VIR_DOMAIN_DESTROY_GRACEFUL); /* without the mark nobody would know it */
    return -1;
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
