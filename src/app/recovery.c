#include "recovery.h"

#include "backup_parts.h"
#include "off.h"
#include "workdir.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/log.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define NOTES_MAX 8

/*
 * An intent that is still there belongs to a run that did not come to its end. If its point was committed,
 * only what comes after the commit is left to do; else all that it began is taken back.
 */
struct undoing {
    const struct np_recovery *asked;
    const struct np_intent *intent; /* asked->intent */
    bool active;                    /* the domain runs */
    bool committed, deferred;
    bool needed; /* a committed point has its checkpoint, or may have */
    bool frozen; /* the guest could not be thawed */
    struct np_workdir_holds workdir;
    struct np_error stays;        /* why the directory does not go, or NP_OK */
    struct np_error unread;       /* why the set cannot tell what of it may go, or NP_OK */
    const char *notes[NOTES_MAX]; /* what was there */
    size_t note_count;
};

static void note(struct undoing *undoing, bool was, const char *what)
{
    if (was && undoing->note_count < NOTES_MAX)
        undoing->notes[undoing->note_count++] = what;
}

/* ---- what there is ---- */

static bool has_checkpoint_of(const struct np_points *points, const char *name)
{
    for (size_t i = 0; i < points->count; i++)
        if (strcmp(points->list[i].checkpoint, name) == 0)
            return true;
    return false;
}

struct bad_records {
    const char *own_id;
    bool own;
    struct np_error first;
};

static void note_bad(void *ctx, const char *id, const struct np_error *why)
{
    struct bad_records *bad = ctx;
    bad->own |= id != NULL && strcmp(id, bad->own_id) == 0;
    if (bad->first.class == NP_OK)
        bad->first = *why;
}

/*
 * A record that cannot be read may be the point's own, or name the checkpoint: then nothing is known, unless
 * the run itself has told the intent, and that it was far from its commit.
 */
static void look_at_points(struct undoing *undoing)
{
    const struct np_recovery *asked = undoing->asked;
    const struct np_intent *intent = undoing->intent;
    NP_CLEANUP(np_points_clear) struct np_points points = {0};
    struct bad_records bad = {.own_id = intent->point_id, .first = NP_ERROR_INIT};
    if (asked->set == NULL) {
        undoing->needed = asked->commits;
        return;
    }
    if (np_set_points_good(asked->set, note_bad, &bad, &points, &undoing->unread) < 0)
        return;
    for (size_t i = 0; i < points.count; i++)
        undoing->committed |= strcmp(points.list[i].id, intent->point_id) == 0;
    undoing->needed = intent->checkpoint[0] != '\0' && has_checkpoint_of(&points, intent->checkpoint);
    if (!undoing->committed && (bad.own || asked->commits || !asked->told))
        undoing->unread = bad.first;
}

/* A checkpoint that this set has made where it is now. */
static bool is_of_set(struct np_set *set, const char *name)
{
    char prefix[64];
    int length = snprintf(prefix, sizeof(prefix), NP_CHECKPOINT_PREFIX "%s-", np_set_short_id(set));
    return strncmp(name, prefix, (size_t)length) == 0;
}

/*
 * The file may have been copied with its set while the run was at work, or changed. What another run has
 * begun may be at work still.
 */
static bool is_ours(const struct np_recovery *asked)
{
    const struct np_intent *intent = asked->intent;
    if (!np_workdir_is_socket(intent->work_dir, intent->socket) || np_workdir_is_used(intent->work_dir))
        return false;
    if (asked->domain != NULL) {
        struct np_uuid domain = np_domain_uuid(asked->domain);
        if (!np_uuid_equal(&intent->domain, &domain))
            return false;
    }
    if (asked->set == NULL || asked->told)
        return true;
    return (intent->home[0] == '\0' || strcmp(intent->home, np_set_short_id(asked->set)) == 0) &&
           (intent->checkpoint[0] == '\0' || is_of_set(asked->set, intent->checkpoint));
}

static bool is_listed(const struct np_names *names, const char *name)
{
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->list[i], name) == 0)
            return true;
    return false;
}

