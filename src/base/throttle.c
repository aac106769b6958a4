#include "nbdpull/throttle.h"

#include <time.h>

#define SECOND_NS 1000000000u
#define CREDIT_NS (SECOND_NS / 10)

void np_throttle_init(struct np_throttle *throttle, uint64_t rate)
{
    *throttle = (struct np_throttle){.rate = rate};
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&throttle->closing, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&throttle->lock, NULL);
}

void np_throttle_clear(struct np_throttle *throttle)
{
    pthread_mutex_destroy(&throttle->lock);
    pthread_cond_destroy(&throttle->closing);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

/* When these bytes may have moved; those of the next caller come after them. */
static uint64_t book(struct np_throttle *throttle, uint64_t bytes)
{
    const uint64_t now = now_ns();
    if (throttle->due_ns == 0)
        throttle->due_ns = now;
    else if (throttle->due_ns + CREDIT_NS < now)
        throttle->due_ns = now - CREDIT_NS;
    throttle->due_ns += (uint64_t)((double)bytes / (double)throttle->rate * SECOND_NS);
    return throttle->due_ns;
}

bool np_throttle_take(struct np_throttle *throttle, uint64_t bytes)
{
    if (throttle->rate == 0)
        return true;
    pthread_mutex_lock(&throttle->lock);
    const uint64_t due = book(throttle, bytes);
    const struct timespec until = {.tv_sec = (time_t)(due / SECOND_NS), .tv_nsec = (long)(due % SECOND_NS)};
    while (!throttle->closed && now_ns() < due)
        pthread_cond_timedwait(&throttle->closing, &throttle->lock, &until);
    bool open = !throttle->closed;
    pthread_mutex_unlock(&throttle->lock);
    return open;
}

void np_throttle_close(struct np_throttle *throttle)
{
    pthread_mutex_lock(&throttle->lock);
    throttle->closed = true;
    pthread_cond_broadcast(&throttle->closing);
    pthread_mutex_unlock(&throttle->lock);
}
