#include "chain_history.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chain__random_histories_are_told_exactly),
    };
    return cmocka_run_group_tests_name("chain_random", tests, NULL, NULL);
}
