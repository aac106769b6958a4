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

static void history_clear(struct history *history)
{
    for (size_t i = 0; i < history->count; i++)
        memory_stream_clear(&history->streams[i]);
    history->count = 0;
}

static void close_chain(struct np_chain **chain)
{
    np_chain_close(*chain);
}

/* The chain of the stream `newest` of a history. */
static int open_chain(const struct history *history, size_t newest, struct np_chain **chain,
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

static struct memory_stream *begin_stream(struct history *history, const struct content *content)
{
    struct memory_stream *stream = &history->streams[history->count];
    memory_stream_begin(stream, content, history->count == 0 ? NULL : stream - 1);
    history->count++;
    return stream;
}

static void finish_stream(struct history *history, const struct np_hash128 *replaced)
{
    char name[32];
    snprintf(name, sizeof(name), "%04zu.vda.nbp", history->count);
    memory_stream_finish(&history->streams[history->count - 1], replaced, name);
}

/*
 * A stream with one record for each window that has a granule to describe, and a ZERO for each that is
 * described whole and is zero.
 */
static void add_stream(struct history *history, const struct content *content, const bool *described)
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

static void assert_record_holds(const struct history *history, size_t newest, const struct content *content,
                                const struct np_chain_step *step)
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

static void mark(uint8_t *seen, const struct content *content, const struct np_chain_step *step)
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
static unsigned assert_tells_from(const struct history *history, size_t newest, const struct content *content,
                                  struct np_chain *chain, uint64_t from)
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

static unsigned assert_tells(const struct history *history, size_t newest, const struct content *content)
{
    struct np_error err = NP_ERROR_INIT;
    CHAIN(chain, history, newest);
    assert_int_equal(np_chain_geometry(chain)->size, content->geometry.size);
    return assert_tells_from(history, newest, content, chain, 0);
}

/* ---- random histories ---- */

static uint64_t random_state;

static uint64_t pick(uint64_t below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % below;
}

static uint64_t random_size(void)
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

static void mutate(struct content *content, bool *described)
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
static struct content next_content(const struct content *old, bool *described)
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
static void write_merged(struct np_writer *writer, const struct content *content, uint64_t offset,
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

static void add_random_stream(struct history *history, const struct content *content, const bool *described)
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

static void assert_seeks(const struct history *history, size_t newest, const struct content *content)
{
    struct np_error err = NP_ERROR_INIT;
    CHAIN(chain, history, newest);
    static struct np_chain_step step;
    for (int i = 0; i < 3; i++) {
        uint64_t from = pick(content->geometry.size + CHUNK);
        ok(np_chain_seek(chain, from, &err));
        if (from >= content->geometry.size)
            assert_int_equal(np_chain_next(chain, &step, &err), 0);
        else if (pick(2) == 0)
            ok(np_chain_next(chain, &step, &err)); /* and leave it in the middle */
        else
            assert_tells_from(history, newest, content, chain, from);
    }
}

static void run_history(uint64_t seed)
{
    random_state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    struct history history = {0};
    size_t points = 1 + pick(LAYERS_MAX - 1);
    struct content content = content_new(random_size(), CHUNK, GRANULE);
    bool described[9 * PER_WINDOW + 2];
    mutate(&content, described);
    memset(described, true, sizeof(described));
    for (size_t i = 0; i < points; i++) {
        if (i > 0) {
            struct content next = next_content(&content, described);
            content_clear(&content);
            content = next;
        }
        add_random_stream(&history, &content, described);
        assert_tells(&history, i, &content);
        assert_seeks(&history, i, &content);
    }
    content_clear(&content);
    history_clear(&history);
}

static void test_chain__random_histories_are_told_exactly(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++)
        run_history(seed);
}

/* ---- named cases ---- */

/* Two points of a disk of `windows` windows; the full holds 1 in each granule. */
struct pair {
    struct history history;
    struct content content;
    bool *described;
};

static void pair_begin(struct pair *pair, uint64_t windows)
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

static void pair_set(struct pair *pair, uint64_t from, uint64_t count, uint32_t value)
{
    for (uint64_t i = from; i < from + count; i++) {
        pair->content.granules[i] = value;
        pair->described[i] = true;
    }
}

static void pair_clear(struct pair *pair)
{
    history_clear(&pair->history);
    content_clear(&pair->content);
    free(pair->described);
}

#define PAIR(name, windows)                                                                                  \
    NP_CLEANUP(pair_clear) struct pair name;                                                                 \
    pair_begin(&name, windows)

static void test_chain__what_became_zero_does_not_come_back(void **state)
{
    (void)state;
    PAIR(pair, 4);
    pair_set(&pair, 3, 2, 0);                       /* in a window */
    pair_set(&pair, PER_WINDOW, 2 * PER_WINDOW, 0); /* two whole ones */
    add_stream(&pair.history, &pair.content, pair.described);
    /* window 0: DATA of the full, a run of zeroes; windows 1, 2: one run; window 3: DATA of the full */
    assert_int_equal(assert_tells(&pair.history, 1, &pair.content), 4);
}

static void test_chain__zeroes_of_neighbouring_windows_are_one_step(void **state)
{
    (void)state;
    PAIR(pair, 4);
    pair_set(&pair, PER_WINDOW - 3, 3 + 2 * PER_WINDOW, 0);
    add_stream(&pair.history, &pair.content, pair.described);
    assert_int_equal(assert_tells(&pair.history, 1, &pair.content), 3);
}

static void test_chain__record_replaced_in_whole_gives_no_step(void **state)
{
    (void)state;
    PAIR(pair, 3);
    pair_set(&pair, PER_WINDOW, PER_WINDOW, 2);
    add_stream(&pair.history, &pair.content, pair.described);
    assert_int_equal(assert_tells(&pair.history, 1, &pair.content), 3);
}

static void test_chain__window_of_several_records_gives_one_step_each(void **state)
{
    (void)state;
    PAIR(pair, 1);
    struct memory_stream *stream = begin_stream(&pair.history, &pair.content);
    enum np_granule_state first[PER_WINDOW] = {[0] = NP_GRANULE_DATA, [1] = NP_GRANULE_DEAD};
    enum np_granule_state second[PER_WINDOW] = {[1] = NP_GRANULE_ZERO, [5] = NP_GRANULE_DATA};
    pair_set(&pair, 0, 1, 2);
    pair_set(&pair, 1, 1, 0);
    pair_set(&pair, 5, 1, 3);
    memory_stream_write(stream);
    write_record(stream->writer, &pair.content, 0, first);
    write_record(stream->writer, &pair.content, 0, second);
    finish_stream(&pair.history, NULL);
    /* two records of the increment, the full, one run of zeroes */
    assert_int_equal(assert_tells(&pair.history, 1, &pair.content), 4);
}

static void test_chain__dead_granules_decide_nothing(void **state)
{
    (void)state;
    PAIR(pair, 1);
    struct memory_stream *stream = begin_stream(&pair.history, &pair.content);
    enum np_granule_state states[PER_WINDOW] = {[0] = NP_GRANULE_DATA, [7] = NP_GRANULE_DEAD};
    pair_set(&pair, 0, 1, 2);
    memory_stream_write(stream);
    write_record(stream->writer, &pair.content, 0, states);
    finish_stream(&pair.history, NULL);
    assert_int_equal(assert_tells(&pair.history, 1, &pair.content), 2); /* 7 comes from the full */
}

static void test_chain__empty_disk_ends_at_once(void **state)
{
    (void)state;
    struct history history = {0};
    struct content content = content_new(0, CHUNK, GRANULE);
    add_stream(&history, &content, (bool[]){false});
    assert_int_equal(assert_tells(&history, 0, &content), 0);
    content_clear(&content);
    history_clear(&history);
}

/* 2^52 bytes of zeroes with one granule of data: nothing may walk them window by window. */
static void test_chain__huge_zero_runs_are_not_walked(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct history history = {0};
    const uint64_t size = UINT64_C(1) << 52, middle = size / 2;
    struct content content = {.geometry = {.size = size, .chunk = CHUNK, .granule = GRANULE}};
    struct memory_stream *full = begin_stream(&history, &content);
    memory_stream_write(full);
    ok(np_writer_zero(full->writer, 0, 0, size, &err));
    finish_stream(&history, NULL);

    struct memory_stream *inc = begin_stream(&history, &content);
    uint8_t payload[GRANULE] = {1}, table[NP_DATA_TABLE_MAX] = {0};
    uint32_t map_bytes = np_map_bytes(&content.geometry);
    np_map_set(table, 2, NP_GRANULE_DATA);
    np_hash128_put(table + map_bytes, np_hash128(payload, GRANULE));
    struct np_packed packed = {.offset = middle,
                               .length = GRANULE,
                               .table = table,
                               .table_len = map_bytes + NP_HASH128_SIZE,
                               .data = payload,
                               .data_len = GRANULE,
                               .data_sum = np_hash128(payload, GRANULE)};
    memory_stream_write(inc);
    ok(np_writer_data(inc->writer, 0, &packed, &err));
    finish_stream(&history, NULL);

    static const struct {
        enum np_chain_kind kind;
        uint64_t offset, length;
    } wanted[] = {
        {NP_CHAIN_ZERO, 0, middle},
        {NP_CHAIN_DATA, middle, CHUNK},
        {NP_CHAIN_ZERO, middle, 2 * GRANULE},
        {NP_CHAIN_ZERO, middle + 3 * GRANULE, size - middle - 3 * GRANULE},
    };
    CHAIN(chain, &history, 1);
    static struct np_chain_step step;
    for (size_t i = 0; i < NP_ARRAY_SIZE(wanted); i++) {
        assert_int_equal(np_chain_next(chain, &step, &err), 1);
        assert_int_equal(step.kind, wanted[i].kind);
        assert_true(step.offset == wanted[i].offset && step.length == wanted[i].length);
    }
    assert_int_equal(np_chain_next(chain, &step, &err), 0);
    assert_int_equal(np_chain_next(chain, &step, &err), 0);
    history_clear(&history);
}

/* Old data under one long ZERO: their leaves are not even read. */
static void test_chain__index_under_a_long_zero_is_skipped(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct history history = {0};
    const uint64_t windows = 8192, size = windows * CHUNK; /* 8 leaves */
    struct content content = content_new(size, CHUNK, GRANULE);
    NP_AUTO_FREE bool *described = malloc(content_count(&content));
    memset(described, true, content_count(&content));
    for (uint64_t i = 0; i < windows; i++)
        content.granules[i * PER_WINDOW] = 7;
    add_stream(&history, &content, described);
    struct memory_stream *inc = begin_stream(&history, &content);
    memory_stream_write(inc);
    ok(np_writer_zero(inc->writer, 0, 0, size - CHUNK, &err));
    finish_stream(&history, NULL);

    CHAIN(chain, &history, 1);
    static struct np_chain_step step;
    history.streams[0].memory.reads = 0;
    unsigned steps = 0;
    while (np_chain_next(chain, &step, &err) > 0)
        steps++;
    assert_int_equal(steps, 3);
    size_t reads = history.streams[0].memory.reads;
    if (reads > 12) /* root, first and last leaf, in at most four parts each */
        fail_msg("%zu reads of the full's index", reads);
    content_clear(&content);
    history_clear(&history);
}

/* ---- links ---- */

static void assert_link_fails(struct pair *pair, const char *text)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_chain *chain;
    fails(NP_DAMAGED, open_chain(&pair->history, 1, &chain, &err));
    if (strstr(err.message, text) == NULL || strstr(err.message, "0002.vda.nbp") == NULL)
        fail_msg("%s: message is \"%s\"", text, err.message);
    assert_string_equal(err.disk, "vda");
}

