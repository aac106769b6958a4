/*
 * The guardian's own side: wait for the run's end or death, then put right what it left.
 */
#include "clock.h"
#include "guardian.h"
#include "recovery.h"

#include "nbdpull/app.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/log.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT_MAX (4u << 20) /* as of the intent in a set */

/*
 * libvirtd may be starting again, or another process may hold an embedded root: nothing tells when that is
 * over. In this time a service manager has restarted it; after it the next run does the rest.
 */
#define TRY_SECONDS 60
#define TRY_AGAIN_MS 300

static void close_virt(struct np_virt **virt)
{
    np_virt_close(*virt);
}

static void free_domain(struct np_domain **domain)
{
    np_domain_free(*domain);
}

static void close_set(struct np_set **set)
{
    np_set_close(*set);
}

/* ---- hearing from the run ---- */

/* @return false at the end of file: the run has ended */
static bool hear(int channel, char *byte)
{
    ssize_t got;
    while ((got = recv(channel, byte, 1, 0)) < 0 && errno == EINTR)
        ;
    return got == 1;
}

/* @param heard out; false: the run died before it had told all, and so before it began anything */
static int hear_intent(int channel, struct np_intent *intent, bool *heard, struct np_error *err)
{
    NP_AUTO_FREE char *text = malloc(TEXT_MAX);
    size_t size = 0;
    *heard = false;
    if (text == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "guardian");
    do {
        if (size == TEXT_MAX || !hear(channel, &text[size]))
            return 0;
    } while (text[size++] != '\0');
    *heard = true;
    return np_intent_decode(text, size - 1, "guardian", intent, err);
}

/* ---- putting right ---- */

struct orphan {
    struct np_intent intent;
    bool begun, commits;
    bool cleared; /* there is a set, and no intent in it: the run has done all, or somebody removed it */
    bool frozen;  /* all else is done, and that has been said */
    struct np_set *set;
};

static void clear_orphan(struct orphan *orphan)
{
    np_intent_clear(&orphan->intent);
}

static int try_once(struct orphan *orphan, struct np_error *err)
{
    NP_CLEANUP(close_virt) struct np_virt *virt = NULL;
    NP_CLEANUP(free_domain) struct np_domain *domain = NULL;
    bool frozen = false;
    if (np_virt_open(orphan->intent.uri, NULL, &virt, err) < 0 ||
        np_domain_find_uuid(virt, &orphan->intent.domain, &domain, err) < 0)
        return -1;
    const struct np_recovery recovery = {.intent = &orphan->intent,
                                         .set = orphan->set,
                                         .domain = domain,
                                         .begun = orphan->begun,
                                         .told = true,
                                         .commits = orphan->commits,
                                         .cleared = orphan->cleared,
                                         .frozen = &frozen,
                                         .again = orphan->frozen};
    if (np_put_right(&recovery, err) < 0)
        return -1;
    orphan->frozen = frozen;
    return frozen ? np_fail(err, NP_FAILED, "the agent of domain %s does not thaw it", np_domain_name(domain))
                  : 0;
}

/* A libvirtd that hangs holds a try until it is ended, and another one is there a moment later. Once: what
 * else lasts so long may last for ever. */
static int put_right(struct orphan *orphan, struct np_error *err)
{
    double began = np_clock_seconds(), until = began + TRY_SECONDS;
    bool hung = false;
    while (try_once(orphan, err) < 0) {
        double now = np_clock_seconds();
        np_log_debug("guardian: %s", err->message);
        if (!hung && now - began > TRY_SECONDS / 2.0) {
            hung = true;
            until = now + TRY_SECONDS;
        }
        if (now > until)
            return -1;
        poll(NULL, 0, TRY_AGAIN_MS);
        began = np_clock_seconds();
        *err = (struct np_error)NP_ERROR_INIT;
    }
    return 0;
}

/* What stands there is nothing to go by: the run has told the same, and nobody can change that. */
static bool has_no_intent(struct np_set *set)
{
    NP_CLEANUP(np_intent_clear) struct np_intent intent = {0};
    struct np_error ignored = NP_ERROR_INIT;
    bool found = true;
    return np_set_intent_read(set, &intent, &found, &ignored) == 0 && !found;
}

/* Without its set too, and without an intent in there, the job must end: its scratch fills the host. */
static int rescue(const char *path, int lock, struct orphan *orphan, struct np_error *err)
{
    NP_CLEANUP(close_set) struct np_set *set = NULL;
    struct np_error why = NP_ERROR_INIT;
    if (path != NULL && np_set_adopt(path, lock, &set, &why) < 0)
        np_log_warning("what the run left in its set stays until the next one: %s", why.message);
    orphan->set = set;
    orphan->cleared = set != NULL && has_no_intent(set);
    if (put_right(orphan, err) < 0)
        return np_error_context(err, "the run was killed, and its guardian gives up");
    return 0;
}

static bool is_socket(int channel)
{
    struct stat st;
    return fstat(channel, &st) == 0 && S_ISSOCK(st.st_mode);
}

int np_app_guardian(const char *set, int channel, int lock, struct np_error *err)
{
    NP_CLEANUP(clear_orphan) struct orphan orphan = {0};
    const char ready = NP_GUARDIAN_READY;
    bool heard;
    char word = 0;
    if (!is_socket(channel))
        return np_fail(err, NP_USAGE, "nbdpull starts its guardian itself, it is not for users");
    prctl(PR_SET_NAME, "nbdpull-guard");
    if (chdir("/") < 0)
        return np_fail_errno(err, NP_FAILED, errno, "/");
    if (hear_intent(channel, &orphan.intent, &heard, err) < 0)
        return -1;
    if (!heard)
        return 0;
    send(channel, &ready, 1, MSG_NOSIGNAL); /* a run that is dead is seen below */
    while (hear(channel, &word) && word != NP_GUARDIAN_END) {
        orphan.begun |= word == NP_GUARDIAN_BEGUN;
        orphan.commits |= word == NP_GUARDIAN_COMMITS;
        orphan.intent.freeze &= word != NP_GUARDIAN_THAWED;
    }
    return word == NP_GUARDIAN_END ? 0 : rescue(set, lock, &orphan, err);
}