static int has_checkpoint(struct np_domain *domain, const char *name, bool *has, struct np_error *err)
{
    NP_CLEANUP(np_names_clear) struct np_names names = {0};
    *has = false;
    if (domain == NULL || name[0] == '\0')
        return 0;
    if (np_checkpoint_list(domain, name, &names, err) < 0)
        return -1;
    *has = is_listed(&names, name);
    return 0;
}

static int look(struct undoing *undoing, struct np_error *err)
{
    const struct np_recovery *asked = undoing->asked;
    if (asked->domain != NULL && np_domain_is_active(asked->domain, &undoing->active, err) < 0)
        return -1;
    look_at_points(undoing);
    return 0;
}

/* ---- the steps ---- */

/* An agent that does not answer must not stop every later run: the next one tries again. */
static int thaw_guest(struct undoing *undoing, struct np_error *err)
{
    struct np_error why = NP_ERROR_INIT;
    bool thawed = false;
    (void)err;
    if (!undoing->active || !undoing->intent->freeze)
        return 0;
    undoing->frozen = np_agent_thaw(undoing->asked->domain, &thawed, &why) < 0;
    if (undoing->frozen && !undoing->asked->again)
        np_log_warning("%s", why.message);
    note(undoing, thawed, "frozen guest");
    return 0;
}

/* A checkpoint that is there was made by begin when it had got the domain's lock: it does not queue for it.
 */
static int await_begin(struct undoing *undoing, struct np_error *err)
{
    struct np_domain *domain = undoing->asked->domain;
    bool known;
    if (!undoing->active || undoing->asked->begun || undoing->committed || undoing->intent->by_images)
        return 0;
    if (has_checkpoint(domain, undoing->intent->checkpoint, &known, err) < 0)
        return -1;
    return known ? 0 : np_job_await_begin(domain, undoing->intent->socket, undoing->asked->cancel, err);
}

/* Before the job ends: libvirt removes the scratch with it. */
static int look_at_workdir(struct undoing *undoing, struct np_error *err)
{
    (void)err;
    np_workdir_look(undoing->intent->work_dir, &undoing->workdir);
    return 0;
}

static int end_job(struct undoing *undoing, struct np_error *err)
{
    struct np_domain *domain = undoing->asked->domain;
    const char *socket = undoing->intent->socket;
    NP_AUTO_FREE char *running = NULL;
    if (!undoing->active)
        return 0;
    if (np_job_running_socket(domain, &running, err) < 0 || np_job_end_by_socket(domain, socket, err) < 0)
        return -1;
    note(undoing, running != NULL && strcmp(running, socket) == 0, "job");
    return 0;
}

/* Scratch that nobody guarded may have filled up. The guest's writes are tried again, now without the job. */
static int resume_guest(struct undoing *undoing, struct np_error *err)
{
    struct np_domain *domain = undoing->asked->domain;
    bool resumed;
    if (!undoing->active || !undoing->intent->guest_ran)
        return 0;
    if (np_domain_resume_after_io_error(domain, &resumed, err) < 0)
        return -1;
    if (resumed)
        np_log_warning(
            "domain '%s' was paused by an I/O error of the host after the run of %s began; its backup "
            "job is over, and the guest goes on",
            np_domain_name(domain), undoing->intent->started);
    return 0;
}

/* What is no intent or no list of ours stops no run: prune and the removal of debris find what it named. */
static int cannot_read(struct np_error *err, const char *what)
{
    if (err->class != NP_DAMAGED)
        return -1;
    np_log_warning("%s; %s", err->message, what);
    *err = (struct np_error)NP_ERROR_INIT;
    return 0;
}

static int read_deferred(struct np_set *set, struct np_names *names, struct np_error *err)
{
    if (np_set_deferred_read(set, names, err) == 0)
        return 0;
    const struct np_names none = {0};
    np_names_clear(names);
    if (cannot_read(err, "removed, for checkpoints that no point needs are removed after each backup") < 0)
        return -1;
    return np_set_deferred_write(set, &none, err);
}

