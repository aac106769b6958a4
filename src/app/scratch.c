/*
 * The scratch guard. What the guest overwrites while the job runs is copied to the scratch files first, and
 * when their file system is full the guest's writes fail. So before that the backup ends itself.
 *
 * A thread looks at the free space whenever something happened that may have used it: a scratch file has
 * grown past its threshold, our own stream has grown, the domain has had an I/O error. What may be used until
 * the next look is at most half of what is left, for all disks together; nothing is looked at by the clock.
 * Our stream can be faster than that thread, so the one that writes it looks by itself too.
 */
#include "backup_parts.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/log.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define EMPTY_SCRATCH (256u << 10) /* an empty one has 196616 bytes */
#define LOOK_MIN (64u << 10)       /* one cluster of a scratch file */
#define LOOK_MAX (1u << 30)        /* others use the file system too, and nobody says so */

struct np_guard {
    const struct np_run *run; /* what does not change while the job runs */
    pthread_t thread;
    bool running; /* the thread is to be joined */
    atomic_bool stop;
    uint64_t look_at; /* of the thread that writes: it looks when our streams have come to that */
    /* The thread's until it is joined: */
    bool blind;    /* it was said that a scratch file cannot be watched */
    bool gave_up;  /* it has ended the job */
    uint64_t used; /* by the scratch files then */
    struct np_error error;
};

/* ---- how much there is ---- */

#define SIZE_TEXT 32

static const char *size_text(uint64_t bytes, char text[SIZE_TEXT])
{
    if (bytes < 10u << 20)
        snprintf(text, SIZE_TEXT, "%" PRIu64 " KiB", bytes >> 10);
    else
        snprintf(text, SIZE_TEXT, "%" PRIu64 " MiB", bytes >> 20);
    return text;
}

