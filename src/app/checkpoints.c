#include "nbdpull/app.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/log.h"

#include "backup_parts.h"
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

/* Deleting goes on after a failure: one that stays must not keep the others. The first error comes out. */
static int remove_all(struct np_domain *domain, struct np_cancel *cancel,
                      struct np_checkpoints_result *result, struct np_error *err)
{
    bool failed = false;
    for (size_t i = 0; i < result->names.count; i++) {
        struct np_error why = NP_ERROR_INIT;
        if (np_cancel_check(cancel, &why) < 0) {
            if (failed)
                np_log_warning("%s", err->message);
            *err = why;
            return np_error_context(err, "%ju of %zu checkpoints are removed", (uintmax_t)result->removed,
                                    result->names.count);
        }
        if (np_off_delete_checkpoint(domain, result->names.list[i], &why) == 0) {
            result->removed++;
            continue;
        }
        if (failed)
            np_log_warning("%s", why.message);
        else
            *err = why;
        failed = true;
    }
    return failed ? -1 : 0;
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
        return np_cancel_check(request->cancel, err);
    bool active;
    if (np_domain_is_active(domain, &active, err) < 0 || (active && np_job_check_free(domain, err) < 0))
        return -1;
    return remove_all(domain, request->cancel, result, err);
}

void np_checkpoints_result_clear(struct np_checkpoints_result *result)
{
    np_names_clear(&result->names);
}
