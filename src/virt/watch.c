#include "watch.h"

#include "nbdpull/bytes.h"
#include "virt_error.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Guards all links, lists and news; events are rare, one lock serves. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed;
static pthread_once_t once = PTHREAD_ONCE_INIT;

struct np_watch {
    struct np_link *link;
    unsigned char uuid[VIR_UUID_BUFLEN];
    struct np_watch_news news;
    struct np_watch *next;
};

/*
 * Libvirt may still be calling back when a registration has ended; it says when it is done with the pointer.
 * So each registration holds a reference.
 */
struct np_link {
    unsigned references;
    struct np_link *moved;  /* to where, when another connection has taken its place */
    struct np_link *before; /* owned: whose place this one has taken; it lives on, moved */
    virConnectPtr conn;
    bool can_break;
    int callbacks[5]; /* identifiers of the registrations, or -1 */
    struct np_watch *watches;
};

/* A condition variable that steps of the wall clock do not disturb. */
static void init_condition(void)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&changed, &attr);
    pthread_condattr_destroy(&attr);
}

/* ---- callbacks, in the thread of the events ---- */

/* The watch of that domain and of those behind `from`, or NULL. Caller holds the lock. */
static struct np_watch *next_watch(struct np_watch *from, const unsigned char *uuid)
{
    while (from != NULL && memcmp(from->uuid, uuid, VIR_UUID_BUFLEN) != 0)
        from = from->next;
    return from;
}

