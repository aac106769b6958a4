/*
 * Freezing a guest's file systems through the agent in it. An agent may be missing, stopped, or busy for a
 * long time, and libvirt waits for it without a bound unless told otherwise: so a bound is set for each call,
 * and taken away again, because libvirt keeps it with the domain for everybody.
 */
#include "domain.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/log.h"
#include "virt_error.h"
#include "watch.h"
#include "xml.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <string.h>

#define FREEZE_SECONDS 30    /* a guest writes its dirty pages first */
#define UNSENT_SECONDS 15    /* between 5 and 30: libvirt goes by a clock that may be set */
#define SYNC_SECONDS 4       /* libvirt waits a little longer for an agent to synchronise */
#define THAW_CALL_SECONDS 10 /* thawing has nothing to wait for */
#define THAW_SECONDS 30      /* for all attempts: an agent that is still freezing answers when it is done */

#define CHANNEL "/domain/devices/channel/target[@name='org.qemu.guest_agent.0']"

static bool is_active(struct np_domain *domain)
{
    struct np_error ignored = NP_ERROR_INIT;
    bool active = true;
    return np_domain_is_active(domain, &active, &ignored) < 0 || active;
}

int np_agent_configured(struct np_domain *domain, bool *configured, struct np_error *err)
{
    NP_AUTO_FREE char *xml = NULL;
    NP_XML_DOC xmlDocPtr doc = NULL;
    if (np_domain_xml(domain, true, &xml, err) < 0 ||
        np_xml_parse(xml, "domain XML", "domain", &doc, err) < 0)
        return -1;
    NP_XML_FOUND xmlXPathObjectPtr found = np_xml_find(doc, CHANNEL);
    if (found == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "domain %s: cannot read its XML", domain->name);
    *configured = np_xml_count(found) > 0;
    return 0;
}

/* Has somebody in the guest its end of the channel open? What cannot be known is taken for so. */
static bool is_connected(struct np_domain *domain)
{
    struct np_error ignored = NP_ERROR_INIT;
    NP_AUTO_FREE char *xml = NULL;
    NP_XML_DOC xmlDocPtr doc = NULL;
    if (np_domain_xml(domain, true, &xml, &ignored) < 0 ||
        np_xml_parse(xml, "domain XML", "domain", &doc, &ignored) < 0)
        return true;
    NP_XML_FOUND xmlXPathObjectPtr found = np_xml_find(doc, CHANNEL "[@state='disconnected']");
    return found == NULL || np_xml_count(found) == 0;
}

static int set_bound(struct np_domain *domain, int seconds, struct np_error *err)
{
    if (virDomainAgentSetResponseTimeout(domain->ptr, seconds, 0) == 0)
        return 0;
    return np_virt_error(err, "cannot bound the time of the agent of domain %s", domain->name);
}

/* Libvirt's default. What somebody else had set before cannot be asked for. */
static void drop_bound(struct np_domain *domain)
{
    virDomainAgentSetResponseTimeout(domain->ptr, VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK, 0);
}

/* ---- freezing ---- */

/*
 * Can the guest be frozen by a call that failed, or become so yet? An agent that did not answer in all that
 * time, or closed its end of the channel meanwhile, has the command and may still obey; one that does not
 * even synchronise, which libvirt waits 5 s for, was not sent it. An answer that refuses means that nothing
 * is frozen, or by somebody else. (Libvirt's text, which tells these apart, may be in any language.)
 */
static bool may_have_frozen(struct np_domain *domain, int code, bool connected, double seconds)
{
    switch (code) {
    case VIR_ERR_AGENT_UNRESPONSIVE:
        return connected && (seconds < SYNC_SECONDS || seconds >= UNSENT_SECONDS || !is_connected(domain));
    case VIR_ERR_OPERATION_TIMEOUT: /* of the lock of the domain's agent */
    case VIR_ERR_ARGUMENT_UNSUPPORTED:
    case VIR_ERR_OPERATION_UNSUPPORTED:
    case VIR_ERR_OPERATION_INVALID:
    case VIR_ERR_OPERATION_DENIED:
    case VIR_ERR_ACCESS_DENIED:
    case VIR_ERR_NO_DOMAIN:
        return false;
    default:
        return true;
    }
}