/* An increment that describes nothing, after a change of its META. */
#define INCREMENT(pair, change)                                                                              \
    do {                                                                                                     \
        struct memory_stream *inc = begin_stream(&(pair).history, &(pair).content);                          \
        struct np_meta_disk *disk = &inc->meta->disks[0];                                                    \
        change;                                                                                              \
        memory_stream_write(inc);                                                                            \
        finish_stream(&(pair).history, NULL);                                                                \
    } while (0)

static void test_chain_link__increment_without_changes_fits(void **state)
{
    (void)state;
    PAIR(pair, 2);
    INCREMENT(pair, (void)disk);
    assert_tells(&pair.history, 1, &pair.content);
}

static void test_chain_link__other_state_is_refused(void **state)
{
    (void)state;
    PAIR(pair, 2);
    INCREMENT(pair, disk->base_state.bytes[3] ^= 1);
    assert_link_fails(&pair, "wants state");
}

static void test_chain_link__other_digest_is_refused(void **state)
{
    (void)state;
    PAIR(pair, 2);
    INCREMENT(pair, disk->base_digest.high ^= 1);
    assert_link_fails(&pair, "digest");
}

static void test_chain_link__unknown_digest_is_accepted(void **state)
{
    (void)state;
    PAIR(pair, 2);
    INCREMENT(pair, disk->base_digest_known = false);
    assert_tells(&pair.history, 1, &pair.content);
}

