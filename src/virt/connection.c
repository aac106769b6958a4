#include "connection.h"

#include "events.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/log.h"
#include "nbdpull/uri.h"
#include "virt_error.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <libxml/uri.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>

#define AGAIN_SECONDS 10 /* a daemon that is restarted listens again within one or two */

static void free_uri(xmlURIPtr *uri)
{
    xmlFreeURI(*uri);
}

/*
 * The data come over a Unix socket of this host, so a domain of another host is of no use: refused before
 * libvirt opens anything, be it an ssh connection that asks for a password.
 */
static int check_local(const char *text, struct np_error *err)
{
    char shown[NP_URI_SHOWN_MAX];
    NP_CLEANUP(free_uri) xmlURIPtr uri = xmlParseURI(text);
    np_uri_masked(text, shown, sizeof(shown));
    if (uri == NULL || uri->scheme == NULL)
        return np_fail(
            err, NP_FAILED,
            "'%s' is not a libvirt URI: give one such as qemu:///system (aliases are not resolved)", shown);
    /* A user, and a password, are another host's; what comes through here is said and saved as it is. */
    if (strchr(uri->scheme, '+') != NULL || (uri->server != NULL && uri->server[0] != '\0') ||
        uri->user != NULL)
        return np_fail(err, NP_FAILED,
                       "%s is a remote URI: the guest's disks are read through a socket of its own host, run "
                       "nbdpull there with a local one such as qemu:///system",
                       shown);
    return 0;
}

static bool is_embedded(const char *text)
{
    NP_CLEANUP(free_uri) xmlURIPtr uri = xmlParseURI(text);
    return uri != NULL && uri->path != NULL && strcmp(uri->path, "/embed") == 0;
}

/* libvirt's text has the cause (socket, permission, lock); this adds what to try. */
static int open_failed(const char *asked, const virError *why, struct np_error *err)
{
    const char *uri = asked != NULL ? asked : "libvirt (its default URI)";
    const char *text = why != NULL && why->message != NULL ? why->message : "it says no reason";
    int code = why != NULL ? why->code : VIR_ERR_OK;
    if (asked != NULL && is_embedded(asked)) {
        if (code == VIR_ERR_SYSTEM_ERROR && why->int1 == EAGAIN && strstr(text, "driver.pid") != NULL)
            return np_fail(err, NP_BUSY, "%s is held by another process, only one at a time can: %s", uri,
                           text);
        return np_fail(err, NP_FAILED, "cannot open %s: %s", uri, text);
    }
    switch (code) {
    case VIR_ERR_AUTH_FAILED:
    case VIR_ERR_AUTH_CANCELLED:
    case VIR_ERR_AUTH_UNAVAILABLE:
        return np_fail(
            err, NP_FAILED,
            "no right to use %s: %s. Run as root or as a member of the group libvirt, or use your own "
            "guests at qemu:///session",
            uri, text);
    case VIR_ERR_SYSTEM_ERROR: /* of connect(): no such socket, refused, permission denied */
        return np_fail(
            err, NP_FAILED,
            "cannot connect to %s: %s. Is libvirtd (or virtqemud) running, and may this user open its "
            "socket? Try `systemctl status libvirtd`, root or the group libvirt, or qemu:///session",
            uri, text);
    default:
        return np_fail(err, NP_FAILED, "cannot connect to %s: %s", uri, text);
    }
}

/*
 * A process has one embedded driver, of one root. One reference stays until the process ends: closing the
 * driver gains nothing, and whatever it still does would meet its own end.
 */
static void keep_embedded(virConnectPtr conn)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards kept */
    static virConnectPtr kept;

    pthread_mutex_lock(&lock);
    if (kept == NULL && virConnectRef(conn) == 0)
        kept = conn;
    pthread_mutex_unlock(&lock);
}

