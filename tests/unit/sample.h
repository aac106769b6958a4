/* Small streams in memory, made by np_writer, and disks restored from them by both readers. */
#ifndef NBDPULL_TEST_SAMPLE_H
#define NBDPULL_TEST_SAMPLE_H

#include "test.h"

#include "nbdpull/bytes.h"
#include "nbdpull/codec.h"
#include "nbdpull/stream.h"
#include "nbdpull/verify.h"

#include <stdio.h>
#include <stdlib.h>

#define SAMPLE_DISKS 4
#define SAMPLE_CHUNK NP_CHUNK_MIN
#define SAMPLE_GRANULE NP_GRANULE_MIN

/* ---- bytes ---- */

struct memory {
    uint8_t *bytes;
    size_t size, room;
};

/* @param bytes not of this memory */
static inline void memory_add(struct memory *memory, const void *bytes, size_t size)
{
    if (memory->size + size > memory->room) {
        memory->room = 2 * (memory->size + size);
        memory->bytes = realloc(memory->bytes, memory->room);
        assert_non_null(memory->bytes);
    }
    if (size > 0)
        memcpy(memory->bytes + memory->size, bytes, size);
    memory->size += size;
}

static inline void memory_double(struct memory *memory)
{
    size_t size = memory->size;
    uint8_t *copy = malloc(size);
    assert_non_null(copy);
    memcpy(copy, memory->bytes, size);
    memory_add(memory, copy, size);
    free(copy);
}

static inline int memory_append(void *ctx, struct iovec *pieces, int count, struct np_error *err)
{
    (void)err;
    for (int i = 0; i < count; i++)
        memory_add(ctx, pieces[i].iov_base, pieces[i].iov_len);
    return 0;
}

/* Gives at most `step` bytes at a time; fails instead of giving byte `fail_at`, unless that is 0. */
struct pipe {
    const uint8_t *bytes;
    size_t size, at, step, fail_at;
};

static inline int pipe_read(void *ctx, void *buffer, size_t size, size_t *got, struct np_error *err)
{
    struct pipe *pipe = ctx;
    if (pipe->fail_at > 0 && pipe->at + size > pipe->fail_at)
        return np_fail(err, NP_FAILED, "the pipe broke");
    *got = np_min_u64(np_min_u64(size, pipe->step), pipe->size - pipe->at);
    if (*got > 0)
        memcpy(buffer, pipe->bytes + pipe->at, *got);
    pipe->at += *got;
    return 0;
}

static inline int memory_read_at(void *ctx, void *buffer, size_t size, uint64_t pos, struct np_error *err)
{
    const struct memory *memory = ctx;
    if (pos > memory->size || size > memory->size - pos)
        return np_fail(err, NP_DAMAGED, "%zu bytes at %ju are beyond the end", size, (uintmax_t)pos);
    memcpy(buffer, memory->bytes + pos, size);
    return 0;
}

static inline struct np_input_at input_at(struct memory *memory)
{
    return (struct np_input_at){.read_at = memory_read_at, .ctx = memory, .size = memory->size};
}

/* ---- guests ---- */

/* Disks with their content; `stored` says for each granule whether the stream describes it, NULL: all. */
struct guest {
    struct np_meta *meta;
    uint8_t *image[SAMPLE_DISKS];
    uint8_t *stored[SAMPLE_DISKS];
};

static inline struct np_uuid sample_uuid(uint8_t byte)
{
    struct np_uuid uuid;
    memset(uuid.bytes, byte, sizeof(uuid.bytes));
    return uuid;
}

/* Ids are 0, 2, 4, ... so that they are no indexes. */
static inline void sample_disk(struct np_meta *meta, size_t i, uint64_t size)
{
    struct np_meta_disk *disk = &meta->disks[i];
    disk->id = (uint16_t)(2 * i);
    snprintf(disk->target, sizeof(disk->target), "vd%c", (char)('a' + i));
    disk->geometry = (struct np_geometry){.size = size, .chunk = SAMPLE_CHUNK, .granule = SAMPLE_GRANULE};
    disk->state = sample_uuid((uint8_t)(0x20 + i));
    memcpy(meta->point_disks[i].target, disk->target, sizeof(disk->target));
    meta->point_disks[i].state = disk->state;
    meta->point_disks[i].stream = meta->stream;
}

