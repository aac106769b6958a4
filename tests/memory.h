/*
 * Memory in the place of a disk, a stream file and an image, with faults on demand. Only for what real
 * servers do not show when asked: the engines run against the real ones in the end-to-end tests.
 */
#ifndef NBDPULL_TEST_MEMORY_H
#define NBDPULL_TEST_MEMORY_H

#include "nbdpull/bytes.h"
#include "nbdpull/source.h"
#include "nbdpull/stream.h"
#include "nbdpull/target.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* ---- a disk that is read ---- */

struct memory_disk {
    uint8_t *bytes;
    uint64_t size;
    const struct np_extent *extents; /* what block status says; NULL: all data */
    size_t extent_count;
    uint64_t cut;       /* answers of block status end at multiples of this; 0: no cut */
    uint64_t fail_read; /* reading this byte fails; NP_NO_OFFSET: none */
    uint64_t fail_extents;
    atomic_uint reads, open_readers;
    atomic_bool interrupted;
    void (*on_read)(void *ctx); /* called at each read */
    void *on_read_ctx;
};

static inline int memory_reader_open(void *ctx, void **reader, struct np_error *err)
{
    struct memory_disk *disk = ctx;
    if (disk->interrupted)
        return np_fail(err, NP_FAILED, "interrupted");
    disk->open_readers++;
    *reader = disk;
    return 0;
}

static inline void memory_reader_close(void *reader)
{
    if (reader != NULL)
        ((struct memory_disk *)reader)->open_readers--;
}

static inline int memory_extents(void *reader, uint64_t offset, uint64_t length, struct np_extent *out,
                                 size_t room, size_t *count, struct np_error *err)
{
    struct memory_disk *disk = reader;
    uint64_t end = offset + length;
    if (disk->cut != 0)
        end = np_min_u64(end, (offset / disk->cut + 1) * disk->cut);
    *count = 0;
    if (disk->fail_extents >= offset && disk->fail_extents < end)
        return np_fail(err, NP_FAILED, "injected: block status");
    if (disk->extents == NULL) {
        out[(*count)++] = (struct np_extent){offset, end - offset, NP_EXTENT_DIRTY};
        return 0;
    }
    for (size_t i = 0; i < disk->extent_count && *count < room; i++) {
        const struct np_extent *e = &disk->extents[i];
        uint64_t from = np_max_u64(e->offset, offset), to = np_min_u64(e->offset + e->length, end);
        if (from < to)
            out[(*count)++] = (struct np_extent){from, to - from, e->flags};
    }
    return 0;
}

static inline int memory_read(void *reader, void *buffer, uint64_t offset, size_t length,
                              struct np_error *err)
{
    struct memory_disk *disk = reader;
    disk->reads++;
    if (disk->on_read != NULL)
        disk->on_read(disk->on_read_ctx);
    if (disk->interrupted)
        return np_fail(err, NP_FAILED, "interrupted");
    if (disk->fail_read >= offset && disk->fail_read < offset + length)
        return np_fail(err, NP_FAILED, "injected: read");
    if (offset + length > disk->size)
        return np_fail(err, NP_FAILED, "read beyond the disk's end");
    memcpy(buffer, disk->bytes + offset, length);
    return 0;
}

static inline void memory_interrupt(void *ctx)
{
    ((struct memory_disk *)ctx)->interrupted = true;
}

static const struct np_source_ops memory_source_ops = {
    .reader_open = memory_reader_open,
    .extents = memory_extents,
    .read = memory_read,
    .reader_close = memory_reader_close,
    .interrupt = memory_interrupt,
};

static inline struct np_source memory_source(struct memory_disk *disk)
{
    return (struct np_source){&memory_source_ops, disk, disk->size};
}

/* ---- a stream that is written and read ---- */

struct memory_file {
    uint8_t *bytes;
    size_t size, room;
    size_t limit; /* writing beyond it fails, as on a full disk; 0: none */
    size_t read_at;
};

static inline int memory_append(void *ctx, struct iovec *pieces, int count, struct np_error *err)
{
    struct memory_file *file = ctx;
    for (int i = 0; i < count; i++) {
        size_t length = pieces[i].iov_len;
        if (file->limit != 0 && file->size + length > file->limit)
            return np_fail(err, NP_FAILED, "injected: no space left");
        if (file->size + length > file->room) {
            file->room = 2 * (file->size + length);
            file->bytes = realloc(file->bytes, file->room);
        }
        if (length > 0)
            memcpy(file->bytes + file->size, pieces[i].iov_base, length);
        file->size += length;
    }
    return 0;
}

