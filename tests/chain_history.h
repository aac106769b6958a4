/*
 * Chains of streams in memory, and the proof that a chain tells exactly what a model of the disk holds.
 */
#ifndef NBDPULL_CHAIN_HISTORY_H
#define NBDPULL_CHAIN_HISTORY_H

#include "memory_stream.h"

#include "nbdpull/chain.h"

#define CHUNK NP_CHUNK_MIN     /* 64 KiB */
#define GRANULE NP_GRANULE_MIN /* 4 KiB: 16 in a window */
#define PER_WINDOW (CHUNK / GRANULE)

/* ---- chains ---- */

#define LAYERS_MAX 8

/* streams[0] is the full; the chain takes them newest first. */
struct history {
    struct memory_stream streams[LAYERS_MAX];
    size_t count;
};

static inline void history_clear(struct history *history)
{
    for (size_t i = 0; i < history->count; i++)
        memory_stream_clear(&history->streams[i]);
    history->count = 0;
}

static inline void close_chain(struct np_chain **chain)
{
    np_chain_close(*chain);
}

/* The chain of the stream `newest` of a history. */
static inline int open_chain(const struct history *history, size_t newest, struct np_chain **chain,
                             struct np_error *err)
{
    struct np_stream *streams[LAYERS_MAX];
    static const uint16_t ids[LAYERS_MAX];
    for (size_t i = 0; i <= newest; i++)
        streams[i] = history->streams[newest - i].stream;
    return np_chain_open(streams, ids, newest + 1, "vda", true, chain, err);
}

#define CHAIN(name, history, newest)                                                                         \
    NP_CLEANUP(close_chain) struct np_chain *name = NULL;                                                    \
    ok(open_chain(history, newest, &name, &err))

static inline struct memory_stream *begin_stream(struct history *history, const struct content *content)
{
    struct memory_stream *stream = &history->streams[history->count];
    memory_stream_begin(stream, content, history->count == 0 ? NULL : stream - 1);
    history->count++;
    return stream;
}

static inline void finish_stream(struct history *history, const struct np_hash128 *replaced)
{
    char name[32];
    snprintf(name, sizeof(name), "%04zu.vda.nbp", history->count);
    memory_stream_finish(&history->streams[history->count - 1], replaced, name);
}

/*
 * A stream with one record for each window that has a granule to describe, and a ZERO for each that is
 * described whole and is zero.
 */
static inline void add_stream(struct history *history, const struct content *content, const bool *described)
{
    struct memory_stream *stream = begin_stream(history, content);
    struct np_error err = NP_ERROR_INIT;
    struct np_hash128 kept = {0};
    memory_stream_write(stream);
    for (uint64_t offset = 0; offset < content->geometry.size; offset += CHUNK) {
        unsigned granules = np_window_granules(&content->geometry, offset), data = 0, zero = 0;
        enum np_granule_state states[PER_WINDOW] = {0};
        for (unsigned i = 0; i < granules; i++) {
            uint64_t number = offset / GRANULE + i;
            if (!described[number])
                continue;
            states[i] = content->granules[number] == 0 ? NP_GRANULE_ZERO : NP_GRANULE_DATA;
            zero += states[i] == NP_GRANULE_ZERO;
            data += states[i] == NP_GRANULE_DATA;
        }
        if (zero == granules)
            ok(np_writer_zero(stream->writer, 0, offset, np_window_length(&content->geometry, offset), &err));
        else if (data + zero > 0)
            write_record(stream->writer, content, offset, states);
    }
    for (uint64_t i = 0; i < content_count(content); i++) {
        if (!described[i] && content->granules[i] != 0)
            np_digest_add(&kept, i, content_granule_length(content, i), content_hash(content, i));
    }
    finish_stream(history, history->count == 1 ? NULL : &kept);
}

/* ---- walking ---- */

