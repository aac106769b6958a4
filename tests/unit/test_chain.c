#include "chain_history.h"

/* ---- named cases ---- */

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

int main(void)
{
    const struct CMUnitTest tests[] = {
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
    };
    return cmocka_run_group_tests_name("chain", tests, NULL, NULL);
}
