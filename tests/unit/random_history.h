/*
 * Random contents of a disk, point after point, and the streams of them, as backups write them or merges may.
 */
#ifndef NBDPULL_RANDOM_HISTORY_H
#define NBDPULL_RANDOM_HISTORY_H

#include "chain_history.h"

static uint64_t random_state;

static inline uint64_t pick(uint64_t below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % below;
}

static inline uint64_t random_size(void)
{
    uint64_t windows = pick(9);
    switch (pick(4)) {
    case 0:
        return windows * CHUNK;
    case 1:
        return windows * CHUNK + pick(PER_WINDOW) * GRANULE;
    case 2:
        return windows * CHUNK + pick(CHUNK / 512) * 512;
    default:
        return windows * CHUNK + pick(CHUNK);
    }
}

static inline void mutate(struct content *content, bool *described)
{
    uint64_t count = content_count(content);
    unsigned runs = count == 0 ? 0 : (unsigned)pick(8);
    for (unsigned r = 0; r < runs; r++) {
        uint64_t from = pick(count), length = 1 + pick(pick(3) == 0 ? count : 6);
        uint32_t value = pick(3) == 0 ? 0 : (uint32_t)pick(UINT32_MAX);
        bool changes = pick(4) > 0; /* else it is stored again as it was */
        for (uint64_t i = from; i < from + length && i < count; i++) {
            described[i] = true;
            if (changes)
                content->granules[i] = value == 0 ? 0 : value + (uint32_t)pick(3);
        }
    }
}

/* The next content: another size at times, some granules changed, and which of them a stream describes. */
static inline struct content next_content(const struct content *old, bool *described)
{
    uint64_t size = pick(3) == 0 ? random_size() : old->geometry.size;
    struct content content = content_new(size, CHUNK, GRANULE);
    uint64_t common = np_min_u64(content_count(old), content_count(&content));
    memcpy(content.granules, old->granules, common * sizeof(*content.granules));
    memset(described, 0, content_count(&content) + 1);
    mutate(&content, described);

    /* FORMAT.md, "Order and coverage": what has to be described after the size has changed. */
    if (size != old->geometry.size) {
        for (uint64_t i = np_min_u64(size, old->geometry.size) / GRANULE; i < content_count(&content); i++) {
            described[i] = true;
            content.granules[i] = pick(2) == 0 ? 0 : (uint32_t)pick(UINT32_MAX);
        }
    }
    return content;
}

/* One window as merging may have left it: one or two records, with dead granules between live ones. */
static inline void write_merged(struct np_writer *writer, const struct content *content, uint64_t offset,
                                const enum np_granule_state *states, unsigned granules)
{
    enum np_granule_state parts[2][PER_WINDOW] = {0};
    unsigned live[2] = {0};
    bool split = pick(2) == 0;
    for (unsigned i = 0; i < granules; i++) {
        unsigned part = split ? (unsigned)pick(2) : 0;
        parts[part][i] = states[i];
        live[part] += states[i] != NP_GRANULE_ABSENT;
    }
    bool dead = pick(2) == 0;
    for (unsigned part = 0; part < 2; part++) {
        for (unsigned i = 0; i < granules && dead; i++) {
            if (parts[part][i] == NP_GRANULE_ABSENT && pick(3) == 0)
                parts[part][i] = NP_GRANULE_DEAD;
        }
        if (live[part] > 0)
            write_record(writer, content, offset, parts[part]);
    }
}

static inline void add_random_stream(struct history *history, const struct content *content,
                                     const bool *described)
{
    if (pick(3) > 0) {
        add_stream(history, content, described);
        return;
    }
    struct memory_stream *stream = begin_stream(history, content);
    memory_stream_write(stream);
    for (uint64_t offset = 0; offset < content->geometry.size; offset += CHUNK) {
        unsigned granules = np_window_granules(&content->geometry, offset);
        enum np_granule_state states[PER_WINDOW] = {0};
        for (unsigned i = 0; i < granules; i++) {
            uint64_t number = offset / GRANULE + i;
            if (described[number])
                states[i] = content->granules[number] == 0 ? NP_GRANULE_ZERO : NP_GRANULE_DATA;
        }
        write_merged(stream->writer, content, offset, states, granules);
    }
    finish_stream(history, NULL); /* an increment's digest is not known then */
}

#endif
