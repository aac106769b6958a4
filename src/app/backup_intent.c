/*
 * A run that dies leaves a job that goes on. So what it is about to begin is written down first, durably, and
 * a guardian watches.
 */
#include "backup_parts.h"

#include "clock.h"

#include <stdio.h>
#include <string.h>

static int fill_intent(const struct np_run *run, struct np_intent *intent, struct np_error *err)
{
    const char *uri = np_virt_uri(run->virt);
    if (strlen(uri) >= sizeof(intent->uri)) /* cut, it would lead a guardian elsewhere */
        return np_fail(err, NP_FAILED, "libvirt's URI is longer than %zu bytes: %s", sizeof(intent->uri) - 1,
                       uri);
    snprintf(intent->point_id, sizeof(intent->point_id), "%s", run->result->point);
    snprintf(intent->checkpoint, sizeof(intent->checkpoint), "%s", run->result->checkpoint);
    snprintf(intent->uri, sizeof(intent->uri), "%s", uri);
    snprintf(intent->socket, sizeof(intent->socket), "%s", run->socket);
    snprintf(intent->work_dir, sizeof(intent->work_dir), "%s", run->workdir);
    if (run->set != NULL)
        snprintf(intent->home, sizeof(intent->home), "%s", np_set_short_id(run->set));
    intent->domain = np_domain_uuid(run->domain);
    np_clock_now(intent->started);
    return np_domain_is_running(run->domain, &intent->guest_ran, err);
}

/* An estimate reads its set without a lock, and writes nothing into it. */
int np_run_intend(struct np_run *run, struct np_error *err)
{
    struct np_set *set = run->estimate ? NULL : run->set;
    if (fill_intent(run, &run->intent, err) < 0 || run->reach->intend(run, err) < 0)
        return -1;
    run->intent_written = set != NULL;
    if (set != NULL && np_set_intent_write(set, &run->intent, err) < 0)
        return -1;
    return np_guardian_start(&run->intent, np_domain_name(run->domain), set, &run->guardian, err);
}

void np_run_dismiss_guardian(struct np_run *run)
{
    if (!run->unsure)
        np_guardian_dismiss(&run->guardian);
}