static int defer_checkpoint(struct undoing *undoing, struct np_error *err)
{
    struct np_set *set = undoing->asked->set;
    NP_CLEANUP(np_names_clear) struct np_names names = {0};
    undoing->deferred = set != NULL;
    if (set == NULL) /* its guardian could not open it: the intent is there for the next run */
        return 0;
    if (read_deferred(set, &names, err) < 0)
        return -1;
    if (is_listed(&names, undoing->intent->checkpoint))
        return 0;
    return np_names_add(&names, undoing->intent->checkpoint, err) < 0
               ? -1
               : np_set_deferred_write(set, &names, err);
}

/* Its file system may come back, with a bitmap that records for ever. */
static bool is_image_away(const struct np_intent *intent)
{
    for (size_t i = 0; i < intent->image_count; i++)
        if (access(intent->images[i].path, F_OK) < 0)
            return true;
    return false;
}

/* While the images are in nobody's hands, or by libvirt if the guest was started since. */
static int take_back_bitmaps(struct undoing *undoing, struct np_error *err)
{
    bool was = false;
    if (undoing->committed || undoing->needed)
        return 0;
    if (undoing->asked->domain != NULL && !undoing->active && is_image_away(undoing->intent))
        return defer_checkpoint(undoing, err);
    if (np_off_take_back(undoing->asked->domain, undoing->intent, &was, err) < 0)
        return -1;
    note(undoing, was, "checkpoint");
    return 0;
}

/* @param was out; there was one, if only as bitmaps that libvirt has forgotten */
static int delete_found(struct np_domain *domain, bool active, const char *name, bool *was,
                        struct np_error *err)
{
    if (has_checkpoint(domain, name, was, err) < 0 ||
        (active && !*was && np_checkpoint_recall(domain, name, was, err) < 0))
        return -1;
    return active && !*was ? 0 : np_off_delete_checkpoint(domain, name, err);
}

/* One that does not go must not stop every later run, nor be forgotten. */
static int delete_checkpoint(struct undoing *undoing, struct np_error *err)
{
    struct np_domain *domain = undoing->asked->domain;
    const char *name = undoing->intent->checkpoint;
    if (undoing->committed || undoing->needed || undoing->intent->by_images || name[0] == '\0')
        return 0;
    if (domain == NULL)
        return defer_checkpoint(undoing, err);
    struct np_error why = NP_ERROR_INIT;
    bool was = false;
    if (delete_found(domain, undoing->active, name, &was, &why) == 0) {
        note(undoing, was, "checkpoint");
        return 0;
    }
    if (undoing->active)
        np_log_warning("%s", why.message);
    return defer_checkpoint(undoing, err);
}

/* Its checkpoint went while it ran. One that has run is somebody's. */
static int stop_guest(struct undoing *undoing, struct np_error *err)
{
    struct np_domain *domain = undoing->asked->domain;
    enum np_stopped how;
    if (!undoing->active || !undoing->intent->guest_started)
        return 0;
    const char *name = np_domain_name(domain), *started = undoing->intent->started;
    if (np_domain_stop_paused(domain, undoing->intent->socket, &how, err) < 0)
        return -1;
    note(undoing, how == NP_STOPPED, "paused guest");
    if (how == NP_STOPPED_HAS_RUN)
        np_log_warning(
            "domain '%s' was started paused by the run of %s, and has run since then or may have: it is "
            "left as it is; `virsh resume %s` lets it go on, `virsh destroy %s` ends it",
            name, started, name, name);
    else if (how == NP_STOPPED_NOT_OURS)
        np_log_warning(
            "domain '%s' is paused; if it was off before the run of %s, that run may have started it, and "
            "`virsh destroy %s` ends it",
            name, started, name);
    return 0;
}

static int remove_streams(struct undoing *undoing, struct np_error *err)
{
    struct np_set *set = undoing->asked->set;
    bool has;
    if (set == NULL || undoing->committed)
        return 0;
    if (np_set_has_point_files(set, undoing->intent->point_id, &has, err) < 0 ||
        np_set_remove_point_files(set, undoing->intent->point_id, err) < 0)
        return -1;
    note(undoing, has, "partial streams");
    return 0;
}