/*
 * When it opens, the driver reconnects to each running domain in a thread. A process that ended meanwhile
 * crashed in about one of 100 runs: its end takes libnuma down while that thread uses it, and the exit status
 * is lost. Each thread holds its domain's job, so asking for the job's statistics waits for it.
 */
static void await_reconnections(virConnectPtr conn)
{
    virDomainPtr *domains = NULL;
    int count = virConnectListAllDomains(conn, &domains, VIR_CONNECT_LIST_DOMAINS_ACTIVE);
    for (int i = 0; i < count; i++) {
        int type, params_count = 0;
        virTypedParameterPtr params = NULL;
        if (virDomainGetJobStats(domains[i], &type, &params, &params_count, 0) == 0)
            virTypedParamsFree(params, params_count);
        virDomainFree(domains[i]);
    }
    free(domains);
}

/* What a default from libvirt.conf turned out to be can only be seen afterwards. */
static int look_at_uri(struct np_virt *virt, struct np_error *err)
{
    NP_AUTO_FREE char *uri = virConnectGetURI(virt->conn);
    if (uri == NULL)
        return np_virt_error(err, "cannot ask libvirt for its URI");
    if (check_local(uri, err) < 0)
        return -1;
    virt->uri = NP_STEAL(uri);
    bool embedded = is_embedded(virt->uri);
    if (embedded) {
        keep_embedded(virt->conn);
        await_reconnections(virt->conn);
    }
    struct np_link *link;
    if (np_link_begin(virt->conn, !embedded, &link, err) < 0)
        return -1;
    virt->link = link;
    return 0;
}

/*
 * libvirtd keeps a domain's job over its own restart, and QEMU goes on serving it. A new daemon takes a
 * moment to listen, which nothing announces.
 */
static virConnectPtr open_again(const char *uri)
{
    virConnectPtr conn = virConnectOpen(uri);
    for (int tries = AGAIN_SECONDS * 10; conn == NULL && tries > 0; tries--) {
        poll(NULL, 0, 100);
        conn = virConnectOpen(uri);
    }
    return conn;
}

int np_virt_reopen(struct np_virt *virt, struct np_error *err)
{
    if (virt->gone) /* waited for already */
        return np_fail(err, NP_FAILED, "the connection to %s broke, and it does not come back", virt->uri);
    virConnectPtr conn = open_again(virt->uri);
    struct np_link *link;
    virt->gone = conn == NULL;
    if (conn == NULL) {
        open_failed(virt->uri, virGetLastError(), err);
        return np_error_context(err, "the connection to libvirt broke");
    }
    if (np_link_begin(conn, true, &link, err) < 0) {
        virConnectClose(conn);
        return -1;
    }
    np_link_move(virt->link, link);
    np_link_end(virt->link); /* the old connection is not closed: another thread may be in a call on it */
    virt->link = link;
    virt->conn = conn;
    np_log_info("the connection to %s broke; a new one is open", virt->uri);
    return 0;
}

/* ---- opening, while somebody may ask to stop ---- */

/* An attempt in a thread of its own. Whoever is through with it last frees it. */
struct attempt {
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    bool over, asked; /* it has come to its end; somebody asks to stop */
    bool left;        /* nobody waits for it any more */
    char *uri;        /* owned; NULL: libvirt's default */
    virConnectPtr conn;
    virErrorPtr error; /* owned; that of the thread */
};

static void free_attempt(struct attempt *attempt)
{
    pthread_mutex_destroy(&attempt->lock);
    pthread_cond_destroy(&attempt->changed);
    virFreeError(attempt->error);
    free(attempt->uri);
    free(attempt);
}

static void *attempt_thread(void *ctx)
{
    struct attempt *attempt = ctx;
    virConnectPtr conn = virConnectOpen(attempt->uri);
    virErrorPtr error = conn == NULL ? virSaveLastError() : NULL;
    pthread_mutex_lock(&attempt->lock);
    attempt->conn = conn;
    attempt->error = error;
    attempt->over = true;
    bool left = attempt->left;
    pthread_cond_signal(&attempt->changed);
    pthread_mutex_unlock(&attempt->lock);
    if (left && conn != NULL)
        virConnectClose(conn);
    if (left)
        free_attempt(attempt);
    return NULL;
}

