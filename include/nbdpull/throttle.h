/**
 * @file throttle.h
 * A rate that is kept between threads: each asks before it moves bytes, and waits until they are due. Can be
 * closed, like a queue, which wakes whoever waits.
 */
#ifndef NBDPULL_THROTTLE_H
#define NBDPULL_THROTTLE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct np_throttle {
    uint64_t rate;        /* bytes a second; 0: no limit */
    pthread_mutex_t lock; /* guards the rest */
    pthread_cond_t closing;
    uint64_t due_ns; /* when all bytes that were asked for may have moved */
    bool closed;
};

/** @param rate bytes a second; 0: no limit, nobody ever waits */
void np_throttle_init(struct np_throttle *throttle, uint64_t rate);

/** No thread may use it any more. */
void np_throttle_clear(struct np_throttle *throttle);

/**
 * Wait until `bytes` more may be moved. A tenth of a second that was not used is made up for, so that the
 * rate is kept by who comes late now and then; more is lost, so that no burst follows a pause.
 * @return false once it is closed
 */
bool np_throttle_take(struct np_throttle *throttle, uint64_t bytes);

/** From any thread, any number of times: nobody waits any more. */
void np_throttle_close(struct np_throttle *throttle);

#endif
