/*
 * Streams in memory for tests: written by np_writer from a plain model of a disk, read back by np_stream.
 *
 * A model is one number for each granule: 0 reads as zeroes, any other stands for bytes made from the number.
 */
#ifndef NBDPULL_MEMORY_STREAM_H
#define NBDPULL_MEMORY_STREAM_H

#include "test.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/stream.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- bytes ---- */

struct memory {
    uint8_t *bytes; /* owned */
    size_t size, room;
    size_t reads; /* calls of read_at */
};

static inline int memory_append(void *ctx, struct iovec *pieces, int count, struct np_error *err)
{
    struct memory *memory = ctx;
    (void)err;
    for (int i = 0; i < count; i++) {
        if (memory->size + pieces[i].iov_len > memory->room) {
            memory->room = 2 * (memory->size + pieces[i].iov_len);
            memory->bytes = realloc(memory->bytes, memory->room);
            assert_non_null(memory->bytes);
        }
        if (pieces[i].iov_len > 0)
            memcpy(memory->bytes + memory->size, pieces[i].iov_base, pieces[i].iov_len);
        memory->size += pieces[i].iov_len;
    }
    return 0;
}

static inline int memory_read_at(void *ctx, void *buffer, size_t size, uint64_t pos, struct np_error *err)
{
    struct memory *memory = ctx;
    memory->reads++;
    if (pos > memory->size || size > memory->size - pos)
        return np_fail(err, NP_DAMAGED, "memory: ends early");
    memcpy(buffer, memory->bytes + pos, size);
    return 0;
}

/* ---- the model ---- */

/* A disk's content. Granules beyond its end are 0. */
struct content {
    struct np_geometry geometry;
    uint32_t *granules; /* owned */
};

static inline uint64_t content_count(const struct content *content)
{
    return np_div_up(content->geometry.size, content->geometry.granule);
}

static inline struct content content_new(uint64_t size, uint32_t chunk, uint32_t granule)
{
    struct content content = {.geometry = {.size = size, .chunk = chunk, .granule = granule}};
    content.granules = calloc(content_count(&content) + 1, sizeof(*content.granules));
    assert_non_null(content.granules);
    return content;
}

static inline void content_clear(struct content *content)
{
    free(content->granules);
    content->granules = NULL;
}

static inline uint32_t content_granule_length(const struct content *content, uint64_t number)
{
    uint64_t start = number * content->geometry.granule;
    return (uint32_t)np_min_u64(content->geometry.granule, content->geometry.size - start);
}

/* The bytes of a granule. @return how many */
static inline uint32_t content_bytes(const struct content *content, uint64_t number, uint8_t *to)
{
    uint32_t length = content_granule_length(content, number);
    uint32_t value = content->granules[number];
    memset(to, value == 0 ? 0 : (int)(value % 255 + 1), length);
    if (value != 0 && length >= 8)
        np_put_le64(to, (uint64_t)value << 32 | (number + 1));
    return length;
}

static inline struct np_hash128 content_hash(const struct content *content, uint64_t number)
{
    uint8_t bytes[NP_GRANULE_MAX];
    return np_hash128(bytes, content_bytes(content, number, bytes));
}

static inline struct np_hash128 content_digest(const struct content *content)
{
    struct np_hash128 digest = {0};
    for (uint64_t i = 0; i < content_count(content); i++) {
        if (content->granules[i] != 0)
            np_digest_add(&digest, i, content_granule_length(content, i), content_hash(content, i));
    }
    return digest;
}

/* ---- writing one window ---- */

/* Granules of one record, with states; dead ones get bytes that must never come out. */
static inline void write_record_of(struct np_writer *writer, uint16_t disk, const struct content *content,
                                   uint64_t offset, const enum np_granule_state *states)
{
    struct np_error err = NP_ERROR_INIT;
    const struct np_geometry *geometry = &content->geometry;
    unsigned granules = np_window_granules(geometry, offset), hashes = 0;
    uint8_t table[NP_DATA_TABLE_MAX] = {0};
    uint8_t *payload = malloc(geometry->chunk);
    uint32_t map_bytes = np_map_bytes(geometry), size = 0;
    for (unsigned i = 0; i < granules; i++) {
        uint32_t length = np_granule_length(geometry, offset, i);
        np_map_set(table, i, states[i]);
        if (states[i] == NP_GRANULE_DEAD)
            memset(payload + size, 0xdd, length);
        else if (states[i] == NP_GRANULE_DATA)
            content_bytes(content, offset / geometry->granule + i, payload + size);
        else
            continue;
        np_hash128_put(table + map_bytes + NP_HASH128_SIZE * hashes++, np_hash128(payload + size, length));
        size += length;
    }
    struct np_packed packed = {.offset = offset,
                               .length = size,
                               .table = table,
                               .table_len = map_bytes + hashes * NP_HASH128_SIZE,
                               .data = payload,
                               .data_len = size,
                               .data_sum = np_hash128(payload, size)};
    ok(np_writer_data(writer, disk, &packed, &err));
    free(payload);
}