static void test_chain_link__other_base_size_is_refused(void **state)
{
    (void)state;
    PAIR(pair, 2);
    INCREMENT(pair, disk->base_size = CHUNK; disk->geometry.size = CHUNK);
    assert_link_fails(&pair, "65536 bytes");
}

static void test_chain_link__other_granule_is_refused(void **state)
{
    (void)state;
    PAIR(pair, 2);
    INCREMENT(pair, disk->geometry.granule *= 2);
    assert_link_fails(&pair, "granule");
}

static void test_chain_link__chain_without_its_full_is_refused(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    PAIR(pair, 2);
    INCREMENT(pair, (void)disk);
    struct np_chain *chain;
    const uint16_t id = 0;
    fails(NP_DAMAGED, np_chain_open(&pair.history.streams[1].stream, &id, 1, "vda", false, &chain, &err));
    assert_non_null(strstr(err.message, "not in the chain"));
}

static void test_chain__disk_that_a_stream_lacks_is_refused(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    PAIR(pair, 1);
    struct np_chain *chain;
    const uint16_t id = 3;
    fails(NP_DAMAGED, np_chain_open(&pair.history.streams[0].stream, &id, 1, "vdd", false, &chain, &err));
    assert_string_equal(err.disk, "vdd");
}

/* ---- streams that no writer makes ---- */

