/*
 * What a disk's images take on the host. virDomainGetBlockInfo is no help: after the guest's first write its
 * "allocation" is the highest offset written since the start, and it knows nothing of a backing image.
 */
#include "domain.h"
#include "nbdpull/cleanup.h"
#include "virt_error.h"

#include <libvirt/virterror.h>
#include <stdio.h>
#include <string.h>

static void free_stats(virDomainStatsRecordPtr **stats)
{
    if (*stats != NULL)
        virDomainStatsRecordListFree(*stats);
}

static const char *text_of(const virDomainStatsRecord *record, unsigned block, const char *what)
{
    char field[64];
    const char *text = NULL;
    snprintf(field, sizeof(field), "block.%u.%s", block, what);
    return virTypedParamsGetString(record->params, record->nparams, field, &text) == 1 ? text : NULL;
}

static bool number_of(const virDomainStatsRecord *record, unsigned block, const char *what, uint64_t *number)
{
    char field[64];
    unsigned long long value;
    snprintf(field, sizeof(field), "block.%u.%s", block, what);
    if (virTypedParamsGetULLong(record->params, record->nparams, field, &value) != 1)
        return false;
    *number = value;
    return true;
}

/* One entry an image: those of a chain have the same name. */
static void add_up(const virDomainStatsRecord *record, const char *target, bool *known, uint64_t *bytes)
{
    unsigned count = 0;
    bool found = false, all = true;
    *bytes = 0;
    virTypedParamsGetUInt(record->params, record->nparams, "block.count", &count);
    for (unsigned i = 0; i < count; i++) {
        const char *name = text_of(record, i, "name");
        uint64_t physical = 0;
        if (name == NULL || strcmp(name, target) != 0)
            continue;
        found = true;
        if (!number_of(record, i, "physical", &physical) || __builtin_add_overflow(*bytes, physical, bytes))
            all = false;
    }
    *known = found && all;
}

int np_domain_allocation(struct np_domain *domain, const char *target, bool *known, uint64_t *bytes,
                         struct np_error *err)
{
    virDomainPtr domains[] = {domain->ptr, NULL};
    NP_CLEANUP(free_stats) virDomainStatsRecordPtr *stats = NULL;
    *known = false;
    if (virDomainListGetStats(domains, VIR_DOMAIN_STATS_BLOCK, &stats,
                              VIR_CONNECT_GET_ALL_DOMAINS_STATS_BACKING) < 0)
        return np_virt_error(err, "cannot ask for the sizes of the disks of domain %s", domain->name);
    if (stats[0] != NULL)
        add_up(stats[0], target, known, bytes);
    return 0;
}