static inline void write_record(struct np_writer *writer, const struct content *content, uint64_t offset,
                                const enum np_granule_state *states)
{
    write_record_of(writer, 0, content, offset, states);
}

/* ---- a stream of one disk ---- */

struct memory_stream {
    struct memory memory;
    struct np_meta *meta;         /* of the writer; owned */
    struct np_writer *writer;     /* until memory_stream_finish */
    struct np_stream *stream;     /* afterwards */
    struct np_hash128 digests[2]; /* of the disks, where they are known */
    uint64_t blobs;               /* named files */
};

static inline struct np_uuid random_uuid(void)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_uuid uuid;
    ok(np_uuid_random(&uuid, &err));
    return uuid;
}

/* @param base NULL: the disk is whole in this stream */
static inline void memory_stream_begin(struct memory_stream *out, const struct content *content,
                                       const struct memory_stream *base)
{
    struct np_error err = NP_ERROR_INIT;
    *out = (struct memory_stream){.meta = np_meta_new(1, 1, &err)};
    assert_non_null(out->meta);
    struct np_meta_disk *disk = &out->meta->disks[0];
    out->meta->stream = random_uuid();
    out->meta->domain = out->meta->point = random_uuid();
    strcpy(out->meta->created, "2026-11-20T03:00:00Z");
    strcpy(out->meta->domain_name, "guest");
    strcpy(out->meta->level, "auto");
    strcpy(disk->target, "vda");
    strcpy(disk->source_format, "qcow2");
    strcpy(disk->level, base == NULL ? "full" : "inc");
    strcpy(disk->how, base == NULL ? "all" : "bitmap");
    disk->geometry = content->geometry;
    disk->state = random_uuid();
    if (base != NULL) {
        const struct np_totals *totals = np_stream_totals(base->stream, 0);
        strcpy(disk->base_point, "0001");
        disk->base_state = base->meta->disks[0].state;
        disk->base_size = base->meta->disks[0].geometry.size;
        disk->base_digest_known = totals->digest_known;
        disk->base_digest = totals->digest;
    }
    strcpy(out->meta->point_disks[0].target, "vda");
    out->meta->point_disks[0].state = disk->state;
    out->meta->point_disks[0].stream = out->meta->stream;
}

/* After changes of out->meta, if any. */
static inline void memory_stream_write(struct memory_stream *out)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_sink sink = {.append = memory_append, .ctx = &out->memory};
    ok(np_writer_new(&sink, out->meta, &out->writer, &err));
}

static inline void memory_stream_reopen(struct memory_stream *out, const char *name)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_input_at input = {.read_at = memory_read_at, .ctx = &out->memory, .size = out->memory.size};
    np_stream_close(out->stream);
    out->stream = NULL;
    ok(np_stream_open(&input, name, &out->stream, &err));
}

/* @param replaced NULL: no base, or the digest is not known */
static inline void memory_stream_finish(struct memory_stream *out, const struct np_hash128 *replaced,
                                        const char *name)
{
    struct np_error err = NP_ERROR_INIT;
    ok(np_writer_disk_end(out->writer, 0, replaced, &err));
    out->digests[0] = np_writer_totals(out->writer, 0)->digest;
    ok(np_writer_finish(out->writer, &err));
    np_writer_free(NP_STEAL(out->writer));
    memory_stream_reopen(out, name);
}

static inline void memory_stream_clear(struct memory_stream *out)
{
    np_writer_free(out->writer);
    np_stream_close(out->stream);
    np_meta_free(out->meta);
    free(out->memory.bytes);
    *out = (struct memory_stream){0};
}

#endif
