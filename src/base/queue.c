#include "nbdpull/queue.h"

#include <errno.h>
#include <stdlib.h>

int np_queue_init(struct np_queue *queue, size_t capacity, struct np_error *err)
{
    *queue = (struct np_queue){.capacity = capacity};
    pthread_mutex_init(&queue->lock, NULL);
    pthread_cond_init(&queue->not_empty, NULL);
    pthread_cond_init(&queue->not_full, NULL);
    queue->items = calloc(capacity, sizeof(*queue->items));
    if (queue->items == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot make a queue of %zu items", capacity);
    return 0;
}

void np_queue_clear(struct np_queue *queue)
{
    free(queue->items);
    queue->items = NULL;
    pthread_cond_destroy(&queue->not_full);
    pthread_cond_destroy(&queue->not_empty);
    pthread_mutex_destroy(&queue->lock);
}

bool np_queue_put(struct np_queue *queue, void *item)
{
    pthread_mutex_lock(&queue->lock);
    while (!queue->closed && queue->count == queue->capacity)
        pthread_cond_wait(&queue->not_full, &queue->lock);
    bool put = !queue->closed;
    if (put) {
        queue->items[(queue->head + queue->count) % queue->capacity] = item;
        queue->count++;
        pthread_cond_signal(&queue->not_empty);
    }
    pthread_mutex_unlock(&queue->lock);
    return put;
}

void *np_queue_take(struct np_queue *queue)
{
    void *item = NULL;
    pthread_mutex_lock(&queue->lock);
    while (!queue->closed && queue->count == 0)
        pthread_cond_wait(&queue->not_empty, &queue->lock);
    if (queue->count > 0) {
        item = queue->items[queue->head];
        queue->head = (queue->head + 1) % queue->capacity;
        queue->count--;
        pthread_cond_signal(&queue->not_full);
    }
    pthread_mutex_unlock(&queue->lock);
    return item;
}

void np_queue_close(struct np_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    queue->closed = true;
    pthread_cond_broadcast(&queue->not_empty);
    pthread_cond_broadcast(&queue->not_full);
    pthread_mutex_unlock(&queue->lock);
}
