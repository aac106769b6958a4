#include "nbdpull/app.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/log.h"

#include "backup_parts.h"
#include "lost_bitmaps.h"
#include "off.h"

#include <stdio.h>

static void close_virt(struct np_virt **virt)
{
    np_virt_close(*virt);
}

static void free_domain(struct np_domain **domain)
{
    np_domain_free(*domain);
}

struct removing {
    struct np_domain *domain;
    struct np_cancel *cancel;
    struct np_checkpoints_result *result;
    struct np_error *err; /* the first error; later ones are warnings */
    bool failed;
};

static void fail(struct removing *removing, const struct np_error *why)
{
    if (removing->failed)
        np_log_warning("%s", why->message);
    else
        *removing->err = *why;
    removing->failed = true;
}

typedef int remove_one(struct np_domain *domain, const char *name, struct np_error *err);

/* Deleting goes on after a failure: one that stays must not keep the others. @return -1: it is to stop */
static int remove_all(struct removing *removing, const struct np_names *names, remove_one *remove)
{
    struct np_checkpoints_result *result = removing->result;
    for (size_t i = 0; i < names->count; i++) {
        struct np_error why = NP_ERROR_INIT;
        if (np_cancel_check(removing->cancel, &why) < 0) {
            if (removing->failed)
                np_log_warning("%s", removing->err->message);
            *removing->err = why;
            return np_error_context(removing->err, "%ju of %zu checkpoints are removed",
                                    (uintmax_t)result->removed, result->names.count + result->lost.count);
        }
        if (remove(removing->domain, names->list[i], &why) == 0)
            result->removed++;
        else
            fail(removing, &why);
    }
    return 0;
}

static int find_lost(struct np_domain *domain, struct np_checkpoints_result *result,
                     struct np_lost_bitmaps *found, struct np_error *err)
{
    bool active;
    if (np_domain_is_active(domain, &active, err) < 0 || np_lost_bitmaps_find(domain, active, found, err) < 0)
        return -1;
    result->lost = found->names;
    found->names = (struct np_names){0};
    return 0;
}

/* What libvirt does not know is looked for when what it knows is gone. */
static int remove_lost(struct removing *removing)
{
    NP_CLEANUP(np_lost_bitmaps_clear) struct np_lost_bitmaps found = {0};
    struct np_error why = NP_ERROR_INIT;
    if (find_lost(removing->domain, removing->result, &found, &why) < 0) {
        fail(removing, &why);
        return 0;
    }
    for (size_t i = 0; i < found.below.count; i++)
        np_log_warning(
            "bitmap %s, whose checkpoint libvirt has lost, stays: it is in a backing image, or that of a "
            "read-only disk, which others may use",
            found.below.list[i]);
    if (remove_all(removing, &removing->result->lost, np_lost_bitmaps_remove) < 0)
        return -1;
    for (size_t i = 0; i < found.unseen.count; i++) {
        np_fail(&why, NP_FAILED, "%s", found.unseen.list[i]);
        fail(removing, &why);
        why = (struct np_error)NP_ERROR_INIT;
    }
    return 0;
}

/* While the guest runs only QEMU's monitor tells, and that taints the domain: not for a list. */
static int list_lost(struct np_domain *domain, struct np_checkpoints_result *result, struct np_error *err)
{
    NP_CLEANUP(np_lost_bitmaps_clear) struct np_lost_bitmaps found = {0};
    bool active;
    if (np_domain_is_active(domain, &active, err) < 0)
        return -1;
    if (active)
        return 0;
    if (find_lost(domain, result, &found, err) < 0)
        return -1;
    for (size_t i = 0; i < found.unseen.count; i++)
        np_log_info("%s", found.unseen.list[i]);
    return 0;
}

int np_app_checkpoints(const struct np_checkpoints_request *request, struct np_checkpoints_result *result,
                       struct np_error *err)
{
    NP_CLEANUP(close_virt) struct np_virt *virt = NULL;
    NP_CLEANUP(free_domain) struct np_domain *domain = NULL;
    *result = (struct np_checkpoints_result){0};
    if (np_virt_open(request->uri, request->cancel, &virt, err) < 0 ||
        np_domain_find(virt, request->domain, &domain, err) < 0)
        return -1;
    snprintf(result->domain, sizeof(result->domain), "%s", np_domain_name(domain));
    if (np_checkpoint_list(domain, NP_CHECKPOINT_PREFIX, &result->names, err) < 0)
        return -1;
    if (!request->remove)
        return list_lost(domain, result, err) < 0 ? -1 : np_cancel_check(request->cancel, err);
    bool active;
    if (np_domain_is_active(domain, &active, err) < 0 || (active && np_job_check_free(domain, err) < 0))
        return -1;
    struct removing removing = {.domain = domain, .cancel = request->cancel, .result = result, .err = err};
    if (remove_all(&removing, &result->names, np_off_delete_checkpoint) < 0 || remove_lost(&removing) < 0)
        return -1;
    return removing.failed ? -1 : 0;
}

void np_checkpoints_result_clear(struct np_checkpoints_result *result)
{
    np_names_clear(&result->names);
    np_names_clear(&result->lost);
}
