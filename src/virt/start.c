/*
 * A guest that was off, started paused for a backup. A mark in its live XML tells whose it is: it is gone
 * when the domain ends, so that one which somebody starts later is never taken for it.
 */
#include "domain.h"
#include "nbdpull/cleanup.h"
#include "virt_error.h"

#include <libvirt/virterror.h>
#include <stdio.h>
#include <string.h>

#define MARK_KEY "nbdpull"
#define MARK_URI "urn:nbdpull:run"
#define MARK "<run>%s</run>"

int np_domain_start_paused(struct np_domain *domain, const char *mark, struct np_error *err)
{
    char element[256];
    bool saved;
    snprintf(element, sizeof(element), MARK, mark);
    if (np_domain_is_saved(domain, &saved, err) < 0)
        return -1;
    if (saved) /* since the run looked first: a start would use it up */
        return np_fail(err, NP_FAILED, "domain %s has a saved memory by now, and is not started",
                       domain->name);
    if (virDomainCreateWithFlags(domain->ptr, VIR_DOMAIN_START_PAUSED) < 0)
        return np_virt_error(err, "cannot start domain %s, paused, to read its disks", domain->name);
    if (virDomainSetMetadata(domain->ptr, VIR_DOMAIN_METADATA_ELEMENT, element, MARK_KEY, MARK_URI,
                             VIR_DOMAIN_AFFECT_LIVE) == 0)
        return 0;
    np_virt_error(err, "cannot mark domain %s as started by this run", domain->name);
    virDomainDestroyFlags(domain->ptr,
                          VIR_DOMAIN_DESTROY_GRACEFUL); /* without the mark nobody would know it */
    return -1;
}

static bool has_mark(struct np_domain *domain, const char *mark)
{
    char element[256];
    NP_AUTO_FREE char *found =
        virDomainGetMetadata(domain->ptr, VIR_DOMAIN_METADATA_ELEMENT, MARK_URI, VIR_DOMAIN_AFFECT_LIVE);
    snprintf(element, sizeof(element), MARK, mark);
    return found != NULL && strcmp(found, element) == 0;
}

/* It may have been resumed a moment ago: that cannot be seen, as with every look before a call. */
int np_domain_stop_paused(struct np_domain *domain, const char *mark, enum np_stopped *how,
                          struct np_error *err)
{
    int state, reason;
    bool active;
    *how = NP_STOPPED_WAS_OFF;
    if (np_domain_is_active(domain, &active, err) < 0)
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
    if (virDomainDestroyFlags(domain->ptr, VIR_DOMAIN_DESTROY_GRACEFUL) < 0)
        return np_virt_error(err, "cannot end domain %s, which was started paused for the backup",
                             domain->name);
    *how = NP_STOPPED;
    return 0;
}