/* What an ordinary user gets: QEMU seldom is root, and should not live on root's share where it is. */
static int free_space(const char *place, uint64_t *bytes, struct np_error *err)
{
    struct statvfs fs;
    if (statvfs(place, &fs) < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot ask for its free space", place);
    *bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    return 0;
}

/* A guest seldom overwrites faster than the backup reads: if what is to be read has room, all is well. */
static void compare_with_disks(struct np_run *run, uint64_t room)
{
    uint64_t total = 0;
    for (size_t i = 0; i < run->disk_count; i++) {
        struct np_error ignored = NP_ERROR_INIT;
        uint64_t bytes;
        bool allocated;
        if (np_run_expect(run, &run->disks[i], &bytes, &allocated, &ignored) < 0 ||
            !np_add_u64(total, bytes, &total))
            return;
    }
    char has[SIZE_TEXT], reads[SIZE_TEXT];
    np_log_debug("scratch: %s may be used in %s, about %s are to be read", size_text(room, has),
                 run->scratch_place, size_text(total, reads));
    if (room < total && !run->estimate)
        np_log_info(
            "scratch may take %s in %s, and about %s are to be read: if the guest overwrites more than "
            "the scratch takes meanwhile, the backup ends itself (see --scratch-dir)",
            has, run->scratch_place, reads);
}

int np_run_check_scratch(struct np_run *run, struct np_error *err)
{
    uint64_t reserve = run->request->scratch_reserve, empty = run->disk_count * (uint64_t)EMPTY_SCRATCH;
    uint64_t bytes = 0;
    if (free_space(run->scratch_place, &bytes, err) < 0)
        return -1;
    if (bytes > empty && bytes - empty > reserve) {
        compare_with_disks(run, bytes - empty - reserve);
        return 0;
    }
    char has[SIZE_TEXT], keeps[SIZE_TEXT], needs[SIZE_TEXT];
    return np_fail(
        err, NP_FAILED,
        "%s: no space for scratch: %s are free, %s of them are kept in reserve (--scratch-reserve) "
        "and empty scratch files take %s; free some, or take another place with --scratch-dir",
        run->scratch_place, size_text(bytes, has), size_text(reserve, keeps), size_text(empty, needs));
}

/* ---- the thread ---- */

/* A job that is over needs no guard: the one who reads finds out why. */
static void say_blind(struct np_guard *guard, const struct np_error *why)
{
    struct np_error over = NP_ERROR_INIT;
    if (np_job_check_ours(guard->run->job, &over) < 0)
        return;
    if (!guard->blind)
        np_log_warning("scratch is guarded only as the backup grows, not as the guest writes: %s",
                       why->message);
    guard->blind = true;
}

/* The next event comes when the file has grown by `step`. */
static int watch_file(struct np_guard *guard, const struct np_run_disk *disk, uint64_t step,
                      struct np_error *err)
{
    struct stat st;
    bool armed;
    if (stat(disk->scratch, &st) < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot look at it", disk->scratch);
    return np_job_watch_scratch(guard->run->job, disk->domain_disk->target, (uint64_t)st.st_size + step,
                                &armed, err);
}

/* A libvirtd that was restarted has the job: asking whose it is connects to the new one. */
static void arm(struct np_guard *guard, const struct np_run_disk *disk, uint64_t step)
{
    struct np_error err = NP_ERROR_INIT, again = NP_ERROR_INIT;
    if (watch_file(guard, disk, step, &err) == 0 || np_job_check_ours(guard->run->job, &err) < 0)
        return;
    if (watch_file(guard, disk, step, &again) < 0)
        say_blind(guard, &again);
}

/* How much one of several that fill the room may write until the next look. */
static uint64_t share_of(uint64_t room, size_t sharers)
{
    uint64_t share = room / 2 < LOOK_MAX ? room / 2 : LOOK_MAX;
    share /= sharers;
    return share > LOOK_MIN ? share : LOOK_MIN;
}

static void say_why(const struct np_run *run, uint64_t bytes, const struct np_job_news *news,
                    struct np_error *err)
{
    const char *name = np_domain_name(run->domain);
    char has[SIZE_TEXT], keeps[SIZE_TEXT];
    size_text(bytes, has);
    size_text(run->request->scratch_reserve, keeps);
    if (news->guest_paused)
        np_fail(
            err, NP_FAILED,
            "an I/O error of the host paused domain '%s' during the backup (%s are free for scratch in %s), "
            "so the backup ended itself; see --scratch-dir",
            name, has, run->scratch_place);
    else
        np_fail(err, NP_FAILED,
                "the scratch of domain '%s' has no more space: %s are free in %s, %s are kept in reserve "
                "(--scratch-reserve). The backup ended itself %s; free some, or take a larger place with "
                "--scratch-dir",
                name, has, run->scratch_place, keeps,
                news->guest_failed ? "when writes of the guest had failed"
                                   : "before writes of the guest fail");
}

/*
 * The job is ended here and at once: the thread that reads may be in a long fsync. First the reason, or its
 * reads would fail for another.
 */
static void give_up(struct np_guard *guard, uint64_t bytes, const struct np_job_news *news)
{
    struct np_job *job = guard->run->job;
    struct np_error err = NP_ERROR_INIT;
    say_why(guard->run, bytes, news, &guard->error);
    guard->gave_up = true;
    np_cancel_fail(guard->run->request->cancel, &guard->error);
    if (np_job_scratch_used(job, &guard->used, &err) < 0)
        np_log_debug("%s", err.message);
    err = (struct np_error)NP_ERROR_INIT;
    if (np_job_end(job, &err) < 0) /* the unwinding tries again */
        np_log_debug("%s", err.message);
}

/* @return false when there is nothing to guard any more */
static bool look(struct np_guard *guard, const struct np_job_news *news)
{
    struct np_error err = NP_ERROR_INIT;
    uint64_t bytes = 0, reserve = guard->run->request->scratch_reserve;
    if (news->domain_ended)
        return false;
    if (free_space(guard->run->scratch_place, &bytes, &err) < 0) {
        say_blind(guard, &err);
        return false;
    }
    np_log_debug("scratch: %" PRIu64 " bytes are free", bytes);
    if (bytes <= reserve || news->guest_paused) {
        give_up(guard, bytes, news);
        return false;
    }
    const struct np_run *run = guard->run;
    for (size_t i = 0; i < run->disk_count; i++)
        arm(guard, &run->disks[i], share_of(bytes - reserve, run->disk_count + 1));
    return true;
}

static void *guard_thread(void *ctx)
{
    struct np_guard *guard = ctx;
    for (;;) {
        struct np_job_news news;
        np_job_news(guard->run->job, &news);
        if (atomic_load(&guard->stop) || !look(guard, &news))
            return NULL;
        np_job_wait(guard->run->job, news.count);
    }
}

/* ---- for the thread of the backup ---- */

int np_run_guard_begin(struct np_run *run, struct np_error *err)
{
    struct np_guard *guard = calloc(1, sizeof(*guard));
    if (guard == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot guard the scratch");
    guard->run = run;
    guard->error = (struct np_error)NP_ERROR_INIT;
    atomic_init(&guard->stop, false);
    run->guard = guard;
    int failed = pthread_create(&guard->thread, NULL, guard_thread, guard);
    if (failed != 0)
        return np_fail_errno(err, NP_FAILED, failed, "cannot start the thread that guards the scratch");
    guard->running = true;
    return 0;
}

void np_run_guard_wrote(struct np_run *run, uint64_t bytes)
{
    struct np_guard *guard = run->guard;
    struct np_error why = NP_ERROR_INIT;
    uint64_t left = 0, reserve = run->request->scratch_reserve;
    if (guard == NULL || bytes < guard->look_at)
        return;
    guard->look_at = UINT64_MAX;
    if (free_space(run->scratch_place, &left, &why) < 0)
        return;
    if (left > reserve)
        guard->look_at = bytes + share_of(left - reserve, run->disk_count + 1);
    else {
        struct np_job_news news;
        np_job_news(run->job, &news);
        say_why(run, left, &news, &why);
        np_cancel_fail(run->request->cancel, &why);
    }
    np_job_wake(run->job); /* the thresholds are as far away as suited what was left before */
}

int np_run_guard_end(struct np_run *run, struct np_error *err)
{
    struct np_guard *guard = run->guard;
    if (guard == NULL)
        return 0;
    if (guard->running) {
        atomic_store(&guard->stop, true);
        np_job_wake(run->job);
        pthread_join(guard->thread, NULL);
        guard->running = false;
    }
    if (!guard->gave_up)
        return 0;
    run->result->scratch_bytes = guard->used;
    if (np_cancel_check(run->request->cancel, err) == 0) /* there was nobody to ask */
        *err = guard->error;
    return -1;
}

void np_run_free_guard(struct np_run *run)
{
    struct np_error ignored = NP_ERROR_INIT;
    np_run_guard_end(run, &ignored);
    free(NP_STEAL(run->guard));
}

void np_run_blame_guard(struct np_run *run, struct np_error *err)
{
    struct np_error reason = NP_ERROR_INIT;
    if (np_run_guard_end(run, &reason) < 0)
        *err = reason;
}

void np_run_resume_guest(struct np_run *run)
{
    struct np_error err = NP_ERROR_INIT;
    bool resumed = false;
    if (!run->guest_ran || run->job == NULL)
        return;
    if (np_job_resume_guest(run->job, &resumed, &err) < 0)
        np_log_warning("%s", err.message);
    if (resumed)
        np_log_warning(
            "domain '%s' was paused by an I/O error of the host while the backup ran; the backup job "
            "is over, and the guest goes on",
            np_domain_name(run->domain));
}