static struct np_record_header header_at(const struct memory *memory, uint64_t pos)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_record_header header;
    ok(np_record_decode(memory->bytes + pos, "test", pos, &header, &err));
    return header;
}

/* Put right the sums of a META whose table was changed. */
static uint64_t seal_meta(struct memory *memory, uint64_t pos)
{
    struct np_record_header header = header_at(memory, pos);
    header.table_sum = np_hash64(memory->bytes + pos + NP_RECORD_HEADER_SIZE, header.table_len);
    np_record_encode(&header, memory->bytes + pos);
    return header.head_sum;
}

/*
 * Change both METAs of a finished stream, and every sum that depends on them: what a hostile or broken writer
 * could have made. The new text is as long as the old one.
 */
static void forge_meta(struct memory_stream *stream, const char *from, const char *to, const char *name)
{
    struct memory *memory = &stream->memory;
    size_t length = strlen(from), changed = 0;
    assert_int_equal(strlen(to), length);
    for (size_t i = 0; i + length <= memory->size; i++) {
        if (memcmp(memory->bytes + i, from, length) == 0) {
            memcpy(memory->bytes + i, to, length);
            changed++;
        }
    }
    assert_int_equal(changed, 2);

    uint64_t end = memory->size - NP_END_SIZE;
    struct np_record_header header = header_at(memory, end);
    uint8_t *table = memory->bytes + end + NP_RECORD_HEADER_SIZE;
    uint64_t second = np_get_le64(table + 40); /* FORMAT.md, "END": the place of META */
    seal_meta(memory, 0);
    np_put_le64(table + 48, seal_meta(memory, second));
    header.table_sum = np_hash64(table, header.table_len);
    np_record_encode(&header, memory->bytes + end);
    memory_stream_reopen(stream, name);
}