/* A directory that does not go holds nothing that a later run needs: it must not stop them all. */
static int remove_workdir(struct undoing *undoing, struct np_error *err)
{
    const struct np_workdir_holds *held = &undoing->workdir;
    (void)err;
    note(undoing, held->socket, "socket");
    note(undoing, held->scratch, "scratch");
    note(undoing, held->directory && !held->socket && !held->scratch, "scratch directory");
    if (undoing->intent->work_dir[0] != '\0')
        np_workdir_remove(undoing->intent->work_dir, &undoing->stays);
    return 0;
}

/*
 * In this order: the guest and its host first, then what lies in images and set. What becomes of the points
 * must be known only for what a point may need: whatever happened to the set, the job ends.
 */
static const struct {
    int (*act)(struct undoing *undoing, struct np_error *err);
    bool asks_points;
} steps[] = {
    {thaw_guest, false},   {await_begin, false},    {look_at_workdir, false},  {end_job, false},
    {resume_guest, false}, {remove_workdir, false}, {take_back_bitmaps, true}, {delete_checkpoint, true},
    {stop_guest, false},   {remove_streams, true},
};

static int act(struct undoing *undoing, struct np_error *err)
{
    for (size_t i = 0; i < NP_ARRAY_SIZE(steps); i++)
        if ((!steps[i].asks_points || undoing->unread.class == NP_OK) && steps[i].act(undoing, err) < 0)
            return np_error_context(err, "what the run of %s left cannot be put right",
                                    undoing->intent->started);
    return 0;
}

/* ---- in words ---- */

static void join(const struct undoing *undoing, char *text, size_t room)
{
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < undoing->note_count && used < room; i++) {
        const char *between = i == 0 ? "" : i + 1 < undoing->note_count ? ", " : " and ";
        used += (size_t)snprintf(text + used, room - used, "%s%s", between, undoing->notes[i]);
    }
}

static void tell(const struct undoing *undoing)
{
    const struct np_intent *intent = undoing->intent;
    char line[4096], gone[256];
    join(undoing, gone, sizeof(gone));
    bool one = undoing->note_count == 1 && strcmp(gone, "partial streams") != 0;
    int used = snprintf(line, sizeof(line), "the run of %s did not come to its end", intent->started);
    if (undoing->committed)
        used += snprintf(line + used, sizeof(line) - (size_t)used, ", but its point %s is committed",
                         intent->point_id);
    if (gone[0] == '\0')
        used += snprintf(line + used, sizeof(line) - (size_t)used, ": nothing of it was left");
    else
        used += snprintf(line + used, sizeof(line) - (size_t)used, ": its %s %s gone now", gone,
                         one ? "is" : "are");
    if (undoing->deferred)
        snprintf(line + used, sizeof(line) - (size_t)used,
                 "; its checkpoint %s will be deleted once the domain runs", intent->checkpoint);
    if (undoing->stays.class != NP_OK)
        np_log_warning("%s; remove its directory by hand: %s", line, undoing->stays.message);
    else if ((!undoing->asked->cleared && !undoing->asked->again) || undoing->note_count > 0)
        np_log_info("%s", line);
}

/* Who asked for the reason says it himself. */
static void tell_unread(const struct undoing *undoing)
{
    if (undoing->unread.class == NP_OK)
        return;
    bool said = undoing->asked->unread != NULL;
    np_log_warning(
        "checkpoint and streams of the run of %s stay until the points of the set can be read: then "
        "the next backup removes them, if no point needs them%s%s",
        undoing->intent->started, said ? "" : ": ", said ? "" : undoing->unread.message);
}

/* Its streams, if there are any, are debris like others. */
static int leave_alone(const struct np_recovery *recovery, struct np_error *err)
{
    const char *name = recovery->domain != NULL ? np_domain_name(recovery->domain) : "";
    if (recovery->set == NULL)
        return 0;
    np_log_warning(
        "%s/intent.json tells of a run (%s) that was not into this set where it is now: the set "
        "was copied or moved meanwhile, or the file was changed. What that run began is left alone; "
        "if it is dead, see `virsh domjobinfo %s` and `nbdpull checkpoints -d %s`, and remove %s",
        np_set_path(recovery->set), recovery->intent->started, name, name, recovery->intent->work_dir);
    return np_set_intent_clear(recovery->set, err);
}

