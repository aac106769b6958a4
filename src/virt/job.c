#include "job.h"
#include "job_xml.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/log.h"
#include "virt_error.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* An abort takes some 50 ms; the bound is there so that a lost event cannot hang a backup for ever. */
#define END_SECONDS 60
#define AGAIN_SECONDS 1

/* ---- what runs ---- */

int np_job_running_socket(struct np_domain *domain, char **socket, struct np_error *err)
{
    *socket = NULL;
    NP_AUTO_FREE char *xml = virDomainBackupGetXMLDesc(domain->ptr, 0);
    if (xml != NULL)
        return np_job_xml_socket(xml, socket, err);
    int code = np_virt_error_code();
    if (code == VIR_ERR_NO_DOMAIN_BACKUP ||
        code == VIR_ERR_NO_DOMAIN) /* a transient domain is gone when off */
        return 0;
    return np_virt_error(err, "cannot ask for the backup job of domain %s", domain->name);
}

static int is_running(struct np_domain *domain, const char *socket, bool *running, struct np_error *err)
{
    NP_AUTO_FREE char *found = NULL;
    if (np_job_running_socket(domain, &found, err) < 0)
        return -1;
    *running = found != NULL && strcmp(found, socket) == 0;
    return 0;
}

/* ---- ending ---- */

/* Say it when the cause is that the connection broke: then the job may still run. */
static int not_known(struct np_domain *domain, struct np_error *err)
{
    if (virConnectIsAlive(domain->virt->conn) == 1)
        return -1;
    return np_error_context(
        err,
        "the connection to libvirt broke, so it is not known whether the backup job of domain %s "
        "still runs (`virsh domjobinfo`, `virsh domjobabort`)",
        domain->name);
}

/* "No job" and "no such domain" are no faults here: the caller asks what runs. @param accepted out */
static int abort_job(struct np_domain *domain, bool *accepted, struct np_error *err)
{
    *accepted = virDomainAbortJob(domain->ptr) == 0;
    int code = *accepted ? VIR_ERR_OK : np_virt_error_code();
    if (*accepted || code == VIR_ERR_OPERATION_INVALID || code == VIR_ERR_NO_DOMAIN)
        return 0;
    return np_virt_error(err, "cannot end the backup job of domain %s", domain->name);
}

/*
 * libvirt aborts a domain's job, whoever's it is: so look before. That somebody else's began between the look
 * and the abort cannot be seen. Each event wakes, then the look is repeated: only libvirt's answer counts.
 * After a second too: a job whose begin is still at work (that of a client that was killed) ends without an
 * event, or does not end by the first abort. A guest may have many events, which are no sign of an end.
 */
static int end_job(struct np_domain *domain, struct np_watch *watch, const char *socket, struct np_error *err)
{
    double began = np_watch_now(), again = began;
    for (;;) {
        struct np_watch_news news;
        np_watch_read(watch, &news);
        bool running, accepted;
        if (is_running(domain, socket, &running, err) < 0)
            return not_known(domain, err);
        if (!running)
            return 0;
        double now = np_watch_now();
        if (now - began >= END_SECONDS)
            return np_fail(err, NP_FAILED,
                           "the backup job of domain %s (socket %s) did not end within %d s of its abort",
                           domain->name, socket, END_SECONDS);
        if (now >= again) {
            if (abort_job(domain, &accepted, err) < 0)
                return not_known(domain, err);
            again = accepted ? now + AGAIN_SECONDS : now;
        }
        np_watch_wait(watch, news.count, AGAIN_SECONDS);
    }
}

int np_job_end(struct np_job *job, struct np_error *err)
{
    if (np_domain_reach(job->domain, err) < 0)
        return not_known(job->domain, err);
    return end_job(job->domain, job->watch, job->socket, err);
}

static void end_watch(struct np_watch **watch)
{
    np_watch_end(*watch);
}

int np_job_end_by_socket(struct np_domain *domain, const char *socket, struct np_error *err)
{
    NP_CLEANUP(end_watch) struct np_watch *watch = NULL;
    if (np_domain_reach(domain, err) < 0)
        return not_known(domain, err);
    if (np_watch_begin(domain->virt->link, domain->ptr, &watch, err) < 0)
        return -1;
    return end_job(domain, watch, socket, err);
}

void np_job_free(struct np_job *job)
{
    if (job == NULL)
        return;
    np_watch_end(job->watch);
    free(job->socket);
    free(job);
}

/* ---- is it ours ---- */