static void assert_never_stored(const struct history *history, size_t newest, uint64_t offset)
{
    struct np_error err = NP_ERROR_INIT;
    CHAIN(chain, history, newest);
    static struct np_chain_step step;
    int got;
    while ((got = np_chain_next(chain, &step, &err)) > 0)
        assert_true(step.offset + (step.kind == NP_CHAIN_ZERO ? step.length : 0) <= offset);
    assert_int_equal(got, -1);
    assert_int_equal(err.class, NP_DAMAGED);
    assert_non_null(strstr(err.message, "never stored"));
    assert_string_equal(err.disk, "vda");
    assert_true(err.offset == offset);
}

/* A stream that claims to be whole and describes only the first window. */
static void test_chain__hole_in_a_full_is_never_stored(void **state)
{
    (void)state;
    PAIR(pair, 4);
    struct np_hash128 kept = {0};
    char base[NP_UUID_TEXT_SIZE], from[200], to[200];
    struct memory_stream *stream = begin_stream(&pair.history, &pair.content);
    enum np_granule_state states[PER_WINDOW];
    for (unsigned i = 0; i < PER_WINDOW; i++)
        states[i] = NP_GRANULE_DATA;
    stream->meta->disks[0].base_digest_known = false;
    memory_stream_write(stream);
    write_record(stream->writer, &pair.content, 0, states);
    finish_stream(&pair.history, &kept);

    np_uuid_format(&stream->meta->disks[0].base_state, base);
    int length = snprintf(from, sizeof(from), "{\"state\":\"%s\",\"size\":262144,\"digest\":null}", base);
    snprintf(to, sizeof(to), "%-*s", length, "null");
    forge_meta(stream, from, to, "0002.vda.nbp");
    struct history alone = {.streams = {*stream}, .count = 1};
    assert_never_stored(&alone, 0, CHUNK);
}

/*
 * From 4 windows to `small` bytes and back to 4 windows, in streams that describe nothing of what they
 * should: the last one says that its base had 4 windows, until it is forged.
 */
static void shrink_and_grow(struct pair *pair, uint64_t small, bool window_described)
{
    struct np_error err = NP_ERROR_INIT;
    char from[32], to[32];
    struct content cut = pair->content;
    cut.geometry.size = small;
    NP_AUTO_FREE bool *last = calloc(content_count(&cut) + 1, sizeof(*last));
    if (small % GRANULE != 0)
        last[small / GRANULE] = true;
    add_stream(&pair->history, &cut, last);

    struct memory_stream *grown = begin_stream(&pair->history, &pair->content);
    grown->meta->disks[0].base_size = pair->content.geometry.size;
    memory_stream_write(grown);
    if (window_described)
        ok(np_writer_zero(grown->writer, 0, small, CHUNK, &err));
    finish_stream(&pair->history, NULL);
    snprintf(from, sizeof(from), "\"size\":262144,\"digest\"");
    snprintf(to, sizeof(to), "\"size\":%06u,\"digest\"", (unsigned)small);
    assert_int_equal(to[7] != '0', 1); /* JSON has no leading zeroes */
    forge_meta(grown, from, to, "0003.vda.nbp");
}

static void test_chain__what_a_shrink_cut_off_does_not_come_back(void **state)
{
    (void)state;
    PAIR(pair, 4);
    shrink_and_grow(&pair, 2 * CHUNK + 3 * GRANULE, false);
    assert_never_stored(&pair.history, 2, 2 * CHUNK + 3 * GRANULE);
}

