#include "chain_history.h"

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

/* Put right the sums of the record that END names at `reference`, after a change to its table and data. */
static void seal_named(struct memory *memory, uint64_t reference)
{
    uint64_t end = memory->size - NP_END_SIZE;
    uint8_t *table = memory->bytes + end + NP_RECORD_HEADER_SIZE;
    uint64_t pos = np_get_le64(table + reference);
    struct np_record_header header = header_at(memory, pos);
    const uint8_t *own = memory->bytes + pos + NP_RECORD_HEADER_SIZE;
    header.table_sum = np_hash64(own, header.table_len);
    header.data_sum = np_hash128(own + header.table_len, header.data_len);
    np_record_encode(&header, memory->bytes + pos);
    np_put_le64(table + reference + 8, header.head_sum);
    header = header_at(memory, end);
    header.table_sum = np_hash64(table, header.table_len);
    np_record_encode(&header, memory->bytes + end);
}

/* One more than there is, in DIR and in results. @param at of the number in DIR's entry of the disk */
static void forge_total(struct memory_stream *stream, const char *key, uint64_t at)
{
    const uint64_t dir = 16, meta = 40; /* FORMAT.md, "END" */
    struct memory *memory = &stream->memory;
    const uint8_t *end = memory->bytes + memory->size - NP_END_SIZE + NP_RECORD_HEADER_SIZE;
    uint8_t *number = memory->bytes + np_get_le64(end + dir) + NP_RECORD_HEADER_SIZE + 16 + at;
    np_put_le64(number, np_get_le64(number) + 1);
    uint64_t second = np_get_le64(end + meta);
    struct np_record_header header = header_at(memory, second);
    char *results = (char *)memory->bytes + second + NP_RECORD_HEADER_SIZE + header.table_len;
    char *digit = memmem(results, header.data_len, key, strlen(key));
    assert_non_null(digit);
    digit += strlen(key);
    digit += strspn(digit, "0123456789") - 1;
    assert_int_not_equal(*digit, '9');
    ++*digit;
    seal_named(memory, dir);
    seal_named(memory, meta);
    memory_stream_reopen(stream, "forged.nbp");
}

/* In the stream that others build on as in the newest, whatever kind of record comes last. */
static void test_chain__index_that_does_not_add_up_to_dir_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        uint64_t at;
    } totals[] = {
        {"\"records\":", 56},    {"\"data_bytes\":", 64},   {"\"zero_bytes\":", 72},
        {"\"dead_bytes\":", 80}, {"\"stored_bytes\":", 88},
    };
    for (size_t i = 0; i < 2 * NP_ARRAY_SIZE(totals); i++) {
        struct np_error err = NP_ERROR_INIT;
        PAIR(pair, 4);
        pair_set(&pair, 3 * PER_WINDOW, PER_WINDOW, 0);
        add_stream(&pair.history, &pair.content, pair.described);
        forge_total(&pair.history.streams[i % 2], totals[i / 2].key, totals[i / 2].at);
        CHAIN(chain, &pair.history, 1);
        static struct np_chain_step step;
        int got;
        while ((got = np_chain_next(chain, &step, &err)) > 0)
            continue;
        assert_int_equal(got, -1);
        assert_int_equal(err.class, NP_DAMAGED);
        assert_string_equal(err.disk, "vda");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chain__index_that_does_not_add_up_to_dir_is_refused),
        cmocka_unit_test(test_chain__hole_in_a_full_is_never_stored),
        cmocka_unit_test(test_chain__what_a_shrink_cut_off_does_not_come_back),
        cmocka_unit_test(test_chain__what_lies_beyond_a_described_window_is_cut_off_too),
        cmocka_unit_test(test_chain__short_last_granule_of_an_older_stream_is_not_taken),
        cmocka_unit_test(test_chain__long_zero_is_cut_off_too),
        cmocka_unit_test(test_chain__longer_last_granule_of_an_older_stream_is_not_taken),
    };
    return cmocka_run_group_tests_name("chain_forged", tests, NULL, NULL);
}
