/**
 * @file bufpool.h
 * The fixed pool of equal buffers of the data path: made at the start, never grown. A buffer has one owner
 * at a time.
 */
#ifndef NBDPULL_BUFPOOL_H
#define NBDPULL_BUFPOOL_H

#include "nbdpull/queue.h"

struct np_bufpool {
    struct np_queue free_buffers;
    uint8_t *memory;
    size_t buffer_size;
    size_t count;
};

/**
 * @param count       buffers, at least 1
 * @param buffer_size bytes of each; each begins on a page
 */
int np_bufpool_init(struct np_bufpool *pool, size_t count, size_t buffer_size, struct np_error *err);

/** All buffers must be back or forgotten: their memory goes. Takes a zeroed struct too. */
void np_bufpool_clear(struct np_bufpool *pool);

/** Wait for a free buffer. @return owned until np_bufpool_put; NULL once the pool is closed */
void *np_bufpool_get(struct np_bufpool *pool);

/** Give a buffer back. @param buffer taken; NULL is nothing */
void np_bufpool_put(struct np_bufpool *pool, void *buffer);

/** Wake every waiter of np_bufpool_get with NULL; used when a stage failed. */
void np_bufpool_close(struct np_bufpool *pool);

#endif
