#include "nbdpull/bufpool.h"

#include "nbdpull/bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

int np_bufpool_init(struct np_bufpool *pool, size_t count, size_t buffer_size, struct np_error *err)
{
    *pool = (struct np_bufpool){.buffer_size = np_align_up(buffer_size, 4096), .count = count};
    if (np_queue_init(&pool->free_buffers, count, err) < 0)
        return -1;

    uint64_t bytes;
    void *memory = MAP_FAILED;
    if (np_mul_u64(count, pool->buffer_size, &bytes))
        memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        np_bufpool_clear(pool);
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot make %zu buffers of %zu bytes", count,
                             buffer_size);
    }
    pool->memory = memory;
    for (size_t i = 0; i < count; i++)
        np_queue_put(&pool->free_buffers, pool->memory + i * pool->buffer_size);
    return 0;
}

void np_bufpool_clear(struct np_bufpool *pool)
{
    if (pool->memory != NULL)
        munmap(pool->memory, pool->count * pool->buffer_size);
    pool->memory = NULL;
    if (pool->free_buffers.items != NULL)
        np_queue_clear(&pool->free_buffers);
}

void *np_bufpool_get(struct np_bufpool *pool)
{
    return np_queue_take(&pool->free_buffers);
}

void np_bufpool_put(struct np_bufpool *pool, void *buffer)
{
    /* A closed queue refuses: then the buffer's memory goes with the whole pool. */
    if (buffer != NULL)
        np_queue_put(&pool->free_buffers, buffer);
}

void np_bufpool_close(struct np_bufpool *pool)
{
    np_queue_close(&pool->free_buffers);
}