int np_put_right(const struct np_recovery *recovery, struct np_error *err)
{
    struct undoing undoing = {
        .asked = recovery, .intent = recovery->intent, .stays = NP_ERROR_INIT, .unread = NP_ERROR_INIT};
    if (!is_ours(recovery))
        return leave_alone(recovery, err);
    if (look(&undoing, err) < 0 || act(&undoing, err) < 0)
        return -1;
    bool done = !undoing.frozen && undoing.unread.class == NP_OK;
    if (recovery->frozen != NULL)
        *recovery->frozen = undoing.frozen;
    if (recovery->unread != NULL)
        *recovery->unread = undoing.unread;
    if (recovery->set != NULL && done && np_set_intent_clear(recovery->set, err) < 0)
        return -1;
    tell(&undoing);
    tell_unread(&undoing);
    return 0;
}

/* ---- at the start of a run ---- */

/* The list is a file that somebody may have changed, or copied with the set. */
static int may_delete(struct np_set *set, const char *name, bool *may, struct np_error *err)
{
    NP_CLEANUP(np_points_clear) struct np_points points = {0};
    if (np_set_points(set, &points, err) < 0)
        return -1;
    *may = is_of_set(set, name) && !has_checkpoint_of(&points, name);
    if (!*may)
        np_log_warning(
            "%s/deferred.json: checkpoint %s is not one of a run into this set that failed; it stays",
            np_set_path(set), name);
    return 0;
}

/* @param keep out; the name stays on the list */
static int delete_one(struct np_set *set, struct np_domain *domain, bool active, const char *name, bool *keep,
                      struct np_error *err)
{
    struct np_error why = NP_ERROR_INIT;
    bool may, was;
    *keep = false;
    if (may_delete(set, name, &may, err) < 0)
        return -1;
    if (!may)
        return 0;
    *keep = delete_found(domain, active, name, &was, &why) < 0;
    if (*keep && active)
        np_log_warning("%s", why.message);
    if (!*keep && (was || !active))
        np_log_info("checkpoint %s is gone now: its run was ended while the domain was off", name);
    return 0;
}

static int delete_deferred(struct np_set *set, struct np_domain *domain, struct np_error *err)
{
    NP_CLEANUP(np_names_clear) struct np_names names = {0}, left = {0};
    bool active;
    if (read_deferred(set, &names, err) < 0)
        return -1;
    if (names.count == 0)
        return 0;
    if (np_domain_is_active(domain, &active, err) < 0)
        return -1;
    for (size_t i = 0; i < names.count; i++) {
        bool keep;
        if (delete_one(set, domain, active, names.list[i], &keep, err) < 0 ||
            (keep && np_names_add(&left, names.list[i], err) < 0))
            return -1;
    }
    return np_set_deferred_write(set, &left, err);
}

int np_recover(struct np_set *set, struct np_domain *domain, struct np_cancel *cancel, bool *frozen,
               struct np_error *err)
{
    NP_CLEANUP(np_intent_clear) struct np_intent intent = {0};
    struct np_error unread = NP_ERROR_INIT;
    const struct np_recovery recovery = {.intent = &intent,
                                         .set = set,
                                         .domain = domain,
                                         .cancel = cancel,
                                         .frozen = frozen,
                                         .unread = &unread};
    bool found = false;
    *frozen = false;
    if (np_set_intent_read(set, &intent, &found, err) < 0) {
        if (cannot_read(err, "removed: a job that a killed run has left must be ended by hand (virsh "
                             "domjobabort), its checkpoint and streams go by themselves") < 0 ||
            np_set_intent_clear(set, err) < 0)
            return -1;
    } else if (found && np_put_right(&recovery, err) < 0) {
        return -1;
    }
    if (unread.class != NP_OK) { /* this run would write its own intent over the one that must stay */
        *err = unread;
        return -1;
    }
    return delete_deferred(set, domain, err);
}
