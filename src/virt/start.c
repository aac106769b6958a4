/*
 * A guest that was off, started paused for a backup. A mark in its live XML tells whose it is: it is gone
 * when the domain ends, so that one which somebody starts later is never taken for it. (But a memory that is
 * saved is saved with it.) As soon as it has run it is somebody's, paused again or not.
 *
 * Not started from a copy of its configuration with the mark in it: where libvirt 9.0 refuses such a start
 * early, it keeps the copy as the domain's, and what is defined afterwards is lost.
 */
#include "domain.h"
#include "nbdpull/cleanup.h"
#include "virt_error.h"
#include "xml.h"

#include <errno.h>
#include <json-c/json.h>
#include <libvirt/libvirt-qemu.h>
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

static int set_mark(struct np_domain *domain, const char *element)
{
    return virDomainSetMetadata(domain->ptr, VIR_DOMAIN_METADATA_ELEMENT, element, MARK_PREFIX, MARK_URI,
                                VIR_DOMAIN_AFFECT_LIVE);
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

/* ---- has it run? ---- */

/*
 * QEMU's run state is "prelaunch" from its start until its vCPUs run for the first time, whatever runs them;
 * libvirt passes on only that the domain is paused. The vCPUs' times in its statistics do not tell: they are
 * counted in steps of 10 ms, a thread's own start-up is among them, and they are 0 in a QEMU that goes on
 * from a saved memory.
 * Source: softmmu/runstate.c of QEMU 7.2
 */
static bool is_before_launch(struct np_domain *domain)
{
    NP_AUTO_FREE char *answer = NULL;
    json_object *result, *status = NULL;
    if (virDomainQemuMonitorCommand(domain->ptr, "{\"execute\":\"query-status\"}", &answer,
                                    VIR_DOMAIN_QEMU_MONITOR_COMMAND_DEFAULT) < 0)
        return false;
    json_object *json = json_tokener_parse(answer);
    bool is = json_object_object_get_ex(json, "return", &result) &&
              json_object_object_get_ex(result, "status", &status) &&
              json_object_is_type(status, json_type_string) &&
              strcmp(json_object_get_string(status), "prelaunch") == 0;
    json_object_put(json);
    return is;
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), end_length = strlen(end);
    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

/* Has the guest asked nothing of any disk? A job's reads are not counted there. Not known is no. */
static bool has_idle_disks(struct np_domain *domain)
{
    virDomainPtr domains[] = {domain->ptr, NULL};
    virDomainStatsRecordPtr *records = NULL;
    bool told = false, asked = false;
    int count = virDomainListGetStats(domains, VIR_DOMAIN_STATS_BLOCK, &records, 0);
    for (int i = 0; count > 0 && i < records[0]->nparams; i++) {
        const virTypedParameter *param = &records[0]->params[i];
        if (param->type != VIR_TYPED_PARAM_ULLONG ||
            !(ends_with(param->field, ".rd.reqs") || ends_with(param->field, ".wr.reqs")))
            continue;
        told = true;
        asked |= param->value.ul > 0;
    }
    virDomainStatsRecordListFree(records);
    return told && !asked;
}

/*
 * A paused guest that is reset is "prelaunch" again: its memory is nothing any more, but its disks tell that
 * somebody has used it. One that goes on from a saved memory or a snapshot is not paused as by a start.
 * @param has_run out; true also when it cannot be told
 */
static int look_whether_run(struct np_domain *domain, int reason, bool *has_run, struct np_error *err)
{
    struct np_watch_news news = {.missed = true};
    if (domain->started != NULL)
        np_watch_read(domain->started, &news);
    if (reason != VIR_DOMAIN_PAUSED_USER || !news.missed) {
        *has_run = reason != VIR_DOMAIN_PAUSED_USER || news.resumed;
        return 0;
    }
    *has_run = !is_before_launch(domain) || !has_idle_disks(domain);
    if (*has_run && virConnectIsAlive(domain->virt->conn) != 1) /* it may tell when it is asked again */
        return np_fail(err, NP_FAILED,
                       "cannot ask whether domain %s, which was started paused for the backup, has run: the "
                       "connection to %s broke",
                       domain->name, domain->virt->uri);
    return 0;
}

/* ---- starting ---- */

/* Without the mark nobody would know it later. What somebody has resumed meanwhile is theirs. */
static void end_unmarked(struct np_domain *domain)
{
    int state, reason;
    bool has_run = true;
    struct np_error ignored = NP_ERROR_INIT;
    if (virDomainGetState(domain->ptr, &state, &reason, 0) < 0 || state != VIR_DOMAIN_PAUSED ||
        look_whether_run(domain, reason, &has_run, &ignored) < 0 || has_run)
        return;
    virDomainDestroyFlags(domain->ptr, VIR_DOMAIN_DESTROY_GRACEFUL);
}

/* A libvirtd that died in between is there again, and has the domain by the id that it was started with. */
static int mark_started(struct np_domain *domain, const char *element, struct np_error *err)
{
    const unsigned id = virDomainGetID(domain->ptr);
    struct np_error ignored = NP_ERROR_INIT;
    if (set_mark(domain, element) == 0)
        return 0;
    np_virt_error(err, "cannot mark domain %s as started by this run", domain->name);
    if (np_domain_reach(domain, &ignored) < 0 || virDomainGetID(domain->ptr) != id)
        return -1;
    if (set_mark(domain, element) == 0) {
        *err = (struct np_error)NP_ERROR_INIT;
        return 0;
    }
    end_unmarked(domain);
    return -1;
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
    if (domain->started == NULL && np_watch_begin(domain->virt->link, domain->ptr, &domain->started, err) < 0)
        return -1;
    if (virDomainCreateWithFlags(domain->ptr, VIR_DOMAIN_START_PAUSED) < 0)
        return np_virt_error(err, "cannot start domain %s, paused, to read its disks", domain->name);
    return mark_started(domain, element, err);
}

/* ---- ending ---- */

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

/* Another set's run, or another tool, may have found it, and read or copy its disks now. */
static int refuse_other_job(struct np_domain *domain, const char *mark, struct np_error *err)
{
    NP_AUTO_FREE char *socket = NULL;
    if (np_job_running_socket(domain, &socket, err) < 0)
        return -1;
    if (socket != NULL && strcmp(socket, mark) == 0)
        return 0;
    if (socket == NULL && np_job_check_disks(domain, err) == 0)
        return 0;
    if (socket == NULL)
        return np_error_context(err, "domain %s, which was started paused for the backup, cannot be ended",
                                domain->name);
    return np_fail(
        err, NP_BUSY,
        "domain %s, which was started paused for the backup, cannot be ended while another backup job "
        "reads its disks%s%s; the next backup into the same set ends it, or `virsh destroy %s`",
        domain->name, socket[0] != '\0' ? ", served at " : "", socket, domain->name);
}

/* It may have been resumed a moment ago: that cannot be seen, as with every look before a call. */
int np_domain_stop_paused(struct np_domain *domain, const char *mark, enum np_stopped *how,
                          struct np_error *err)
{
    int state, reason;
    bool active, has_run;
    *how = NP_STOPPED_WAS_OFF;
    if (np_domain_reach(domain, err) < 0 || np_domain_is_active(domain, &active, err) < 0)
        return -1;
    if (!active)
        return 0;
    if (virDomainGetState(domain->ptr, &state, &reason, 0) < 0)
        return np_virt_error(err, "cannot ask for the state of domain %s", domain->name);
    if (state != VIR_DOMAIN_PAUSED || !has_mark(domain, mark)) {
        bool ran = state != VIR_DOMAIN_PAUSED || reason == VIR_DOMAIN_PAUSED_IOERROR;
        *how = ran ? NP_STOPPED_RESUMED : NP_STOPPED_NOT_OURS;
        return 0;
    }
    if (look_whether_run(domain, reason, &has_run, err) < 0 ||
        (!has_run && (refuse_other_job(domain, mark, err) < 0 || destroy(domain, err) < 0)))
        return -1;
    *how = has_run ? NP_STOPPED_HAS_RUN : NP_STOPPED;
    return 0;
}
