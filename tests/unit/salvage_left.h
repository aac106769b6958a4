/*
 * Streams that are damaged, and the proof that what is read of them is what was written: each granule must be
 * as it was, or be told as lost; and what stands for a lost one must be what is said to stand there.
 */
#ifndef NBDPULL_SALVAGE_LEFT_H
#define NBDPULL_SALVAGE_LEFT_H

#include "random_history.h"

#include "nbdpull/salvage.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* The disk of each stream that is looked at: 0 is vda, 1 is vdb. */
static uint16_t the_disk;

/* ---- what is left of a chain ---- */

/* A stream as the disk has it now. */
struct damaged {
    struct memory memory;
    bool gone;
    size_t bad_from, bad_to; /* bytes that cannot be read */
    struct np_uuid uuid;
};

static inline int read_damaged(void *ctx, void *buffer, size_t size, uint64_t pos, struct np_error *err)
{
    struct damaged *damaged = ctx;
    if (pos < damaged->bad_to && pos + size > damaged->bad_from)
        return np_fail(err, NP_FAILED, "memory: input/output error");
    return memory_read_at(&damaged->memory, buffer, size, pos, err);
}

struct left {
    struct damaged streams[LAYERS_MAX]; /* oldest first */
    size_t count;
    struct np_salvage_room room;
    struct np_salvage *salvages[LAYERS_MAX]; /* newest first, from here on */
    struct np_losses *all[LAYERS_MAX];
    struct np_chain *chain;
    bool whole, sound;
};

static inline void left_begin(struct left *left, const struct history *history, size_t newest)
{
    *left = (struct left){.count = newest + 1};
    left->room.dir = "memory";
    left->room.index_fd = memfd_create("index", MFD_CLOEXEC);
    left->room.losses_fd = memfd_create("losses", MFD_CLOEXEC);
    for (size_t i = 0; i < left->count; i++) {
        const struct memory *from = &history->streams[i].memory;
        struct memory *to = &left->streams[i].memory;
        to->bytes = malloc(2 * from->size + 4096); /* damage may make it longer */
        assert_non_null(to->bytes);
        memcpy(to->bytes, from->bytes, from->size);
        to->size = from->size;
        left->streams[i].uuid = history->streams[i].meta->stream;
    }
}

static inline void left_close(struct left *left)
{
    np_chain_close(left->chain);
    for (size_t i = 0; i < left->count; i++) {
        np_salvage_close(left->salvages[i]);
        np_losses_free(left->all[i]);
        left->salvages[i] = NULL;
        left->all[i] = NULL;
    }
    left->chain = NULL;
}

static inline void left_clear(struct left *left)
{
    left_close(left);
    for (size_t i = 0; i < left->count; i++)
        free(left->streams[i].memory.bytes);
    close(left->room.index_fd);
    close(left->room.losses_fd);
}

/* If any is found it is that of the disk that is looked at. */
static inline void check_digest(const struct np_salvage *salvage, const struct memory_stream *of)
{
    struct np_hash128 digest;
    if (np_salvage_digest(salvage, &digest))
        assert_true(np_hash128_equal(digest, of->digests[the_disk]));
}

/* If it is known how many named files there were, it is right. @return is it known? */
static inline bool check_blobs(const struct np_salvage *salvage, const struct memory_stream *of)
{
    uint64_t count;
    bool known = np_salvage_blob_count(salvage, &count);
    if (known)
        assert_int_equal(count, of->blobs);
    return known;
}