static int say_why_over(struct np_job *job, struct np_error *err)
{
    struct np_watch_news news;
    np_watch_read(job->watch, &news);
    const char *name = job->domain->name;
    if (news.stopped != NULL)
        return np_fail(err, NP_FAILED, "our backup job is over: domain %s %s", name, news.stopped);
    if (virDomainIsActive(job->domain->ptr) != 1)
        return np_fail(err, NP_FAILED, "our backup job is over: domain %s does not run any more", name);
    return np_fail(err, NP_FAILED,
                   "our backup job on domain %s was ended by somebody else (virsh domjobabort?)%s%s", name,
                   news.job_error[0] != '\0' ? ": " : "", news.job_error);
}

int np_job_check_ours(struct np_job *job, struct np_error *err)
{
    NP_AUTO_FREE char *socket = NULL;
    if (np_domain_reach(job->domain, err) < 0 || np_job_running_socket(job->domain, &socket, err) < 0)
        return not_known(job->domain, err);
    if (socket == NULL)
        return say_why_over(job, err);
    if (strcmp(socket, job->socket) != 0)
        return np_fail(
            err, NP_FAILED,
            "our backup job on domain %s is over: another one runs now, served at %s instead of %s",
            job->domain->name, socket[0] != '\0' ? socket : "(push mode)", job->socket);
    return 0;
}

/* ---- beginning ---- */

/* A name that is taken is somebody's: the checkpoint must not be deleted when begin fails. */
static int refuse_taken_name(struct np_domain *domain, const char *checkpoint, struct np_error *err)
{
    virDomainCheckpointPtr found = virDomainCheckpointLookupByName(domain->ptr, checkpoint, 0);
    if (found != NULL) {
        virDomainCheckpointFree(found);
        return np_fail(err, NP_FAILED, "domain %s already has a checkpoint named %s", domain->name,
                       checkpoint);
    }
    if (np_virt_error_code() != VIR_ERR_NO_DOMAIN_CHECKPOINT)
        return np_virt_error(err, "cannot ask domain %s for its checkpoints", domain->name);
    return 0;
}

/* "mode 0700, owner 0:0", so that the reader sees at once what is wrong. */
static void describe_directory(const char *path, char *text, size_t size)
{
    const char *slash = strrchr(path, '/');
    NP_AUTO_FREE char *directory =
        slash == NULL ? NULL : strndup(path, (size_t)(slash - path) + (slash == path));
    struct stat st;
    if (directory == NULL || stat(directory, &st) < 0)
        snprintf(text, size, "the directory of %s, which cannot be looked at", path);
    else
        snprintf(text, size, "%s (mode %04o, owner %u:%u)", directory, (unsigned)(st.st_mode & 07777),
                 st.st_uid, st.st_gid);
}

/* The path that libvirt's text names; the socket's when it names none. */
static const char *path_in_text(const struct np_job_spec *spec, const char *text)
{
    for (size_t i = 0; i < spec->disk_count; i++) {
        if (strstr(text, spec->disks[i].scratch) != NULL)
            return spec->disks[i].scratch;
    }
    return spec->socket;
}

static void explain_permission(struct np_domain *domain, const struct np_job_spec *spec, struct np_error *err)
{
    char where[512], owner[64] = "its own user";
    describe_directory(path_in_text(spec, err->message), where, sizeof(where));
    struct np_error ignored = NP_ERROR_INIT;
    bool known = false;
    uid_t uid = 0;
    gid_t gid = 0;
    if (np_domain_qemu_owner(domain, &known, &uid, &gid, &ignored) == 0 && known)
        snprintf(owner, sizeof(owner), "%u:%u", uid, gid);
    size_t used = strlen(err->message);
    snprintf(
        err->message + used, sizeof(err->message) - used,
        ". QEMU runs as %s and must be able to create files in %s; where AppArmor or SELinux confines it, "
        "their rules must allow that directory too",
        owner, where);
}

static void explain_full(const struct np_job_spec *spec, struct np_error *err)
{
    char where[512];
    describe_directory(spec->socket, where, sizeof(where));
    size_t used = strlen(err->message);
    snprintf(err->message + used, sizeof(err->message) - used,
             ". The scratch files are in %s: free some space there, or take another place with --scratch-dir",
             where);
}

static const struct np_job_disk *disk_in_text(const struct np_job_spec *spec, const char *text)
{
    for (size_t i = 0; i < spec->disk_count; i++) {
        if (np_virt_error_names(text, spec->disks[i].target))
            return &spec->disks[i];
    }
    return NULL;
}