static inline struct np_meta *sample_meta(const uint64_t *sizes, size_t disks, uint8_t stream)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_meta *meta = np_meta_new(disks, disks, &err);
    assert_non_null(meta);
    meta->stream = sample_uuid(stream);
    meta->domain = sample_uuid(0x12);
    meta->point = sample_uuid(0x13);
    strcpy(meta->created, "2026-11-20T03:00:00Z");
    for (size_t i = 0; i < disks; i++)
        sample_disk(meta, i, sizes[i]);
    return meta;
}

static inline uint64_t sample_random(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *seed >> 33;
}

/* Runs of one byte, which compress, some of them zero, some granules of noise; some windows are all zero. */
static inline void sample_content(uint8_t *image, uint64_t size, uint64_t seed)
{
    memset(image, 0, size);
    for (uint64_t at = 0; at < size;) {
        uint64_t run = np_min_u64(size - at, 1 + sample_random(&seed) % 6000);
        uint64_t kind = sample_random(&seed) % 8;
        for (uint64_t i = 0; i < run && kind >= 3; i++)
            image[at + i] = kind == 7 ? (uint8_t)sample_random(&seed) : (uint8_t)(kind + at % 251);
        at += run;
        if (kind == 0)
            at = np_min_u64(size, np_align_up(at, SAMPLE_CHUNK) + SAMPLE_CHUNK);
    }
}

static inline struct guest sample_guest(const uint64_t *sizes, size_t disks, uint8_t stream)
{
    struct guest guest = {.meta = sample_meta(sizes, disks, stream)};
    for (size_t i = 0; i < disks; i++) {
        guest.image[i] = malloc(sizes[i] > 0 ? sizes[i] : 1);
        assert_non_null(guest.image[i]);
        sample_content(guest.image[i], sizes[i], i + 1);
    }
    return guest;
}

/* Two disks: one of several windows with an odd end, one smaller than a granule. */
static inline struct guest two_disks(void)
{
    static const uint64_t sizes[] = {5 * SAMPLE_CHUNK + SAMPLE_GRANULE + 512, 1536};
    return sample_guest(sizes, 2, 0x11);
}

/* A stream of one disk of about eight kilobytes, for the tests that try every byte. */
static inline struct guest small_disk(void)
{
    static const uint64_t sizes[] = {2 * SAMPLE_CHUNK + 512, 700};
    return sample_guest(sizes, 2, 0x11);
}

static inline void guest_free(struct guest *guest)
{
    for (size_t i = 0; i < SAMPLE_DISKS; i++) {
        free(guest->image[i]);
        free(guest->stored[i]);
    }
    np_meta_free(guest->meta);
}

/* Make disk i an increment on a base of that size, which describes the granules of `stored`, as a string of
 * '0' and '1', repeated. */
static inline void guest_increment(struct guest *guest, size_t i, uint64_t base_size, const char *stored)
{
    struct np_meta_disk *disk = &guest->meta->disks[i];
    size_t granules = np_div_up(disk->geometry.size, disk->geometry.granule);
    disk->base_state = sample_uuid((uint8_t)(0x40 + i));
    disk->base_size = base_size;
    guest->stored[i] = malloc(granules + 1);
    for (size_t k = 0; k < granules; k++)
        guest->stored[i][k] = stored[k % strlen(stored)] == '1';
}

/* ---- writing ---- */

struct window {
    uint8_t table[NP_DATA_TABLE_MAX];
    uint8_t plain[NP_CHUNK_MIN], packed[NP_CHUNK_MIN];
    struct np_packed body;
    unsigned live;
    bool all_zero; /* every granule of the window is described, as zero */
};

/* Granule k of the window goes in with this state; `bytes` are its guest bytes. */
static inline void window_add(struct window *window, const struct np_geometry *geometry, unsigned k,
                              enum np_granule_state state, const uint8_t *bytes)
{
    uint32_t length = np_granule_length(geometry, window->body.offset, k);
    np_map_set(window->table, k, state);
    window->live += state != NP_GRANULE_DEAD;
    window->all_zero = window->all_zero && state == NP_GRANULE_ZERO;
    if (state == NP_GRANULE_ZERO)
        return;
    np_hash128_put(window->table + window->body.table_len, np_hash128(bytes, length));
    window->body.table_len += NP_HASH128_SIZE;
    memcpy(window->plain + window->body.length, bytes, length);
    window->body.length += length;
}