/* @return false: there is nothing left at all */
static inline bool left_open(struct left *left, const struct history *history, bool older)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_chain_part parts[LAYERS_MAX] = {0};
    size_t good = 0;
    left->whole = left->sound = true;
    for (size_t i = 0; i < left->count; i++) {
        struct damaged *damaged = &left->streams[left->count - 1 - i];
        const struct np_salvage_request request = {
            .input = {.read_at = read_damaged, .ctx = damaged, .size = damaged->memory.size},
            .name = "damaged",
            .stream = &damaged->uuid,
            .target = the_disk == 0 ? "vda" : "vdb",
            .room = &left->room,
        };
        err = (struct np_error)NP_ERROR_INIT;
        if (!damaged->gone && np_salvage_open(&request, &left->salvages[i], &err) == 0) {
            parts[i].stream = np_salvage_stream(left->salvages[i]);
            parts[i].losses = np_salvage_losses(left->salvages[i]);
            parts[i].disk_id = the_disk;
            left->whole = left->whole && np_salvage_is_whole(left->salvages[i]);
            left->sound = left->sound && np_salvage_is_sound(left->salvages[i]);
            check_digest(left->salvages[i], &history->streams[left->count - 1 - i]);
            check_blobs(left->salvages[i], &history->streams[left->count - 1 - i]);
            good++;
            continue;
        }
        assert_true(damaged->gone || err.class == NP_DAMAGED);
        left->whole = left->sound = false;
        parts[i].size = history->streams[left->count - 1 - i].meta->disks[the_disk].geometry.size;
        ok(np_losses_of_all(parts[i].size, &left->all[i], &err));
        parts[i].losses = left->all[i];
    }
    if (good > 0)
        ok(np_chain_open_damaged(parts, left->count, "vda", older, &left->chain, &err));
    return good > 0;
}

/* ---- what it must tell ---- */

#define GRANULES_MAX 32768

struct told {
    uint32_t
        value[GRANULES_MAX]; /* of the model; of data, which layer's content it must be is known by then */
    bool is[GRANULES_MAX], data[GRANULES_MAX], lost[GRANULES_MAX];
    size_t layer[GRANULES_MAX];   /* data: whose record */
    size_t instead[GRANULES_MAX]; /* lost */
    uint64_t lost_bytes, possible_bytes;
};

static struct told told;

/* The bytes of each granule that is taken are some content's; the model's number of it is in its bytes. */
static inline void take_data(struct left *left, const struct np_chain_step *step)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_stream *stream = np_salvage_stream(left->salvages[step->stream]);
    const struct np_geometry *geometry = &np_stream_meta(stream)->disks[the_disk].geometry;
    static uint8_t table[NP_DATA_TABLE_MAX], data[CHUNK], out[CHUNK];
    struct np_record record;
    ok(np_stream_read(stream, the_disk, &step->entry, table, data, &record, &err));
    ok(np_window_expand(geometry, &record, "test", out, &err));
    const uint8_t *at = out;
    for (unsigned i = 0; i < np_window_granules(geometry, step->offset); i++) {
        enum np_granule_state state = np_map_get(step->map, i);
        uint64_t number = step->offset / GRANULE + i;
        uint32_t length = np_granule_length(geometry, step->offset, i);
        if (np_map_get(step->take, i) == NP_GRANULE_DATA) {
            assert_false(told.is[number]);
            told.is[number] = told.data[number] = true;
            told.layer[number] = step->stream;
            told.value[number] = length >= 8 ? (uint32_t)(np_get_le64(at) >> 32) : 0;
        }
        if (state == NP_GRANULE_DATA || state == NP_GRANULE_DEAD)
            at += length;
    }
}

static inline void take_step(struct left *left, const struct np_chain_step *step)
{
    if (step->kind == NP_CHAIN_DATA) {
        take_data(left, step);
        return;
    }
    assert_int_equal(step->offset % GRANULE, 0);
    if (step->kind == NP_CHAIN_LOST && step->loss.kind == NP_LOSS_POSSIBLE)
        told.possible_bytes += step->length;
    else if (step->kind == NP_CHAIN_LOST)
        told.lost_bytes += step->length;
    for (uint64_t i = step->offset / GRANULE; i * GRANULE < step->offset + step->length; i++) {
        bool *is = step->kind == NP_CHAIN_LOST ? &told.lost[i] : &told.is[i];
        assert_false(*is);
        *is = true;
        if (step->kind == NP_CHAIN_LOST)
            told.instead[i] = step->instead;
    }
}

static inline bool same_granule(const struct content *a, const struct content *b, uint64_t i)
{
    return content_granule_length(a, i) == content_granule_length(b, i);
}