/*
 * Fills err from libvirt's error, before anything else is asked of libvirt. Its text may be in any language:
 * it gives hints where it can be read, and decides nothing.
 */
static void begin_failed(struct np_domain *domain, const struct np_job_spec *spec, struct np_error *err)
{
    const char *text = np_virt_error_text();
    bool denied = strstr(text, "ermission denied") != NULL;
    bool full = strstr(text, "No space left") != NULL;
    const struct np_job_disk *disk = disk_in_text(spec, text);
    np_virt_error(err, "cannot begin the backup job of domain %s", domain->name);
    if (disk != NULL)
        np_error_where(err, disk->target, NP_NO_OFFSET);
    if (denied)
        explain_permission(domain, spec, err);
    if (full)
        explain_full(spec, err);
}

/*
 * After a failure: libvirt rolls back what it can, but when exporting fails it leaves the checkpoint and a
 * job that is just being cancelled. The first error stays the one that is told.
 */
static void undo(struct np_domain *domain, const struct np_job_spec *spec)
{
    struct np_error err = NP_ERROR_INIT;
    if (np_job_end_by_socket(domain, spec->socket, &err) < 0)
        np_log_warning("after a backup job that did not begin: %s", err.message);
    err = (struct np_error)NP_ERROR_INIT;
    if (spec->checkpoint != NULL && np_checkpoint_delete(domain, spec->checkpoint, &err) < 0)
        np_log_warning("after a backup job that did not begin: %s", err.message);
}

/*
 * A job of somebody else that began since the last look: libvirt's code says nothing. Ours has been undone,
 * so what is found is not ours.
 */
static void look_whether_busy(struct np_domain *domain, struct np_error *err)
{
    struct np_error why = NP_ERROR_INIT;
    if (err->class == NP_FAILED && np_job_check_free(domain, &why) < 0 && why.class == NP_BUSY)
        err->class = NP_BUSY;
}

/*
 * A guest that shuts down in mid-job takes the job with it. With this flag libvirt resets and pauses it
 * instead, and ends it with the job. The number, because headers are older than servers; a server that does
 * not know it refuses it.
 */
#define PRESERVE_SHUTDOWN_DOMAIN (1 << 1)
#define PRESERVE_SINCE 11010000 /* 11.10 */

static unsigned begin_flags(struct np_domain *domain)
{
    unsigned long version = 0;
    bool known = virConnectGetLibVersion(domain->virt->conn, &version) == 0 && version >= PRESERVE_SINCE;
    return known ? PRESERVE_SHUTDOWN_DOMAIN : 0;
}

static int begin_and_read_back(struct np_domain *domain, const struct np_job_spec *spec, struct np_error *err)
{
    NP_AUTO_FREE char *backup = NULL;
    NP_AUTO_FREE char *checkpoint = NULL;
    NP_AUTO_FREE char *running = NULL;
    if (np_job_xml_backup(spec, &backup, err) < 0 ||
        (spec->checkpoint != NULL && (np_job_xml_checkpoint(spec, &checkpoint, err) < 0 ||
                                      refuse_taken_name(domain, spec->checkpoint, err) < 0)))
        return -1;

    if (virDomainBackupBegin(domain->ptr, backup, checkpoint, begin_flags(domain)) < 0) {
        begin_failed(domain, spec, err);
        undo(domain, spec);
        look_whether_busy(domain, err);
        return -1;
    }
    running = virDomainBackupGetXMLDesc(domain->ptr, 0);
    if (running == NULL)
        np_virt_error(err, "cannot read the backup job of domain %s back", domain->name);
    if (running == NULL || np_job_xml_compare(spec, running, err) < 0) {
        undo(domain, spec);
        return -1;
    }
    return 0;
}

static void free_pointed(struct np_job **job)
{
    np_job_free(*job);
}

int np_job_begin(struct np_domain *domain, const struct np_job_spec *spec, struct np_job **out,
                 struct np_error *err)
{
    NP_CLEANUP(free_pointed) struct np_job *job = calloc(1, sizeof(*job));
    if (job == NULL || (job->socket = strdup(spec->socket)) == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "backup job of domain %s", domain->name);
    job->domain = domain;
    /* Before begin: a job that ends at once has been seen. */
    if (np_watch_begin(domain->virt->link, domain->ptr, &job->watch, err) < 0 ||
        begin_and_read_back(domain, spec, err) < 0)
        return -1;
    *out = NP_STEAL(job);
    return 0;
}
