#include "signals.h"

#include <pthread.h>
#include <signal.h>

static sigset_t watched;

static void *wait_for_signals(void *ctx)
{
    struct np_cancel *cancel = ctx;
    for (int signal; sigwait(&watched, &signal) == 0;)
        np_cancel_request(cancel, signal);
    return NULL;
}

/* nohup and shells without job control leave signals ignored: that is kept. */
static void watch(int signal)
{
    struct sigaction action;
    if (sigaction(signal, NULL, &action) == 0 && action.sa_handler != SIG_IGN)
        sigaddset(&watched, signal);
}

int np_signals_start(struct np_cancel *cancel, struct np_error *err)
{
    sigemptyset(&watched);
    watch(SIGINT);
    watch(SIGTERM);
    watch(SIGHUP);
    pthread_sigmask(SIG_BLOCK, &watched, NULL);

    /* A reader of our output that went away is an error of write(), not our end. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* nor is a file that grew to ulimit -f */

    pthread_t thread;
    int failed = pthread_create(&thread, NULL, wait_for_signals, cancel);
    if (failed != 0)
        return np_fail_errno(err, NP_FAILED, failed, "cannot start the thread that waits for signals");
    pthread_detach(thread);
    return 0;
}