static void on_cancel(void *ctx)
{
    struct attempt *attempt = ctx;
    pthread_mutex_lock(&attempt->lock);
    attempt->asked = true;
    pthread_cond_signal(&attempt->changed);
    pthread_mutex_unlock(&attempt->lock);
}

static int begin_attempt(const char *uri, struct attempt **out, struct np_error *err)
{
    struct attempt *attempt = calloc(1, sizeof(*attempt));
    pthread_t thread;
    if (attempt == NULL || (uri != NULL && (attempt->uri = strdup(uri)) == NULL)) {
        free(attempt);
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot connect to libvirt");
    }
    pthread_mutex_init(&attempt->lock, NULL);
    pthread_cond_init(&attempt->changed, NULL);
    int failed = pthread_create(&thread, NULL, attempt_thread, attempt);
    if (failed != 0) {
        free_attempt(attempt);
        return np_fail_errno(err, NP_FAILED, failed, "cannot start the thread that connects to libvirt");
    }
    pthread_detach(thread);
    *out = attempt;
    return 0;
}

static int open_cancellable(const char *uri, struct np_cancel *cancel, virConnectPtr *conn,
                            struct np_error *err)
{
    struct attempt *attempt = NULL;
    struct np_cancel_entry entry;
    if (np_cancel_check(cancel, err) < 0 || begin_attempt(uri, &attempt, err) < 0)
        return -1;
    np_cancel_add(cancel, &entry, on_cancel, attempt);
    pthread_mutex_lock(&attempt->lock);
    while (!attempt->over && !attempt->asked)
        pthread_cond_wait(&attempt->changed, &attempt->lock);
    pthread_mutex_unlock(&attempt->lock);
    np_cancel_remove(cancel, &entry);

    pthread_mutex_lock(&attempt->lock);
    bool over = attempt->over;
    attempt->left = true;
    pthread_mutex_unlock(&attempt->lock);
    if (!over) {
        np_cancel_check(cancel, err);
        return np_error_context(err, "while connecting to libvirt");
    }
    *conn = attempt->conn;
    int result = *conn == NULL ? open_failed(uri, attempt->error, err) : 0;
    free_attempt(attempt);
    return result;
}

static void close_pointed(struct np_virt **virt)
{
    np_virt_close(*virt);
}

int np_virt_open(const char *uri, struct np_cancel *cancel, struct np_virt **out, struct np_error *err)
{
    const char *asked = uri;
    if (asked == NULL)
        asked = getenv("LIBVIRT_DEFAULT_URI");
    if (asked != NULL && asked[0] == '\0')
        asked = NULL;
    if (asked != NULL && check_local(asked, err) < 0)
        return -1;
    if (np_events_start(err) < 0)
        return -1;

    NP_CLEANUP(close_pointed) struct np_virt *virt = calloc(1, sizeof(*virt));
    if (virt == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot connect to libvirt");
    virConnectPtr conn = NULL;
    bool embedded = asked != NULL && is_embedded(asked);
    if (!embedded && open_cancellable(asked, cancel, &conn, err) < 0)
        return -1;
    if (embedded && (conn = virConnectOpen(asked)) == NULL)
        return open_failed(asked, virGetLastError(), err);
    virt->conn = conn;
    if (look_at_uri(virt, err) < 0)
        return -1;
    *out = NP_STEAL(virt);
    return 0;
}

void np_virt_close(struct np_virt *virt)
{
    if (virt == NULL)
        return;
    np_link_end(virt->link);
    if (virt->conn != NULL)
        virConnectClose(virt->conn);
    free(virt->uri);
    free(virt);
}

const char *np_virt_uri(const struct np_virt *virt)
{
    return virt->uri;
}
