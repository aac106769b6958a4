/*
 * The guest's file systems are frozen around the begin call only, and thawed on every path. That they may be
 * is in the intent before: who comes after a crash thaws them.
 */
#include "backup_parts.h"

#include "clock.h"

#include "nbdpull/log.h"

/*
 * An earlier run has frozen the guest, and nobody could thaw it: once more, after begin. If that fails too,
 * the intent stays, so that the next run tries.
 */
static int plan_thaw(struct np_run *run, struct np_error *err)
{
    run->intent.freeze = true;
    if (run->request->quiesce != NP_QUIESCE_REQUIRE)
        return 0;
    return np_fail(
        err, NP_FAILED,
        "the file systems of domain %s may be frozen since an earlier run, and its agent does not thaw "
        "them: they cannot be frozen as --quiesce require demands; nothing was begun",
        np_domain_name(run->domain));
}

int np_run_plan_freeze(struct np_run *run, struct np_error *err)
{
    bool configured = false;
    if (run->frozen_before)
        return plan_thaw(run, err);
    if (run->request->quiesce == NP_QUIESCE_NO)
        return 0;
    if (run->result->guest[0] != '\0' && run->request->quiesce == NP_QUIESCE_REQUIRE)
        return np_fail(
            err, NP_FAILED,
            "domain %s is off, so there is nothing to freeze as --quiesce require demands; nothing "
            "was begun",
            np_domain_name(run->domain));
    if (run->result->guest[0] != '\0')
        return 0;
    if (np_agent_configured(run->domain, &configured, err) < 0)
        return -1;
    if (!configured && run->request->quiesce == NP_QUIESCE_REQUIRE)
        return np_fail(err, NP_FAILED,
                       "domain %s has no channel to a guest agent (org.qemu.guest_agent.0), so its file "
                       "systems cannot be frozen as --quiesce require demands; nothing was begun",
                       np_domain_name(run->domain));
    run->intent.freeze = configured;
    return 0;
}

/* @param why why it is not frozen; it becomes the run's error or a warning. Returns 0 to go on */
static int go_on_without(const struct np_run *run, const struct np_error *why, struct np_error *err)
{
    if (run->request->quiesce == NP_QUIESCE_REQUIRE) {
        *err = *why;
        return np_error_context(err, "--quiesce require");
    }
    np_log_warning("%s; the backup is what a power cut would leave", why->message);
    return 0;
}

/* No longer to be thawed by who comes after us. */
static int note_thawed(struct np_run *run, struct np_error *err)
{
    run->intent.freeze = false;
    np_guardian_thawed(&run->guardian);
    return run->set == NULL ? 0 : np_set_intent_write(run->set, &run->intent, err);
}

/* The agent's silence takes no backup from the guest. */
static int thaw_before(struct np_run *run, struct np_error *err)
{
    struct np_error why = NP_ERROR_INIT;
    bool thawed;
    if (np_agent_thaw(run->domain, &thawed, &why) < 0) {
        np_log_warning("%s", why.message);
        return 0;
    }
    run->frozen_before = false;
    return note_thawed(run, err);
}

static int thaw(struct np_run *run, struct np_error *err)
{
    if (!run->intent.freeze)
        return 0;
    if (run->frozen_before)
        return thaw_before(run, err);
    if (run->frozen) {
        if (np_agent_thaw(run->domain, &run->result->quiesced, err) < 0)
            return -1;
        np_log_debug("domain %s was frozen for %.0f ms", np_domain_name(run->domain),
                     (np_clock_seconds() - run->freeze_began) * 1000);
    }
    run->frozen = false;
    return note_thawed(run, err);
}

static int freeze(struct np_run *run, struct np_error *err)
{
    struct np_error why = NP_ERROR_INIT;
    if (!run->intent.freeze || run->frozen_before)
        return 0;
    /* Once more: begin would wait 30 s for another job's end, and the guest would be frozen all that time. */
    if (np_job_check_free(run->domain, err) < 0)
        return -1;
    run->freeze_began = np_clock_seconds();
    if (np_agent_freeze(run->domain, &run->frozen, &why) == 0)
        return 0;
    bool was = run->frozen;
    if (thaw(run, err) < 0)
        return -1;
    run->result->quiesced = false;
    if (was)
        np_log_debug("after a freeze that failed, the guest is thawed");
    return go_on_without(run, &why, err);
}

/* The guest's own time limit, or an administrator, may have thawed it before begin was done. */
static int check_held(struct np_run *run, struct np_error *err)
{
    struct np_error why = NP_ERROR_INIT;
    if (run->result->quiesced)
        return 0;
    np_fail(&why, NP_FAILED,
            "the file systems of domain %s were thawed by somebody else before the job began",
            np_domain_name(run->domain));
    return go_on_without(run, &why, err);
}

int np_run_begin_frozen(struct np_run *run, struct np_error *err)
{
    if (freeze(run, err) < 0)
        return -1;
    bool frozen = run->frozen;
    int begun = np_cancel_check(run->request->cancel, err) < 0 ? -1 : run->reach->begin(run, err);
    np_clock_now(run->result->time);
    struct np_error why = NP_ERROR_INIT;
    if (thaw(run, &why) < 0) {
        if (begun < 0)
            np_log_warning("%s", why.message);
        else
            *err = why;
        return -1;
    }
    return begun == 0 && frozen ? check_held(run, err) : begun;
}