static void test_chain__what_lies_beyond_a_described_window_is_cut_off_too(void **state)
{
    (void)state;
    PAIR(pair, 4);
    shrink_and_grow(&pair, 2 * CHUNK, true);
    assert_never_stored(&pair.history, 2, 3 * CHUNK);
}

static void test_chain__short_last_granule_of_an_older_stream_is_not_taken(void **state)
{
    (void)state;
    PAIR(pair, 4);
    shrink_and_grow(&pair, 2 * CHUNK + 3 * GRANULE + 512, false);
    assert_never_stored(&pair.history, 2, 2 * CHUNK + 3 * GRANULE);
}

static void test_chain__long_zero_is_cut_off_too(void **state)
{
    (void)state;
    PAIR(pair, 4);
    pair_set(&pair, 0, 4 * PER_WINDOW, 0);
    add_stream(&pair.history, &pair.content, pair.described);
    shrink_and_grow(&pair, 2 * CHUNK + 3 * GRANULE, false);
    assert_never_stored(&pair.history, 3, 2 * CHUNK + 3 * GRANULE);
}

/* The short last granule after a shrink, not stored again: its bytes are there, its hash is over more. */
static void test_chain__longer_last_granule_of_an_older_stream_is_not_taken(void **state)
{
    (void)state;
    PAIR(pair, 4);
    struct content cut = pair.content;
    cut.geometry.size = 2 * CHUNK + 512;
    struct memory_stream *shrunk = begin_stream(&pair.history, &cut);
    shrunk->meta->disks[0].base_size = cut.geometry.size;
    memory_stream_write(shrunk);
    finish_stream(&pair.history, NULL);
    forge_meta(shrunk, "\"size\":131584,\"digest\"", "\"size\":262144,\"digest\"", "0002.vda.nbp");
    assert_never_stored(&pair.history, 1, 2 * CHUNK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chain__random_histories_are_told_exactly),
        cmocka_unit_test(test_chain__what_became_zero_does_not_come_back),
        cmocka_unit_test(test_chain__zeroes_of_neighbouring_windows_are_one_step),
        cmocka_unit_test(test_chain__record_replaced_in_whole_gives_no_step),
        cmocka_unit_test(test_chain__window_of_several_records_gives_one_step_each),
        cmocka_unit_test(test_chain__dead_granules_decide_nothing),
        cmocka_unit_test(test_chain__empty_disk_ends_at_once),
        cmocka_unit_test(test_chain__huge_zero_runs_are_not_walked),
        cmocka_unit_test(test_chain__index_under_a_long_zero_is_skipped),
        cmocka_unit_test(test_chain_link__increment_without_changes_fits),
        cmocka_unit_test(test_chain_link__other_state_is_refused),
        cmocka_unit_test(test_chain_link__other_digest_is_refused),
        cmocka_unit_test(test_chain_link__unknown_digest_is_accepted),
        cmocka_unit_test(test_chain_link__other_base_size_is_refused),
        cmocka_unit_test(test_chain_link__other_granule_is_refused),
        cmocka_unit_test(test_chain_link__chain_without_its_full_is_refused),
        cmocka_unit_test(test_chain__disk_that_a_stream_lacks_is_refused),
        cmocka_unit_test(test_chain__hole_in_a_full_is_never_stored),
        cmocka_unit_test(test_chain__what_a_shrink_cut_off_does_not_come_back),
        cmocka_unit_test(test_chain__what_lies_beyond_a_described_window_is_cut_off_too),
        cmocka_unit_test(test_chain__short_last_granule_of_an_older_stream_is_not_taken),
        cmocka_unit_test(test_chain__long_zero_is_cut_off_too),
        cmocka_unit_test(test_chain__longer_last_granule_of_an_older_stream_is_not_taken),
    };
    return cmocka_run_group_tests_name("chain", tests, NULL, NULL);
}