static inline struct np_sink memory_sink(struct memory_file *file)
{
    return (struct np_sink){.append = memory_append, .ctx = file};
}

static inline int memory_input_read(void *ctx, void *buffer, size_t size, size_t *got, struct np_error *err)
{
    (void)err;
    struct memory_file *file = ctx;
    *got = file->size - file->read_at < size ? file->size - file->read_at : size;
    memcpy(buffer, file->bytes + file->read_at, *got);
    file->read_at += *got;
    return 0;
}

static inline struct np_input memory_input(struct memory_file *file)
{
    file->read_at = 0;
    return (struct np_input){.read = memory_input_read, .ctx = file};
}

static inline int memory_read_at(void *ctx, void *buffer, size_t size, uint64_t pos, struct np_error *err)
{
    const struct memory_file *file = ctx;
    if (pos > file->size || size > file->size - pos)
        return np_fail(err, NP_DAMAGED, "beyond the file's end");
    memcpy(buffer, file->bytes + pos, size);
    return 0;
}

static inline struct np_input_at memory_input_at(struct memory_file *file)
{
    return (struct np_input_at){.read_at = memory_read_at, .ctx = file, .size = file->size};
}

/* ---- an image that is restored ---- */

struct memory_image {
    uint8_t *bytes;
    uint8_t *written; /* how often each byte was written */
    uint64_t size;
    uint64_t fail_write; /* writing this byte fails; NP_NO_OFFSET: none */
    pthread_mutex_t lock;
};

static inline int memory_writer_open(void *target, void **writer, struct np_error *err)
{
    (void)err;
    *writer = target;
    return 0;
}

static inline int memory_write(void *writer, const void *bytes, uint64_t offset, size_t length,
                               struct np_error *err)
{
    struct memory_image *image = writer;
    if (offset + length > image->size)
        return np_fail(err, NP_FAILED, "write beyond the image's end");
    if (image->fail_write >= offset && image->fail_write < offset + length)
        return np_fail(err, NP_FAILED, "injected: write");
    pthread_mutex_lock(&image->lock);
    memcpy(image->bytes + offset, bytes, length);
    for (size_t i = 0; i < length; i++)
        image->written[offset + i]++;
    pthread_mutex_unlock(&image->lock);
    return 0;
}

static inline void memory_writer_close(void *writer)
{
    (void)writer;
}

static const struct np_target_ops memory_target_ops = {
    .name = "memory",
    .extension = "memory",
    .writer_open = memory_writer_open,
    .write = memory_write,
    .writer_close = memory_writer_close,
};

static inline void memory_image_init(struct memory_image *image, uint64_t size)
{
    *image = (struct memory_image){.size = size, .fail_write = NP_NO_OFFSET};
    image->bytes = calloc(1, size + 1);
    image->written = calloc(1, size + 1);
    pthread_mutex_init(&image->lock, NULL);
}

static inline void memory_image_clear(struct memory_image *image)
{
    free(image->bytes);
    free(image->written);
    pthread_mutex_destroy(&image->lock);
}

/* ---- a META for one disk, or several ---- */

static inline struct np_meta *memory_meta(const struct np_geometry *geometries, size_t disks,
                                          struct np_error *err)
{
    struct np_meta *meta = np_meta_new(disks, disks, err);
    if (meta == NULL)
        return NULL;
    for (size_t i = 0; i < 16; i++) {
        meta->stream.bytes[i] = (uint8_t)(0x40 + i);
        meta->point.bytes[i] = (uint8_t)(0x60 + i);
        meta->domain.bytes[i] = (uint8_t)(0x80 + i);
    }
    strcpy(meta->tool, "test");
    strcpy(meta->codec_lib, "test");
    strcpy(meta->created, "2026-11-20T03:00:00Z");
    strcpy(meta->domain_name, "guest");
    strcpy(meta->level, "copy");
    for (size_t i = 0; i < disks; i++) {
        struct np_meta_disk *disk = &meta->disks[i];
        disk->id = (uint16_t)i;
        disk->geometry = geometries[i];
        disk->state.bytes[0] = (uint8_t)(i + 1);
        disk->state.bytes[15] = 0xaa;
        disk->target[0] = 'v';
        disk->target[1] = 'd';
        disk->target[2] = (char)('a' + i);
        strcpy(disk->source_format, "raw");
        strcpy(disk->level, "copy");
        strcpy(disk->how, "all");
        strcpy(disk->why, "test");
        strcpy(meta->point_disks[i].target, disk->target);
        strcpy(meta->point_disks[i].why, "test");
        meta->point_disks[i].state = disk->state;
        meta->point_disks[i].stream = meta->stream;
    }
    return meta;
}

#endif
