/* What guards a running job's scratch files: events, thresholds, and the guest that stopped all the same. */
#include "job.h"
#include "job_xml.h"
#include "nbdpull/cleanup.h"
#include "virt_error.h"

#include <libvirt/virterror.h>
#include <stdio.h>

/* From QEMU's I/O error to the pause it brings: one turn of its main loop. */
#define PAUSE_SECONDS 5

void np_job_news(struct np_job *job, struct np_job_news *to)
{
    struct np_watch_news news;
    np_watch_read(job->watch, &news);
    *to = (struct np_job_news){
        .count = news.count,
        .domain_ended = news.stopped != NULL,
        .guest_paused = news.io_pauses || news.io_paused,
        .guest_failed = news.io_failed,
    };
}

void np_job_wait(struct np_job *job, unsigned long seen)
{
    np_watch_wait_ms(job->watch, seen, NP_WATCH_FOREVER);
}

void np_job_wake(struct np_job *job)
{
    np_watch_wake(job->watch);
}

/* ---- thresholds ---- */

int np_job_watch_scratch(struct np_job *job, const char *target, uint64_t pos, bool *armed,
                         struct np_error *err)
{
    *armed = false;
    NP_AUTO_FREE char *xml = virDomainBackupGetXMLDesc(job->domain->ptr, 0);
    if (xml == NULL && np_virt_error_code() != VIR_ERR_NO_DOMAIN_BACKUP)
        return np_virt_error(err, "cannot ask for the backup job of domain %s", job->domain->name);
    NP_AUTO_FREE char *node = NULL;
    if (xml == NULL || np_job_xml_scratch_node(xml, job->socket, target, &node, err) < 0)
        return xml == NULL ? 0 : -1;
    if (node == NULL)
        return 0;
    if (virDomainSetBlockThreshold(job->domain->ptr, node, pos, 0) < 0)
        return np_virt_error(err, "disk %s: libvirt cannot watch its scratch file", target);
    *armed = true;
    return 0;
}

int np_job_scratch_used(struct np_job *job, uint64_t *bytes, struct np_error *err)
{
    int type, count = 0;
    virTypedParameterPtr params = NULL;
    unsigned long long used = 0;
    *bytes = 0;
    if (virDomainGetJobStats(job->domain->ptr, &type, &params, &count, 0) < 0)
        return np_virt_error(err, "cannot ask for the job's statistics of domain %s", job->domain->name);
    if (type != VIR_DOMAIN_JOB_NONE)
        virTypedParamsGetULLong(params, count, VIR_DOMAIN_JOB_DISK_TEMP_USED, &used);
    virTypedParamsFree(params, count);
    *bytes = used;
    return 0;
}

/* ---- the last rescue ---- */

int np_domain_resume_after_io_error(struct np_domain *domain, bool *resumed, struct np_error *err)
{
    int state, reason;
    *resumed = false;
    if (virDomainGetState(domain->ptr, &state, &reason, 0) < 0)
        return np_virt_error_code() == VIR_ERR_NO_DOMAIN
                   ? 0
                   : np_virt_error(err, "cannot ask for the state of domain %s", domain->name);
    if (state != VIR_DOMAIN_PAUSED || reason != VIR_DOMAIN_PAUSED_IOERROR)
        return 0;
    if (virDomainResume(domain->ptr) < 0)
        return np_virt_error(err, "domain %s is paused by an I/O error and cannot be resumed", domain->name);
    *resumed = true;
    return 0;
}

int np_job_resume_guest(struct np_job *job, bool *resumed, struct np_error *err)
{
    struct np_watch_news news;
    np_watch_read(job->watch, &news);
    while (news.io_pauses && !news.io_paused && news.stopped == NULL &&
           np_watch_wait(job->watch, news.count, PAUSE_SECONDS))
        np_watch_read(job->watch, &news);
    return np_domain_resume_after_io_error(job->domain, resumed, err);
}