static inline void assert_record_holds(const struct history *history, size_t newest,
                                       const struct content *content, const struct np_chain_step *step)
{
    struct np_error err = NP_ERROR_INIT;
    const struct memory_stream *from = &history->streams[newest - step->stream];
    const struct np_geometry *geometry = &from->meta->disks[0].geometry;
    static uint8_t table[NP_DATA_TABLE_MAX], data[CHUNK], out[CHUNK], wanted[GRANULE];
    struct np_record record;
    assert_int_equal(step->entry.offset, step->offset);
    ok(np_stream_read(from->stream, 0, &step->entry, table, data, &record, &err));
    ok(np_window_expand(geometry, &record, "test", out, &err));

    const uint8_t *at = out;
    unsigned taken = 0;
    for (unsigned i = 0; i < np_window_granules(geometry, step->offset); i++) {
        enum np_granule_state state = np_map_get(step->map, i);
        uint64_t number = step->offset / GRANULE + i;
        if (np_map_get(step->take, i) == NP_GRANULE_DATA) {
            assert_int_equal(state, NP_GRANULE_DATA);
            uint32_t length = content_bytes(content, number, wanted);
            assert_int_equal(length, np_granule_length(geometry, step->offset, i));
            assert_memory_equal(at, wanted, length);
            assert_true(np_hash128_equal(np_chain_step_hash(step, i), np_hash128(wanted, length)));
            taken++;
        }
        if (state == NP_GRANULE_DATA || state == NP_GRANULE_DEAD)
            at += np_granule_length(geometry, step->offset, i);
    }
    assert_int_equal(step->taken, taken);
    assert_true(taken > 0);
}

static inline void mark(uint8_t *seen, const struct content *content, const struct np_chain_step *step)
{
    for (uint64_t i = step->offset / GRANULE; i * GRANULE < step->offset + step->length; i++) {
        bool is_taken = step->kind == NP_CHAIN_ZERO ||
                        np_map_get(step->take, (unsigned)(i % PER_WINDOW)) == NP_GRANULE_DATA;
        if (!is_taken)
            continue;
        assert_int_equal(seen[i], 0);
        seen[i] = 1;
        assert_int_equal(content->granules[i] == 0, step->kind == NP_CHAIN_ZERO);
    }
}

/* The chain must tell exactly the content, from the window of `from` on. @return number of steps */
static inline unsigned assert_tells_from(const struct history *history, size_t newest,
                                         const struct content *content, struct np_chain *chain, uint64_t from)
{
    struct np_error err = NP_ERROR_INIT;
    NP_AUTO_FREE uint8_t *seen = calloc(content_count(content) + 1, 1);
    static struct np_chain_step step;
    uint64_t reached = np_align_down(from, CHUNK);
    unsigned steps = 0;
    int got;
    while ((got = np_chain_next(chain, &step, &err)) > 0) {
        steps++;
        assert_true(np_align_down(step.offset, CHUNK) >= np_align_down(reached, CHUNK));
        assert_true(step.length > 0 && step.length <= content->geometry.size - step.offset);
        mark(seen, content, &step);
        reached = step.offset;
        if (step.kind == NP_CHAIN_DATA)
            assert_record_holds(history, newest, content, &step);
    }
    ok(got);
    for (uint64_t i = np_align_down(from, CHUNK) / GRANULE; i < content_count(content); i++)
        assert_int_equal(seen[i], 1);
    return steps;
}

static inline unsigned assert_tells(const struct history *history, size_t newest,
                                    const struct content *content)
{
    struct np_error err = NP_ERROR_INIT;
    CHAIN(chain, history, newest);
    assert_int_equal(np_chain_geometry(chain)->size, content->geometry.size);
    return assert_tells_from(history, newest, content, chain, 0);
}

/* ---- pairs ---- */

/* Two points of a disk of `windows` windows; the full holds 1 in each granule. */
struct pair {
    struct history history;
    struct content content;
    bool *described;
};

static inline void pair_begin(struct pair *pair, uint64_t windows)
{
    *pair = (struct pair){.content = content_new(windows * CHUNK, CHUNK, GRANULE)};
    uint64_t count = content_count(&pair->content);
    pair->described = malloc(count + 1);
    assert_non_null(pair->described);
    memset(pair->described, true, count + 1);
    for (uint64_t i = 0; i < count; i++)
        pair->content.granules[i] = 1;
    add_stream(&pair->history, &pair->content, pair->described);
    memset(pair->described, false, count + 1);
}

static inline void pair_set(struct pair *pair, uint64_t from, uint64_t count, uint32_t value)
{
    for (uint64_t i = from; i < from + count; i++) {
        pair->content.granules[i] = value;
        pair->described[i] = true;
    }
}

static inline void pair_clear(struct pair *pair)
{
    history_clear(&pair->history);
    content_clear(&pair->content);
    free(pair->described);
}

#define PAIR(name, windows)                                                                                  \
    NP_CLEANUP(pair_clear) struct pair name;                                                                 \
    pair_begin(&name, windows)

#endif