static inline void window_begin(struct window *window, const struct np_geometry *geometry, uint64_t offset)
{
    memset(window, 0, sizeof(*window));
    window->body = (struct np_packed){.offset = offset, .table_len = np_map_bytes(geometry)};
    window->all_zero = true;
}

static inline void window_pack(struct window *window, uint8_t codec_number)
{
    struct np_error err = NP_ERROR_INIT;
    const struct np_codec *codec = np_codec_find(codec_number);
    void *state = NULL;
    size_t size = 0;
    ok(codec->state_new(0, NP_CHUNK_MIN, &state, &err));
    if (window->body.length > 1)
        size = codec->compress(state, window->plain, window->body.length, window->packed,
                               window->body.length - 1);
    codec->state_free(state);
    window->body.codec = size > 0 ? codec_number : 0;
    window->body.data = size > 0 ? window->packed : window->plain;
    window->body.data_len = size > 0 ? (uint32_t)size : window->body.length;
    window->body.data_sum = np_hash128(window->body.data, window->body.data_len);
    window->body.table = window->table;
}

/* The window at offset as a backup writes it. */
static inline void write_window(struct np_writer *writer, const struct guest *guest, size_t i,
                                uint64_t offset, uint8_t codec)
{
    struct np_error err = NP_ERROR_INIT;
    const struct np_meta_disk *disk = &guest->meta->disks[i];
    const struct np_geometry *geometry = &disk->geometry;
    static struct window window;
    window_begin(&window, geometry, offset);
    unsigned granules = np_window_granules(geometry, offset);
    for (unsigned k = 0; k < granules; k++) {
        const uint8_t *bytes = guest->image[i] + offset + (uint64_t)k * geometry->granule;
        if (guest->stored[i] != NULL && !guest->stored[i][offset / geometry->granule + k]) {
            window.all_zero = false;
            continue;
        }
        bool zero = np_is_zero(bytes, np_granule_length(geometry, offset, k));
        window_add(&window, geometry, k, zero ? NP_GRANULE_ZERO : NP_GRANULE_DATA, bytes);
    }
    if (window.all_zero) {
        ok(np_writer_zero(writer, disk->id, offset, np_window_length(geometry, offset), &err));
    } else if (window.live > 0) {
        window_pack(&window, codec);
        ok(np_writer_data(writer, disk->id, &window.body, &err));
    }
}

static inline struct np_writer *writer_to(struct memory *memory, const struct np_meta *meta)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_sink sink = {.append = memory_append, .ctx = memory};
    struct np_writer *writer = NULL;
    ok(np_writer_new(&sink, meta, &writer, &err));
    return writer;
}

static inline void write_end(struct np_writer *writer, const struct guest *guest)
{
    struct np_error err = NP_ERROR_INIT;
    for (size_t i = 0; i < guest->meta->disk_count; i++)
        ok(np_writer_disk_end(writer, guest->meta->disks[i].id, NULL, &err));
    ok(np_writer_blob(writer, "domain.xml", "<domain/>", 9, &err));
    ok(np_writer_blob(writer, "empty", "", 0, &err));
    ok(np_writer_finish(writer, &err));
    np_writer_free(writer);
}

/* All disks, a window of each in turn, with all codecs in turn from `codec` on; then two blobs. */
static inline struct memory write_guest(const struct guest *guest, unsigned codec)
{
    struct memory memory = {0};
    struct np_writer *writer = writer_to(&memory, guest->meta);
    bool more = true;
    for (uint64_t offset = 0; more; offset += SAMPLE_CHUNK) {
        more = false;
        for (size_t i = 0; i < guest->meta->disk_count; i++) {
            if (offset >= guest->meta->disks[i].geometry.size)
                continue;
            write_window(writer, guest, i, offset, (uint8_t)(codec++ % 3));
            more = true;
        }
    }
    write_end(writer, guest);
    return memory;
}

/* An increment of many records: windows 0, 3, 6, ... of so many granules. Of window 3i, granule i mod 16 is
 * data that begins with the number i; with 1024 granules the others are dead, so that eight windows fill a
 * leaf. */
