#include "disks.h"
#include "domain.h"
#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "virt_error.h"

#include <libvirt/virterror.h>

static int refuse_backup_job(struct np_domain *domain, struct np_error *err)
{
    NP_AUTO_FREE char *socket = NULL;
    if (np_job_running_socket(domain, &socket, err) < 0)
        return -1;
    if (socket == NULL)
        return 0;
    return np_fail(
        err, NP_BUSY,
        "domain %s has a backup job already, %s%s; wait for it, or end it with `virsh domjobabort %s`",
        domain->name, socket[0] != '\0' ? "served at " : "in push mode", socket, domain->name);
}

static const char *operation_name(int operation)
{
    static const char *const names[] = {
        [VIR_DOMAIN_JOB_OPERATION_START] = "start",
        [VIR_DOMAIN_JOB_OPERATION_SAVE] = "save",
        [VIR_DOMAIN_JOB_OPERATION_RESTORE] = "restore",
        [VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN] = "incoming migration",
        [VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT] = "migration",
        [VIR_DOMAIN_JOB_OPERATION_SNAPSHOT] = "snapshot",
        [VIR_DOMAIN_JOB_OPERATION_SNAPSHOT_REVERT] = "snapshot revert",
        [VIR_DOMAIN_JOB_OPERATION_DUMP] = "dump",
        [VIR_DOMAIN_JOB_OPERATION_BACKUP] = "backup",
    };
    bool known = operation > 0 && (size_t)operation < NP_ARRAY_SIZE(names) && names[operation] != NULL;
    return known ? names[operation] : "unknown";
}

/*
 * libvirt cannot tell its statistics: a backup job that is just being set up, or one that was left half-made
 * when the process of an embedded driver was killed, which only a restart of the domain clears.
 */
static int refuse_hidden_job(struct np_domain *domain, struct np_error *err)
{
    bool internal = np_virt_error_code() == VIR_ERR_INTERNAL_ERROR;
    np_virt_error(err, "cannot ask for the jobs of domain %s", domain->name);
    if (!internal || virConnectIsAlive(domain->virt->conn) != 1)
        return -1;
    err->class = NP_BUSY;
    return np_error_context(
        err,
        "domain %s has a job that is only just starting, or that libvirt lost track of (if it "
        "stays so, shut the domain down and start it again)",
        domain->name);
}

static int refuse_domain_job(struct np_domain *domain, struct np_error *err)
{
    int type = VIR_DOMAIN_JOB_NONE, count = 0, operation = 0;
    virTypedParameterPtr params = NULL;
    if (virDomainGetJobStats(domain->ptr, &type, &params, &count, 0) < 0)
        return refuse_hidden_job(domain, err);
    virTypedParamsGetInt(params, count, VIR_DOMAIN_JOB_OPERATION, &operation);
    virTypedParamsFree(params, count);
    if (type != VIR_DOMAIN_JOB_BOUNDED && type != VIR_DOMAIN_JOB_UNBOUNDED)
        return 0;
    return np_fail(err, NP_BUSY,
                   "domain %s has another job (%s): wait for its end, `virsh domjobinfo %s` shows it",
                   domain->name, operation_name(operation), domain->name);
}

static const char *block_job_name(int type)
{
    static const char *const names[] = {
        [VIR_DOMAIN_BLOCK_JOB_TYPE_PULL] = "pull",
        [VIR_DOMAIN_BLOCK_JOB_TYPE_COPY] = "copy",
        [VIR_DOMAIN_BLOCK_JOB_TYPE_COMMIT] = "commit",
        [VIR_DOMAIN_BLOCK_JOB_TYPE_ACTIVE_COMMIT] = "active commit",
        [VIR_DOMAIN_BLOCK_JOB_TYPE_BACKUP] = "backup",
    };
    bool known = type > 0 && (size_t)type < NP_ARRAY_SIZE(names) && names[type] != NULL;
    return known ? names[type] : "unknown";
}

/* One question a disk, a millisecond each. A disk that cannot be asked has no job. */
int np_job_check_disks(struct np_domain *domain, struct np_error *err)
{
    NP_CLEANUP(np_domain_disks_clear) struct np_domain_disks disks = {0};
    NP_AUTO_FREE char *xml = NULL;
    if (np_domain_xml(domain, true, &xml, err) < 0 || np_disks_parse(xml, &disks, err) < 0)
        return -1;
    for (size_t i = 0; i < disks.count; i++) {
        const char *target = disks.list[i].target;
        virDomainBlockJobInfo info = {0};
        if (!disks.list[i].can_backup || virDomainGetBlockJobInfo(domain->ptr, target, &info, 0) != 1)
            continue;
        np_fail(err, NP_BUSY,
                "disk %s of domain %s has a block job (%s): wait for its end, `virsh blockjob %s %s` "
                "shows it",
                target, domain->name, block_job_name(info.type), domain->name, target);
        return np_error_where(err, target, NP_NO_OFFSET);
    }
    return 0;
}

int np_job_check_free(struct np_domain *domain, struct np_error *err)
{
    bool active;
    if (np_domain_is_active(domain, &active, err) < 0)
        return -1;
    if (!active)
        return np_fail(err, NP_FAILED, "domain %s is not running, so no backup job can begin", domain->name);
    if (refuse_backup_job(domain, err) < 0 || refuse_domain_job(domain, err) < 0)
        return -1;
    return np_job_check_disks(domain, err);
}