/* @param contents of each point, oldest first */
static inline void check_granule(const struct left *left, const struct content *contents, bool older,
                                 uint64_t i)
{
    const struct content *wanted = &contents[left->count - 1];
    if (!told.is[i])
        fail_msg("granule %ju is not told", (uintmax_t)i);
    if (told.lost[i]) {
        assert_true(older || told.instead[i] == left->count);
        if (told.instead[i] == left->count) {
            assert_false(told.data[i]);
            return;
        }
        wanted = &contents[left->count - 1 - told.instead[i]];
        assert_true(same_granule(wanted, &contents[left->count - 1], i));
    }
    assert_int_equal(told.data[i], wanted->granules[i] != 0);
    if (told.data[i] && content_granule_length(wanted, i) >= 8)
        assert_int_equal(told.value[i], wanted->granules[i]);
}

/* @return false: nothing could be read */
static inline bool check_left(struct left *left, const struct history *history,
                              const struct content *contents, bool older)
{
    struct np_error err = NP_ERROR_INIT;
    static struct np_chain_step step;
    memset(&told, 0, sizeof(told));
    if (!left_open(left, history, older)) {
        left_close(left);
        return false;
    }
    const struct content *content = &contents[left->count - 1];
    assert_true(content_count(content) < GRANULES_MAX);
    assert_int_equal(np_chain_geometry(left->chain)->size, content->geometry.size);
    for (int more; (more = np_chain_next(left->chain, &step, &err)) != 0;) {
        ok(more);
        take_step(left, &step);
    }
    for (uint64_t i = 0; i < content_count(content); i++)
        check_granule(left, contents, older, i);
    left_close(left);
    return true;
}

/* ---- damage ---- */

static inline void cut_out(struct memory *memory, size_t from, size_t to)
{
    memmove(memory->bytes + from, memory->bytes + to, memory->size - to);
    memory->size -= to - from;
}

static inline void insert(struct memory *memory, size_t at, const void *bytes, size_t size)
{
    memmove(memory->bytes + at + size, memory->bytes + at, memory->size - at);
    memcpy(memory->bytes + at, bytes, size);
    memory->size += size;
}

/* Header and place of record n, or of the last one. */
static inline size_t record_at(const struct memory *memory, uint64_t n, struct np_record_header *header)
{
    struct np_error err = NP_ERROR_INIT;
    size_t at = 0, next = 0;
    for (uint64_t i = 0; i <= n && next < memory->size; i++) {
        at = next;
        ok(np_record_decode(memory->bytes + at, "test", at, header, &err));
        next = at + np_record_size(header);
    }
    return at;
}

static inline void damage_randomly(struct damaged *damaged, const struct memory *other)
{
    struct memory *memory = &damaged->memory;
    if (memory->size == 0) /* all of it was cut out before */
        return;
    size_t from = pick(memory->size), length = 1 + pick(pick(2) == 0 ? 300 : 20000), to;
    uint8_t noise[200];
    to = np_min_u64(from + length, memory->size);
    switch (pick(9)) {
    case 0:
        memory->bytes[from] ^= (uint8_t)(1 + pick(255));
        break;
    case 1:
        memset(memory->bytes + from, 0, to - from);
        break;
    case 2:
        memory->size = from + 1;
        break;
    case 3:
        cut_out(memory, from, to);
        if (memory->size == 0)
            damaged->gone = true;
        break;
    case 4:
        for (size_t i = 0; i < sizeof(noise); i++)
            noise[i] = (uint8_t)pick(256);
        insert(memory, from, noise, 1 + pick(sizeof(noise)));
        break;
    case 5: /* a block of another stream of the set */
        to = np_min_u64(to, other->size);
        if (from < to)
            memcpy(memory->bytes + from, other->bytes + from, to - from);
        break;
    case 6:
        damaged->bad_from = from;
        damaged->bad_to = to;
        break;
    case 7:
        damaged->gone = pick(2) == 0;
        break;
    default: /* the same bytes once more */
        to = np_min_u64(to, from + 4000);
        uint8_t again[4000];
        memcpy(again, memory->bytes + from, to - from);
        insert(memory, to, again, to - from);
        break;
    }
}

#endif