static inline struct memory many_records(struct guest *guest, uint64_t windows, unsigned granules)
{
    struct np_error err = NP_ERROR_INIT;
    static uint8_t table[NP_DATA_TABLE_MAX], bytes[SAMPLE_GRANULE];
    uint64_t chunk = (uint64_t)granules * SAMPLE_GRANULE, size = 3 * windows * chunk;
    unsigned payload = granules == NP_GRANULES_MAX ? granules : 1;
    *guest = (struct guest){.meta = sample_meta(&size, 1, 0x11)};
    struct np_meta_disk *disk = &guest->meta->disks[0];
    disk->geometry.chunk = (uint32_t)chunk;
    disk->base_state = sample_uuid(0x40);
    disk->base_size = size;
    uint32_t map = np_map_bytes(&disk->geometry);
    struct memory memory = {0};
    struct np_writer *writer = writer_to(&memory, guest->meta);
    for (uint64_t i = 0; i < windows; i++) {
        memset(table, payload > 1 ? 0xff : 0, map);
        np_map_set(table, i % 16, NP_GRANULE_DATA);
        np_put_le64(bytes, i);
        np_hash128_put(table + map + (payload > 1 ? i % 16 : 0) * NP_HASH128_SIZE,
                       np_hash128(bytes, sizeof(bytes)));
        struct np_packed packed = {.offset = 3 * i * chunk, .length = payload * SAMPLE_GRANULE, .codec = 1};
        packed.table = table;
        packed.table_len = map + payload * NP_HASH128_SIZE;
        packed.data = bytes; /* nobody expands it */
        packed.data_len = 8;
        packed.data_sum = np_hash128(bytes, 8);
        ok(np_writer_data(writer, 0, &packed, &err));
    }
    write_end(writer, guest);
    return memory;
}

/* ---- reading ---- */

/* Apply a record with its data to the disk. */
static inline int apply(const struct np_meta_disk *disk, const struct np_record *record, uint8_t *image,
                        struct np_error *err)
{
    const struct np_geometry *geometry = &disk->geometry;
    const struct np_record_header *header = &record->header;
    if (header->type == NP_RECORD_ZERO) {
        memset(image + header->offset, 0, header->length);
        return 0;
    }
    uint8_t plain[NP_CHUNK_MIN];
    if (np_window_expand(geometry, record, "sample", plain, err) < 0)
        return -1;
    const uint8_t *from = plain;
    unsigned granules = np_window_granules(geometry, header->offset);
    for (unsigned k = 0; k < granules; k++) {
        uint8_t *to = image + header->offset + (uint64_t)k * geometry->granule;
        uint32_t length = np_granule_length(geometry, header->offset, k);
        enum np_granule_state state = np_map_get(record->table, k);
        if (state == NP_GRANULE_DATA)
            memcpy(to, from, length);
        if (state == NP_GRANULE_ZERO)
            memset(to, 0, length);
        if (state == NP_GRANULE_DATA || state == NP_GRANULE_DEAD)
            from += length;
    }
    return 0;
}

/* Images to restore into: those of a base, all 0xEE. */
static inline void empty_images(const struct guest *guest, uint8_t *images[SAMPLE_DISKS])
{
    for (size_t i = 0; i < guest->meta->disk_count; i++) {
        uint64_t size = guest->meta->disks[i].geometry.size;
        images[i] = malloc(size > 0 ? size : 1);
        memset(images[i], 0xee, size);
    }
}

static inline void free_images(const struct guest *guest, uint8_t *images[SAMPLE_DISKS])
{
    for (size_t i = 0; i < guest->meta->disk_count; i++)
        free(images[i]);
}

/* Is every granule right: stored ones as in the guest, others untouched? */
static inline bool images_fit(const struct guest *guest, uint8_t *images[SAMPLE_DISKS])
{
    for (size_t i = 0; i < guest->meta->disk_count; i++) {
        const struct np_geometry *geometry = &guest->meta->disks[i].geometry;
        for (uint64_t at = 0; at < geometry->size; at += geometry->granule) {
            uint64_t length = np_min_u64(geometry->granule, geometry->size - at);
            uint8_t untouched[SAMPLE_GRANULE];
            memset(untouched, 0xee, sizeof(untouched));
            bool stored = guest->stored[i] == NULL || guest->stored[i][at / geometry->granule];
            if (memcmp(images[i] + at, stored ? guest->image[i] + at : untouched, length) != 0)
                return false;
        }
    }
    return true;
}

static inline size_t disk_number(const struct np_meta *meta, uint16_t id)
{
    for (size_t i = 0; i < meta->disk_count; i++)
        if (meta->disks[i].id == id)
            return i;
    fail_msg("no disk %u", id);
    return 0;
}