static void on_job(virConnectPtr conn, virDomainPtr domain, virTypedParameterPtr params, int count, void *ctx)
{
    (void)conn;
    struct np_link *link = ctx;
    const char *text = NULL;
    unsigned char uuid[VIR_UUID_BUFLEN];
    if (virDomainGetUUID(domain, uuid) < 0)
        return;
    virTypedParamsGetString(params, count, VIR_DOMAIN_JOB_ERRMSG, &text);

    pthread_mutex_lock(&lock);
    for (struct np_watch *watch = next_watch(link->watches, uuid); watch;
         watch = next_watch(watch->next, uuid)) {
        snprintf(watch->news.job_error, sizeof(watch->news.job_error), "%s", text != NULL ? text : "");
        watch->news.count++;
    }
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static const char *how_stopped(int event, int detail)
{
    if (event == VIR_DOMAIN_EVENT_CRASHED)
        return "crashed";
    if (event != VIR_DOMAIN_EVENT_STOPPED)
        return NULL;
    switch (detail) {
    case VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN:
        return "was shut down";
    case VIR_DOMAIN_EVENT_STOPPED_DESTROYED:
        return "was destroyed";
    case VIR_DOMAIN_EVENT_STOPPED_CRASHED:
        return "crashed";
    case VIR_DOMAIN_EVENT_STOPPED_MIGRATED:
        return "migrated to another host";
    case VIR_DOMAIN_EVENT_STOPPED_SAVED:
        return "was saved";
    default:
        return "ended, QEMU is gone";
    }
}

static int on_lifecycle(virConnectPtr conn, virDomainPtr domain, int event, int detail, void *ctx)
{
    (void)conn;
    struct np_link *link = ctx;
    const char *stopped = how_stopped(event, detail);
    bool io_paused = event == VIR_DOMAIN_EVENT_SUSPENDED && detail == VIR_DOMAIN_EVENT_SUSPENDED_IOERROR;
    unsigned char uuid[VIR_UUID_BUFLEN];
    if (virDomainGetUUID(domain, uuid) < 0)
        return 0;

    pthread_mutex_lock(&lock);
    for (struct np_watch *watch = next_watch(link->watches, uuid); watch;
         watch = next_watch(watch->next, uuid)) {
        if (stopped != NULL)
            watch->news.stopped = stopped;
        if (event == VIR_DOMAIN_EVENT_RESUMED)
            watch->news.resumed = true;
        watch->news.io_paused |= io_paused;
        watch->news.count++;
    }
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    return 0;
}

static void count_event(struct np_link *link, virDomainPtr domain)
{
    unsigned char uuid[VIR_UUID_BUFLEN];
    if (virDomainGetUUID(domain, uuid) < 0)
        return;

    pthread_mutex_lock(&lock);
    for (struct np_watch *watch = next_watch(link->watches, uuid); watch;
         watch = next_watch(watch->next, uuid))
        watch->news.count++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

/* A job that fails while it begins ends without an event of its own: only its disks' block jobs tell. */
static void on_block_job(virConnectPtr conn, virDomainPtr domain, const char *disk, int type, int status,
                         void *ctx)
{
    (void)conn;
    (void)disk;
    (void)type;
    (void)status;
    count_event(ctx, domain);
}

/* Which file has grown, and how far, is looked up by whoever waits. */
static void on_threshold(virConnectPtr conn, virDomainPtr domain, const char *device, const char *path,
                         unsigned long long threshold, unsigned long long excess, void *ctx)
{
    (void)conn;
    (void)device;
    (void)path;
    (void)threshold;
    (void)excess;
    count_event(ctx, domain);
}

/* When a scratch file is what failed, libvirt names neither device nor path. */
static void on_io_error(virConnectPtr conn, virDomainPtr domain, const char *path, const char *device,
                        int action, const char *reason, void *ctx)
{
    (void)conn;
    (void)path;
    (void)device;
    (void)reason;
    struct np_link *link = ctx;
    unsigned char uuid[VIR_UUID_BUFLEN];
    if (virDomainGetUUID(domain, uuid) < 0)
        return;

    bool pauses = action == VIR_DOMAIN_EVENT_IO_ERROR_PAUSE;
    pthread_mutex_lock(&lock);
    for (struct np_watch *watch = next_watch(link->watches, uuid); watch;
         watch = next_watch(watch->next, uuid)) {
        watch->news.io_pauses |= pauses;
        watch->news.io_failed |= !pauses;
        watch->news.count++;
    }
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void on_close(virConnectPtr conn, int reason, void *ctx)
{
    (void)conn;
    (void)reason;
    struct np_link *link = ctx;
    pthread_mutex_lock(&lock);
    for (struct np_watch *watch = link->watches; watch != NULL; watch = watch->next)
        watch->news.count++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

/* ---- the connection ---- */

static void add_references(struct np_link *link, int count)
{
    pthread_mutex_lock(&lock);
    link->references += (unsigned)count;
    pthread_mutex_unlock(&lock);
}

static void release(void *ctx)
{
    struct np_link *link = ctx;
    pthread_mutex_lock(&lock);
    bool last = --link->references == 0;
    pthread_mutex_unlock(&lock);
    if (last)
        free(link);
}

static const struct {
    int event;
    virConnectDomainEventGenericCallback callback;
} registrations[] = {
    {VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, VIR_DOMAIN_EVENT_CALLBACK(on_job)},
    {VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle)},
    {VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2, VIR_DOMAIN_EVENT_CALLBACK(on_block_job)},
    {VIR_DOMAIN_EVENT_ID_BLOCK_THRESHOLD, VIR_DOMAIN_EVENT_CALLBACK(on_threshold)},
    {VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON, VIR_DOMAIN_EVENT_CALLBACK(on_io_error)},
};

_Static_assert(NP_ARRAY_SIZE(registrations) == NP_ARRAY_SIZE(((struct np_link *)0)->callbacks),
               "each registration has its place in the link");

/* Libvirt drops a registration's reference by release(); not that of one that failed. */
static int register_all(struct np_link *link)
{
    for (size_t i = 0; i < NP_ARRAY_SIZE(registrations); i++) {
        add_references(link, 1);
        link->callbacks[i] = virConnectDomainEventRegisterAny(link->conn, NULL, registrations[i].event,
                                                              registrations[i].callback, link, release);
        if (link->callbacks[i] < 0) {
            add_references(link, -1);
            return -1;
        }
    }
    /* Without a reference: some drivers take no such callback and would never drop it. Libvirt calls back
       under a lock that unregistering takes, so none is under way afterwards. */
    return link->can_break ? virConnectRegisterCloseCallback(link->conn, on_close, link, NULL) : 0;
}

int np_link_begin(virConnectPtr conn, bool can_break, struct np_link **out, struct np_error *err)
{
    pthread_once(&once, init_condition);
    struct np_link *link = malloc(sizeof(*link));
    if (link == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot watch the connection to libvirt");
    *link = (struct np_link){.references = 1, .conn = conn, .can_break = can_break};
    for (size_t i = 0; i < NP_ARRAY_SIZE(link->callbacks); i++)
        link->callbacks[i] = -1;
    if (register_all(link) < 0) {
        np_virt_error(err, "cannot register for the events of libvirt");
        np_link_end(link);
        return -1;
    }
    *out = link;
    return 0;
}

void np_link_end(struct np_link *link)
{
    if (link == NULL)
        return;
    if (link->can_break)
        virConnectUnregisterCloseCallback(link->conn, on_close);
    for (size_t i = 0; i < NP_ARRAY_SIZE(link->callbacks); i++) {
        if (link->callbacks[i] >= 0)
            virConnectDomainEventDeregisterAny(link->conn, link->callbacks[i]);
    }
    if (link->moved != NULL)
        return; /* what it was moved to ends it */
    while (link != NULL) {
        struct np_link *before = link->before;
        release(link);
        link = before;
    }
}

void np_link_move(struct np_link *from, struct np_link *to)
{
    pthread_mutex_lock(&lock);
    from->moved = to;
    to->before = from; /* it keeps its reference: another thread may be about to begin a watch on it */
    for (struct np_watch *watch; (watch = from->watches) != NULL;) {
        from->watches = watch->next;
        watch->next = to->watches;
        watch->link = to;
        watch->news.missed = true;
        watch->news.count++;
        to->watches = watch;
    }
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

/* ---- one domain ---- */

int np_watch_begin(struct np_link *link, virDomainPtr domain, struct np_watch **out, struct np_error *err)
{
    struct np_watch *watch = calloc(1, sizeof(*watch));
    if (watch == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot watch the domain");
    virDomainGetUUID(domain, watch->uuid);
    pthread_mutex_lock(&lock);
    while (link->moved != NULL)
        link = link->moved;
    watch->link = link;
    watch->next = link->watches;
    link->watches = watch;
    pthread_mutex_unlock(&lock);
    *out = watch;
    return 0;
}

void np_watch_end(struct np_watch *watch)
{
    if (watch == NULL)
        return;
    pthread_mutex_lock(&lock);
    struct np_watch **at = &watch->link->watches;
    while (*at != watch)
        at = &(*at)->next;
    *at = watch->next;
    pthread_mutex_unlock(&lock);
    free(watch);
}

void np_watch_read(struct np_watch *watch, struct np_watch_news *news)
{
    pthread_mutex_lock(&lock);
    *news = watch->news;
    pthread_mutex_unlock(&lock);
}

void np_watch_wake(struct np_watch *watch)
{
    pthread_mutex_lock(&lock);
    watch->news.count++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

bool np_watch_wait(struct np_watch *watch, unsigned long seen, unsigned seconds)
{
    return np_watch_wait_ms(watch, seen, seconds * 1000);
}

bool np_watch_wait_ms(struct np_watch *watch, unsigned long seen, unsigned milliseconds)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += milliseconds / 1000;
    until.tv_nsec += milliseconds % 1000 * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }

    pthread_mutex_lock(&lock);
    int failed = 0;
    while (watch->news.count <= seen && failed == 0)
        failed = milliseconds == NP_WATCH_FOREVER ? pthread_cond_wait(&changed, &lock)
                                                  : pthread_cond_timedwait(&changed, &lock, &until);
    bool came = watch->news.count > seen;
    pthread_mutex_unlock(&lock);
    return came;
}

double np_watch_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}
