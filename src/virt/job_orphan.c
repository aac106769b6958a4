/*
 * A begin whose client died: libvirt goes on with it. It may wait for another job of the domain to end, and
 * then starts a job that nobody reads.
 */
#include "domain.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/log.h"

#include <libvirt/virterror.h>
#include <string.h>

#include "virt_error.h"
#include "watch.h"

/* libvirt lets a begin wait 30 s for the lock of the domain's jobs; the rest is for a slow machine. */
#define QUEUE_SECONDS 33

/*
 * No event says that a job begins, so the state is asked for: often enough that its scratch stays small. An
 * event (the other job's end) wakes at once.
 */
#define LOOK_MS 200

enum seen {
    NOTHING, /* no job: no begin waits behind it */
    ANOTHER, /* a job that is not ours, or one that libvirt cannot tell about because it is being set up */
    OURS,
};

static bool has_domain_job(struct np_domain *domain)
{
    int type = VIR_DOMAIN_JOB_NONE, count = 0;
    virTypedParameterPtr params = NULL;
    if (virDomainGetJobStats(domain->ptr, &type, &params, &count, 0) < 0)
        return np_virt_error_code() == VIR_ERR_INTERNAL_ERROR;
    virTypedParamsFree(params, count);
    return type == VIR_DOMAIN_JOB_BOUNDED || type == VIR_DOMAIN_JOB_UNBOUNDED;
}

static int look(struct np_domain *domain, const char *socket, enum seen *seen, struct np_error *err)
{
    NP_AUTO_FREE char *running = NULL;
    if (np_job_running_socket(domain, &running, err) < 0)
        return -1;
    if (running != NULL)
        *seen = strcmp(running, socket) == 0 ? OURS : ANOTHER;
    else
        *seen = has_domain_job(domain) ? ANOTHER : NOTHING;
    return 0;
}

static void end_watch(struct np_watch **watch)
{
    np_watch_end(*watch);
}

static void wake(void *watch)
{
    np_watch_wake(watch);
}

/* Nothing must be seen twice, a moment apart: the first look may fall between the other job's end and the
 * start of ours. Events only wake, and there may be many. */
static int await_begin(struct np_domain *domain, const char *socket, struct np_watch *watch,
                       struct np_cancel *cancel, struct np_error *err)
{
    const double began = np_watch_now();
    double quiet = -1; /* since when there is nothing */
    bool said = false;
    /* NOLINTNEXTLINE(cert-flp30-c): a clock, not a counter */
    for (double now = began; now - began < QUEUE_SECONDS; now = np_watch_now()) {
        struct np_watch_news news;
        enum seen seen;
        np_watch_read(watch, &news);
        if (np_cancel_check(cancel, err) < 0 || look(domain, socket, &seen, err) < 0)
            return -1;
        if (seen == OURS || (seen == NOTHING && quiet >= 0 && now - quiet >= LOOK_MS / 1000.0))
            return 0;
        if (seen == ANOTHER && !said)
            np_log_info(
                "domain %s has another job, and a backup job of a run that was killed may wait for its "
                "end: watching for it, at most %d s",
                domain->name, QUEUE_SECONDS);
        said |= seen == ANOTHER;
        quiet = seen != NOTHING ? -1 : quiet < 0 ? np_watch_now() : quiet;
        np_watch_wait_ms(watch, news.count, LOOK_MS);
    }
    return 0;
}

int np_job_await_begin(struct np_domain *domain, const char *socket, struct np_cancel *cancel,
                       struct np_error *err)
{
    NP_CLEANUP(end_watch) struct np_watch *watch = NULL;
    struct np_cancel_entry entry;
    if (np_watch_begin(domain->virt->link, domain->ptr, &watch, err) < 0)
        return -1;
    np_cancel_add(cancel, &entry, wake, watch);
    int result = await_begin(domain, socket, watch, cancel, err);
    np_cancel_remove(cancel, &entry);
    return result;
}