/* Front to back. Every second record's data are left to be skipped when `skip`. */
static inline int read_pipe(struct pipe *pipe, uint8_t *images[SAMPLE_DISKS], bool skip, struct np_error *err)
{
    struct np_input input = {.read = pipe_read, .ctx = pipe};
    struct np_reader *reader = NULL;
    struct np_record record;
    static uint8_t data[NP_CHUNK_MIN + (1 << 20)];
    if (np_reader_new(&input, "sample", &reader, err) < 0)
        return -1;
    int status;
    for (unsigned n = 0; (status = np_reader_next(reader, &record, err)) == 1; n++) {
        if (skip && n % 2 == 0)
            continue;
        if (np_reader_data(reader, data, sizeof(data), err) < 0) {
            status = -1;
            break;
        }
        if (record.header.type == NP_RECORD_BLOB || images == NULL)
            continue;
        record.data = data;
        size_t i = disk_number(np_reader_meta(reader), record.header.disk);
        if (apply(&np_reader_meta(reader)->disks[i], &record, images[i], err) < 0) {
            status = -1;
            break;
        }
    }
    np_reader_free(reader);
    return status;
}

static inline int restore_pipe(const struct memory *memory, uint8_t *images[SAMPLE_DISKS],
                               struct np_error *err)
{
    struct pipe pipe = {.bytes = memory->bytes, .size = memory->size, .step = SIZE_MAX};
    return read_pipe(&pipe, images, false, err);
}

static inline int restore_disk(struct np_stream *stream, const struct np_meta_disk *disk, uint8_t *image,
                               struct np_error *err)
{
    struct np_cursor *cursor = NULL;
    struct np_entry entry;
    struct np_record record;
    static uint8_t table[NP_DATA_TABLE_MAX], data[NP_CHUNK_MIN];
    if (np_cursor_open(stream, disk->id, true, &cursor, err) < 0)
        return -1;
    int status;
    while ((status = np_cursor_next(cursor, &entry, err)) == 1) {
        status = np_stream_read(stream, disk->id, &entry, table, data, &record, err);
        if (status == 0 && image != NULL)
            status = apply(disk, &record, image, err);
        if (status < 0)
            break;
    }
    np_cursor_close(cursor);
    return status;
}

/* By the index. @param images NULL: only read */
static inline int restore_index(struct memory *memory, uint8_t *images[SAMPLE_DISKS], struct np_error *err)
{
    struct np_input_at input = input_at(memory);
    struct np_stream *stream = NULL;
    if (np_stream_open(&input, "sample", &stream, err) < 0)
        return -1;
    int status = 0;
    const struct np_meta *meta = np_stream_meta(stream);
    for (size_t i = 0; status == 0 && i < meta->disk_count; i++)
        status = restore_disk(stream, &meta->disks[i], images != NULL ? images[i] : NULL, err);
    np_stream_close(stream);
    return status;
}

static inline void count_fault(void *ctx, const struct np_fault *fault)
{
    (void)fault;
    ++*(unsigned *)ctx;
}

/* Does the file open, and has whoever verifies it nothing to say? */
static inline bool verifies(const struct memory *memory)
{
    struct memory copy = *memory;
    struct np_input_at input = input_at(&copy);
    struct np_stream *stream = NULL;
    struct np_error err = NP_ERROR_INIT;
    unsigned faults = 0;
    struct np_verify_counts counts = {0};
    const struct np_verify_options options = {
        .depth = NP_VERIFY_SUMS, .workers = 1, .parts = 1, .report = count_fault, .ctx = &faults};
    if (np_stream_open(&input, "sample", &stream, &err) < 0)
        return false;
    ok(np_verify_stream(&options, stream, &counts, &err));
    np_stream_close(stream);
    return faults == 0;
}

/* Front to back, for the verdict alone. What is refused must not pass for sound when the file is verified. */
static inline int read_all(const struct memory *memory, struct np_error *err)
{
    struct pipe pipe = {.bytes = memory->bytes, .size = memory->size, .step = SIZE_MAX};
    int status = read_pipe(&pipe, NULL, false, err);
    if (status < 0 && verifies(memory))
        fail_msg("whoever verifies it does not see that %s", err->message);
    return status;
}

static inline struct np_stream *opened(struct memory *memory)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_input_at input = input_at(memory);
    struct np_stream *stream = NULL;
    ok(np_stream_open(&input, "sample", &stream, &err));
    return stream;
}

#endif
