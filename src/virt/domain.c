#include "domain.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/log.h"
#include "virt_error.h"
#include "xml.h"

#include <errno.h>
#include <grp.h>
#include <libvirt/virterror.h>
#include <pthread.h>
#include <pwd.h>
#include <string.h>

/* ---- finding one ---- */

/* A decimal number that fits a domain's id. */
static bool is_id(const char *text, int *id)
{
    if (text[0] == '\0' || strspn(text, "0123456789") != strlen(text) || strlen(text) > 9)
        return false;
    *id = (int)strtol(text, NULL, 10);
    return true;
}

/* NULL with libvirt's error, which is VIR_ERR_NO_DOMAIN when there is none of that name, UUID or id. */
static virDomainPtr look_up(virConnectPtr conn, const char *name)
{
    virDomainPtr found = virDomainLookupByName(conn, name);
    struct np_uuid uuid;
    if (found == NULL && np_virt_error_code() == VIR_ERR_NO_DOMAIN && np_uuid_parse(name, &uuid))
        found = virDomainLookupByUUID(conn, uuid.bytes);
    int id;
    if (found == NULL && np_virt_error_code() == VIR_ERR_NO_DOMAIN && is_id(name, &id))
        found = virDomainLookupByID(conn, id);
    return found;
}

static void free_pointed(struct np_domain **domain)
{
    np_domain_free(*domain);
}

static int fill(struct np_domain *domain, struct np_error *err)
{
    domain->name = strdup(virDomainGetName(domain->ptr));
    if (domain->name == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "domain");
    if (virDomainGetUUID(domain->ptr, domain->uuid.bytes) < 0)
        return np_virt_error(err, "cannot get the UUID of domain %s", domain->name);
    return 0;
}

int np_domain_find(struct np_virt *virt, const char *name, struct np_domain **out, struct np_error *err)
{
    NP_CLEANUP(free_pointed) struct np_domain *domain = calloc(1, sizeof(*domain));
    if (domain == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "domain %s", name);
    domain->virt = virt;
    domain->ptr = look_up(virt->conn, name);
    if (domain->ptr == NULL && np_virt_error_code() == VIR_ERR_NO_DOMAIN)
        return np_fail(
            err, NP_FAILED,
            "there is no domain of the name, UUID or id '%s' at %s; `virsh -c '%s' list --all` shows "
            "those there are",
            name, virt->uri, virt->uri);
    if (domain->ptr == NULL)
        return np_virt_error(err, "cannot look up the domain %s at %s", name, virt->uri);

    if (fill(domain, err) < 0)
        return -1;
    *out = NP_STEAL(domain);
    return 0;
}

int np_domain_find_uuid(struct np_virt *virt, const struct np_uuid *uuid, struct np_domain **out,
                        struct np_error *err)
{
    *out = NULL;
    NP_CLEANUP(free_pointed) struct np_domain *domain = calloc(1, sizeof(*domain));
    if (domain == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "domain");
    domain->virt = virt;
    domain->ptr = virDomainLookupByUUID(virt->conn, uuid->bytes);
    if (domain->ptr == NULL && np_virt_error_code() == VIR_ERR_NO_DOMAIN)
        return 0;
    if (domain->ptr == NULL)
        return np_virt_error(err, "cannot look up a domain at %s", virt->uri);
    if (fill(domain, err) < 0)
        return -1;
    *out = NP_STEAL(domain);
    return 0;
}

/* The old pointer is not freed: another thread may be in a call on it, which fails as the connection did. */
static int reach(struct np_domain *domain, struct np_error *err)
{
    struct np_virt *virt = domain->virt;
    if (virConnectIsAlive(virt->conn) == 1)
        return 0;
    if (np_virt_reopen(virt, err) < 0)
        return -1;
    virDomainPtr found = virDomainLookupByUUID(virt->conn, domain->uuid.bytes);
    if (found == NULL)
        return np_virt_error(err, "cannot find domain %s again at %s", domain->name, virt->uri);
    domain->ptr = found;
    return 0;
}

int np_domain_reach(struct np_domain *domain, struct np_error *err)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* one reopens, another finds it open */
    pthread_mutex_lock(&lock);
    int reached = reach(domain, err);
    pthread_mutex_unlock(&lock);
    return reached;
}

void np_domain_free(struct np_domain *domain)
{
    if (domain == NULL)
        return;
    np_watch_end(domain->started);
    if (domain->ptr != NULL)
        virDomainFree(domain->ptr);
    free(domain->name);
    free(domain);
}

const char *np_domain_name(const struct np_domain *domain)
{
    return domain->name;
}

struct np_uuid np_domain_uuid(const struct np_domain *domain)
{
    return domain->uuid;
}

