/**
 * @file queue.h
 * A bounded queue of pointers between threads, that can be closed: the one way stages talk.
 */
#ifndef NBDPULL_QUEUE_H
#define NBDPULL_QUEUE_H

#include "nbdpull/error.h"

#include <pthread.h>

struct np_queue {
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t not_empty;
    pthread_cond_t not_full;
    void **items; /* ring of capacity pointers */
    size_t capacity, head, count;
    bool closed;
};

/** @param capacity items, at least 1. NP_FAILED when out of memory. */
int np_queue_init(struct np_queue *queue, size_t capacity, struct np_error *err);

/** Free the ring; no thread may use the queue any more. Items left in it are the caller's concern. */
void np_queue_clear(struct np_queue *queue);

/** Wait for room, then put item. @return false if the queue is closed: the item stays the caller's */
bool np_queue_put(struct np_queue *queue, void *item);

/** Wait for an item. @return NULL once the queue is closed and empty */
void *np_queue_take(struct np_queue *queue);

/** No more items: takers drain what is there and then get NULL, putters get false. May be called twice. */
void np_queue_close(struct np_queue *queue);

#endif
