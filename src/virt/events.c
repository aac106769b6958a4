#include "events.h"

#include "virt_error.h"

#include <errno.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards started */
static bool started;

/* Errors are taken by np_virt_error; without this, libvirt also prints each to standard error. */
static void print_nothing(void *ctx, virErrorPtr error)
{
    (void)ctx;
    (void)error;
}

static void *run(void *ctx)
{
    (void)ctx;
    for (;;) {
        /* It fails only when poll() does; nothing may be dropped then, the next round tries again. */
        if (virEventRunDefaultImpl() < 0)
            sched_yield();
    }
    return NULL;
}

/* Detached, with all signals blocked: those are for the program's own threads. */
static int start_thread(void)
{
    pthread_attr_t attr;
    int failed = pthread_attr_init(&attr);
    if (failed != 0)
        return failed;
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);

    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread;
    failed = pthread_create(&thread, &attr, run, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return failed;
}

/*
 * An embedded driver would log to standard error. virInitialize reads the variable once; it must not stay, a
 * session daemon that libvirt starts for us would take it over. Whoever set one of these wants the log.
 */
static int initialize_without_log(void)
{
    bool ours = getenv("LIBVIRT_LOG_OUTPUTS") == NULL && getenv("LIBVIRT_DEBUG") == NULL;
    if (ours)
        setenv("LIBVIRT_LOG_OUTPUTS", "4:file:/dev/null", 1);
    int result = virInitialize();
    if (ours)
        unsetenv("LIBVIRT_LOG_OUTPUTS");
    return result;
}

static int start(struct np_error *err)
{
    virSetErrorFunc(NULL, print_nothing);
    if (initialize_without_log() < 0 || virEventRegisterDefaultImpl() < 0)
        return np_virt_error(err, "cannot start libvirt");

    int failed = start_thread();
    if (failed != 0)
        return np_fail_errno(err, NP_FAILED, failed, "cannot start the thread of libvirt's events");
    return 0;
}

int np_events_start(struct np_error *err)
{
    pthread_mutex_lock(&lock);
    int result = started ? 0 : start(err);
    started = result == 0;
    pthread_mutex_unlock(&lock);
    return result;
}