/* ---- its state ---- */

int np_domain_is_active(struct np_domain *domain, bool *active, struct np_error *err)
{
    int state = virDomainIsActive(domain->ptr);
    if (state < 0 && np_virt_error_code() == VIR_ERR_NO_DOMAIN)
        state = 0; /* a transient one vanishes when it ends */
    if (state < 0)
        return np_virt_error(err, "cannot ask whether domain %s runs", domain->name);
    *active = state == 1;
    return 0;
}

int np_domain_has_started(struct np_domain *domain, bool *started, struct np_error *err)
{
    int state, reason;
    if (np_domain_reach(domain, err) < 0 || np_domain_is_active(domain, started, err) < 0)
        return -1;
    if (!*started || virDomainGetState(domain->ptr, &state, &reason, 0) < 0)
        return 0;
    *started = state != VIR_DOMAIN_SHUTOFF &&
               !(state == VIR_DOMAIN_PAUSED && reason == VIR_DOMAIN_PAUSED_STARTING_UP);
    return 0;
}

int np_domain_is_running(struct np_domain *domain, bool *running, struct np_error *err)
{
    int state;
    if (virDomainGetState(domain->ptr, &state, NULL, 0) < 0)
        return np_virt_error(err, "cannot ask for the state of domain %s", domain->name);
    *running = state == VIR_DOMAIN_RUNNING || state == VIR_DOMAIN_BLOCKED;
    return 0;
}

int np_domain_is_saved(struct np_domain *domain, bool *saved, struct np_error *err)
{
    int has = virDomainHasManagedSaveImage(domain->ptr, 0);
    if (has < 0)
        return np_virt_error(err, "cannot ask whether domain %s has a saved memory", domain->name);
    *saved = has == 1;
    return 0;
}

int np_domain_xml(struct np_domain *domain, bool live, char **xml, struct np_error *err)
{
    *xml = virDomainGetXMLDesc(domain->ptr, live ? 0 : VIR_DOMAIN_XML_INACTIVE);
    if (*xml == NULL)
        return np_virt_error(err, "cannot get the XML of domain %s", domain->name);
    return 0;
}

/* A save that cannot be read is dropped by libvirt at the start, or must be removed before it. */
int np_domain_saved_xml(struct np_domain *domain, char **xml, struct np_error *err)
{
    *xml = virDomainManagedSaveGetXMLDesc(domain->ptr, 0);
    if (*xml != NULL)
        return 0;
    if (virGetLastErrorCode() != VIR_ERR_OPERATION_FAILED)
        return np_virt_error(err, "cannot get the XML of the saved memory of domain %s", domain->name);
    np_log_debug("domain %s has a saved memory that cannot be read, so its definition counts: %s",
                 domain->name, virGetLastErrorMessage());
    return 0;
}

/* ---- who QEMU runs as ---- */

/* "+107", "107" or a name of the user database. */
static bool parse_user(const char *text, uid_t *uid)
{
    const struct passwd *entry = text[0] == '+' ? NULL : getpwnam(text);
    char *end;
    unsigned long number = strtoul(text, &end, 10);
    if (entry == NULL && (end == text || *end != '\0' || number >= UINT32_MAX))
        return false;
    *uid = entry != NULL ? entry->pw_uid : (uid_t)number;
    return true;
}

static bool parse_group(const char *text, gid_t *gid)
{
    const struct group *entry = text[0] == '+' ? NULL : getgrnam(text);
    char *end;
    unsigned long number = strtoul(text, &end, 10);
    if (entry == NULL && (end == text || *end != '\0' || number >= UINT32_MAX))
        return false;
    *gid = entry != NULL ? entry->gr_gid : (gid_t)number;
    return true;
}

int np_domain_qemu_owner(struct np_domain *domain, bool *known, uid_t *uid, gid_t *gid, struct np_error *err)
{
    *known = false;
    NP_AUTO_FREE char *xml = NULL;
    NP_XML_DOC xmlDocPtr doc = NULL;
    if (np_domain_xml(domain, true, &xml, err) < 0 ||
        np_xml_parse(xml, "domain XML", "domain", &doc, err) < 0)
        return -1;
    NP_XML_FOUND xmlXPathObjectPtr found = np_xml_find(doc, "/domain/seclabel[@model='dac']/label");
    if (found == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "domain %s: cannot read its XML", domain->name);
    NP_AUTO_FREE char *label = np_xml_count(found) == 0 ? NULL : np_xml_text(np_xml_at(found, 0));
    char *colon = label == NULL ? NULL : strchr(label, ':');
    if (colon == NULL)
        return 0;
    *colon = '\0';
    *known = parse_user(label, uid) && parse_group(colon + 1, gid);
    return 0;
}