/* Fills err from libvirt's error. */
static void freeze_failed(struct np_domain *domain, bool connected, double seconds, bool *thaw,
                          struct np_error *err)
{
    const char *text = np_virt_error_text();
    bool others = strstr(text, "the agent is in frozen state") != NULL;
    int code = np_virt_error_code();
    bool refused = code == VIR_ERR_INTERNAL_ERROR && strstr(text, "guest-fsfreeze-freeze") != NULL;
    np_virt_error(err, "cannot freeze the file systems of domain %s%s", domain->name,
                  others ? ", somebody else has frozen them and must thaw them" : "");
    err->class = NP_FAILED;
    *thaw = !refused && may_have_frozen(domain, code, connected, seconds); /* which asks libvirt */
}

static int check_not_paused(struct np_domain *domain, struct np_error *err)
{
    int state = VIR_DOMAIN_NOSTATE;
    if (virDomainGetState(domain->ptr, &state, NULL, 0) < 0)
        return np_virt_error(err, "cannot ask for the state of domain %s", domain->name);
    if (state != VIR_DOMAIN_PAUSED)
        return 0;
    return np_fail(err, NP_FAILED,
                   "cannot freeze the file systems of domain %s: it is paused, and its agent with it",
                   domain->name);
}

int np_agent_freeze(struct np_domain *domain, bool *thaw, struct np_error *err)
{
    *thaw = false;
    if (check_not_paused(domain, err) < 0 || set_bound(domain, FREEZE_SECONDS, err) < 0)
        return -1;
    bool connected = is_connected(domain);
    double began = np_watch_now();
    int count = virDomainFSFreeze(domain->ptr, NULL, 0, 0);
    if (count < 0)
        freeze_failed(domain, connected, np_watch_now() - began, thaw, err);
    drop_bound(domain);
    if (count < 0)
        return -1;
    *thaw = true;
    if (count == 0)
        return np_fail(err, NP_FAILED, "the agent of domain %s found no file system to freeze", domain->name);
    np_log_debug("domain %s: %d file systems are frozen", domain->name, count);
    return 0;
}

/* ---- thawing ---- */

/* One attempt. @param again out; it may succeed later */
static int thaw_once(struct np_domain *domain, bool *thawed, bool *again, struct np_error *err)
{
    *again = false;
    if (set_bound(domain, THAW_CALL_SECONDS, err) < 0)
        return -1;
    int count = virDomainFSThaw(domain->ptr, NULL, 0, 0);
    if (count < 0) {
        int code = np_virt_error_code();
        *again = code == VIR_ERR_AGENT_UNRESPONSIVE || code == VIR_ERR_OPERATION_TIMEOUT;
        np_virt_error(err, "%s", "the agent");
    }
    drop_bound(domain);
    *thawed = count > 0;
    return count < 0 ? -1 : 0;
}

static void end_watch(struct np_watch **watch)
{
    np_watch_end(*watch);
}

/* An agent that is busy freezing answers later, one that is not connected at once: a second lies between. */
static int thaw(struct np_domain *domain, bool *thawed, struct np_error *err)
{
    NP_CLEANUP(end_watch) struct np_watch *watch = NULL;
    if (np_watch_begin(domain->virt->link, domain->ptr, &watch, err) < 0)
        return -1;
    for (double until = np_watch_now() + THAW_SECONDS;;) {
        struct np_watch_news news;
        struct np_error why = NP_ERROR_INIT;
        bool again;
        np_watch_read(watch, &news);
        if (!is_active(domain) || thaw_once(domain, thawed, &again, &why) == 0)
            return 0;
        if (!again || np_watch_now() > until) {
            *err = why;
            return -1;
        }
        np_watch_wait(watch, news.count, 1);
    }
}

int np_agent_thaw(struct np_domain *domain, bool *thawed, struct np_error *err)
{
    *thawed = false;
    if (thaw(domain, thawed, err) == 0 || !is_active(domain))
        return 0;
    np_error_context(
        err,
        "THE FILE SYSTEMS OF DOMAIN %s MAY BE FROZEN, so that its programs hang when they write; thaw "
        "them: virsh -c '%s' domfsthaw %s",
        domain->name, domain->virt->uri, domain->name);
    err->class = NP_FAILED;
    return -1;
}
