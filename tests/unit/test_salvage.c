/*
 * Streams are damaged in all ways, and what is left of a chain is read. Then each granule must be as it was,
 * or be told as lost; and what stands for a lost one must be what is said to stand there. Which histories
 * NBDPULL_CHOICE says; NP_HISTORIES takes so many from the first on.
 */
#include "salvage_left.h"

#include "../../format/losses.h"

#include <signal.h>

static void run_history(uint64_t seed)
{
    random_state = seed * UINT64_C(0x9e3779b97f4a7c15) + 7;
    struct history history = {0};
    struct content contents[LAYERS_MAX];
    bool described[9 * PER_WINDOW + 2];
    size_t points = 1 + pick(LAYERS_MAX - 2);
    contents[0] = content_new(random_size(), CHUNK, GRANULE);
    mutate(&contents[0], described);
    memset(described, true, sizeof(described));
    for (size_t i = 0; i < points; i++) {
        if (i > 0)
            contents[i] = next_content(&contents[i - 1], described);
        add_random_stream(&history, &contents[i], described);
    }
    for (int round = 0; round < 6; round++) {
        struct left left;
        left_begin(&left, &history, pick(points));
        for (uint64_t n = 1 + pick(3); n > 0; n--) {
            size_t which = pick(left.count);
            damage_randomly(&left.streams[which], &history.streams[pick(left.count)].memory);
            if (left.streams[which].memory.size > history.streams[which].memory.size)
                break; /* there is room to grow once */
        }
        if (check_left(&left, &history, contents, false))
            check_left(&left, &history, contents, true);
        left_clear(&left);
    }
    for (size_t i = 0; i < points; i++)
        content_clear(&contents[i]);
    history_clear(&history);
}

static void test_salvage__each_granule_is_as_it_was_or_told_as_lost(void **state)
{
    (void)state;
    const char *more = getenv("NP_HISTORIES"), *choice = getenv("NBDPULL_CHOICE");
    uint64_t seeds = more != NULL ? strtoull(more, NULL, 10) : 200;
    uint64_t first = more == NULL && choice != NULL ? strtoull(choice, NULL, 10) * seeds + 1 : 1;
    print_message("histories %ju to %ju\n", (uintmax_t)first, (uintmax_t)(first + seeds - 1));
    for (uint64_t seed = first; seed < first + seeds; seed++)
        run_history(seed);
}

/* ---- what must not be lost ---- */

struct case_of {
    struct history history;
    struct content contents[2];
    bool *described;
    struct left left;
};

/* A full of that many windows, all data but each third granule, and an increment on some of them. */
static void case_begin(struct case_of *it, uint64_t windows)
{
    *it = (struct case_of){0};
    it->contents[0] = content_new(windows * CHUNK, CHUNK, GRANULE);
    it->contents[1] = content_new(windows * CHUNK, CHUNK, GRANULE);
    uint64_t count = content_count(&it->contents[0]);
    it->described = calloc(count + 1, 1);
    assert_non_null(it->described);
    memset(it->described, true, count);
    for (uint64_t i = 0; i < count; i++)
        it->contents[0].granules[i] = i % 3 == 0 ? 0 : (uint32_t)i + 1;
    add_stream(&it->history, &it->contents[0], it->described);
    for (uint64_t i = 0; i < count; i++) {
        it->described[i] = i / PER_WINDOW % 2 == 0 && i % 5 < 2;
        it->contents[1].granules[i] =
            it->described[i] ? (i % 4 == 0 ? 0 : (uint32_t)(i + 70000)) : it->contents[0].granules[i];
    }
    add_stream(&it->history, &it->contents[1], it->described);
}

static void case_clear(struct case_of *it)
{
    content_clear(&it->contents[0]);
    content_clear(&it->contents[1]);
    history_clear(&it->history);
    free(it->described);
}

/* Damage the stream `which` of a chain that ends with the stream `newest`, and read what is left. */
static void after(struct case_of *it, size_t newest, size_t which, void (*damage)(struct damaged *damaged),
                  bool older)
{
    left_begin(&it->left, &it->history, newest);
    damage(&it->left.streams[which]);
    assert_true(check_left(&it->left, &it->history, it->contents, older));
    left_clear(&it->left);
}

static void nothing(struct damaged *damaged)
{
    (void)damaged;
}

static uint64_t the_record; /* that the functions below damage; counted from 0, META */

static void flip_header(struct damaged *damaged)
{
    struct np_record_header header;
    damaged->memory.bytes[record_at(&damaged->memory, the_record, &header) + 30] ^= 1;
}

static void flip_table(struct damaged *damaged)
{
    struct np_record_header header;
    damaged->memory.bytes[record_at(&damaged->memory, the_record, &header) + NP_RECORD_HEADER_SIZE] ^= 1;
}

static void flip_data(struct damaged *damaged)
{
    struct np_record_header header;
    size_t at = record_at(&damaged->memory, the_record, &header);
    damaged->memory.bytes[at + NP_RECORD_HEADER_SIZE + header.table_len] ^= 1;
}

static void drop_record(struct damaged *damaged)
{
    struct np_record_header header;
    size_t at = record_at(&damaged->memory, the_record, &header);
    cut_out(&damaged->memory, at, at + np_record_size(&header));
}

static void drop_end(struct damaged *damaged)
{
    damaged->memory.size -= NP_END_SIZE;
}

/* META, DIR and END */
static void drop_trailer(struct damaged *damaged)
{
    struct np_record_header header;
    for (uint64_t n = 1;; n++) {
        size_t at = record_at(&damaged->memory, n, &header);
        if (header.type != NP_RECORD_META)
            continue;
        damaged->memory.size = at;
        return;
    }
}

static void drop_first_meta(struct damaged *damaged)
{
    memset(damaged->memory.bytes, 0, 700);
}

static void test_salvage__of_good_streams_nothing_is_lost(void **state)
{
    (void)state;
    struct case_of it;
    case_begin(&it, 1100);
    for (size_t newest = 0; newest < 2; newest++) {
        after(&it, newest, 0, nothing, false);
        assert_true(it.left.whole && it.left.sound);
        assert_int_equal(told.lost_bytes + told.possible_bytes, 0);
    }
    case_clear(&it);
}

static void test_salvage__end_dir_and_meta_can_be_lost_without_loss(void **state)
{
    (void)state;
    void (*const damages[])(struct damaged *) = {drop_end, drop_trailer, drop_first_meta};
    struct case_of it;
    case_begin(&it, 1100);
    for (size_t i = 0; i < NP_ARRAY_SIZE(damages); i++) {
        after(&it, 1, 0, damages[i], false);
        assert_false(it.left.whole);
        assert_int_equal(told.lost_bytes + told.possible_bytes, 0);
    }
    case_clear(&it);
}

/* Of an increment only the end of the disk is in doubt, behind its last record. */
static void test_salvage__an_increment_without_an_end_is_in_doubt_behind_its_last_record(void **state)
{
    (void)state;
    struct case_of it;
    case_begin(&it, 101);
    after(&it, 1, 1, drop_trailer, true);
    assert_int_equal(told.lost_bytes, 0);
    assert_in_range(told.possible_bytes, 1, CHUNK);
    after(&it, 1, 1, drop_end, true); /* DIR is there, and says that there were no more */
    assert_int_equal(told.lost_bytes + told.possible_bytes, 0);
    case_clear(&it);
}

/* Bytes of data granules of the full's window w. */
static uint64_t data_in(const struct case_of *it, uint64_t w)
{
    uint64_t bytes = 0;
    for (uint64_t i = w * PER_WINDOW; i < (w + 1) * PER_WINDOW; i++)
        bytes += it->contents[0].granules[i] != 0 ? GRANULE : 0;
    return bytes;
}

/* The map is in the record's table, or in the leaf that lists it: what was zero is still known to be zero. */
static void test_salvage__a_record_loses_no_more_than_its_data(void **state)
{
    (void)state;
    void (*const damages[])(struct damaged *) = {flip_data, flip_table, flip_header, drop_record};
    struct case_of it;
    case_begin(&it, 1100);
    for (size_t i = 0; i < NP_ARRAY_SIZE(damages); i++)
        for (the_record = 1; the_record < 1000; the_record += 499) {
            struct np_record_header header;
            record_at(&it.history.streams[0].memory, the_record, &header);
            if (header.type != NP_RECORD_DATA)
                continue;
            after(&it, 0, 0, damages[i], false);
            assert_int_equal(told.lost_bytes, data_in(&it, header.offset / CHUNK));
            assert_int_equal(told.possible_bytes, 0);
        }
    case_clear(&it);
}

static uint64_t first_of_type(const struct memory *memory, uint8_t type, uint64_t from)
{
    struct np_record_header header;
    for (uint64_t n = from;; n++) {
        record_at(memory, n, &header);
        if (header.type == type)
            return n;
    }
}

static void test_salvage__an_index_can_be_lost_without_loss(void **state)
{
    (void)state;
    void (*const damages[])(struct damaged *) = {flip_table, flip_header, drop_record};
    struct case_of it;
    case_begin(&it, 1100);
    for (size_t which = 0; which < 2; which++)
        for (size_t i = 0; i < NP_ARRAY_SIZE(damages); i++) {
            the_record = first_of_type(&it.history.streams[which].memory, NP_RECORD_INDEX, 0);
            after(&it, 1, which, damages[i], false);
            assert_false(it.left.whole);
            assert_int_equal(told.lost_bytes + told.possible_bytes, 0);
        }
    case_clear(&it);
}

/* A good header that has another sum of no data than there is. */
static void other_sum_of_nothing(struct damaged *damaged)
{
    struct np_record_header header;
    uint8_t *bytes = damaged->memory.bytes + record_at(&damaged->memory, the_record, &header);
    header.data_sum.low ^= 1;
    np_record_encode(&header, bytes);
}

/* A ZERO says all by its header; nothing is lost, but a stream that no other reader takes is not whole. */
static void test_salvage__a_zero_whose_sums_are_wrong_still_says_zero(void **state)
{
    (void)state;
    static const uint8_t types[] = {NP_RECORD_ZERO, NP_RECORD_DIR};
    struct case_of it = {0};
    it.contents[0] = content_new(100 * CHUNK, CHUNK, GRANULE);
    uint64_t count = content_count(&it.contents[0]);
    it.described = malloc(count);
    assert_non_null(it.described);
    memset(it.described, true, count);
    for (uint64_t i = 0; i < count; i++)
        it.contents[0].granules[i] = i / PER_WINDOW % 20 < 10 ? (uint32_t)i + 1 : 0;
    add_stream(&it.history, &it.contents[0], it.described);
    for (size_t i = 0; i < NP_ARRAY_SIZE(types); i++) {
        the_record = first_of_type(&it.history.streams[0].memory, types[i], 0);
        after(&it, 0, 0, other_sum_of_nothing, false);
        assert_false(it.left.whole);
        assert_int_equal(told.lost_bytes + told.possible_bytes, 0);
    }
    content_clear(&it.contents[0]);
    history_clear(&it.history);
    free(it.described);
}

struct bad_disk {
    struct np_cancel cancel;
    unsigned reads;
};

static int fail_and_ask(void *ctx, void *buffer, size_t size, uint64_t pos, struct np_error *err)
{
    struct bad_disk *bad = ctx;
    (void)buffer;
    if (++bad->reads == 10)
        np_cancel_request(&bad->cancel, SIGINT);
    return np_fail(err, NP_FAILED, "cannot read %zu bytes at %ju", size, (uintmax_t)pos);
}

/* Each block of a bad disk may take seconds. */
static void test_salvage__stops_between_blocks_that_cannot_be_read(void **state)
{
    (void)state;
    static const struct np_uuid id = {.bytes = {1}};
    for (int known = 0; known < 2; known++) {
        struct bad_disk bad = {.reads = 0};
        struct np_error err = NP_ERROR_INIT;
        struct np_meta *meta;
        np_cancel_init(&bad.cancel);
        const struct np_salvage_request request = {
            .input = {.read_at = fail_and_ask, .ctx = &bad, .size = 200 << 10},
            .name = "stream",
            .stream = known ? &id : NULL,
            .cancel = &bad.cancel};
        fails(NP_INTERRUPTED, np_salvage_meta(&request, &meta, &err));
        assert_int_equal(bad.reads, 10);
        np_cancel_clear(&bad.cancel);
    }
}

static uint64_t the_index;

static void flip_header_and_index(struct damaged *damaged)
{
    struct np_record_header header;
    size_t index = record_at(&damaged->memory, the_index, &header);
    flip_header(damaged);
    damaged->memory.bytes[index + NP_RECORD_HEADER_SIZE + 20] ^= 1;
}

/* Then nobody knows which it was: all that no record describes between its neighbours. */
static void test_salvage__without_record_and_index_what_lies_between_its_neighbours_is_in_doubt(void **state)
{
    (void)state;
    struct case_of it;
    case_begin(&it, 200);
    the_record = 11;
    the_index = first_of_type(&it.history.streams[1].memory, NP_RECORD_INDEX, 0);
    after(&it, 1, 1, flip_header_and_index, true);
    assert_int_equal(told.lost_bytes, 0);
    assert_in_range(told.possible_bytes, CHUNK, 5 * CHUNK); /* windows 18 to 22 */
    the_index = first_of_type(&it.history.streams[0].memory, NP_RECORD_INDEX, 0);
    after(&it, 0, 0, flip_header_and_index, false);
    assert_int_equal(told.possible_bytes, 0); /* a full stores all */
    assert_int_equal(told.lost_bytes, CHUNK);
    case_clear(&it);
}

static void lose_it(struct damaged *damaged)
{
    damaged->gone = true;
}

static void test_salvage__without_a_stream_the_rest_of_the_chain_serves(void **state)
{
    (void)state;
    struct case_of it;
    case_begin(&it, 50);
    after(&it, 1, 1, lose_it, true); /* the increment: all is the full's, and all is in doubt */
    assert_int_equal(told.possible_bytes, 50 * CHUNK);
    after(&it, 1, 0, lose_it, true); /* the full: what the increment has is good */
    assert_in_range(told.lost_bytes + told.possible_bytes, 25 * CHUNK, 49 * CHUNK);
    case_clear(&it);
}

/* The guest's disk may hold streams, whole ones and parts: their records are data. */
static void test_salvage__records_inside_the_payload_are_not_taken(void **state)
{
    (void)state;
    struct case_of it;
    case_begin(&it, 20);
    left_begin(&it.left, &it.history, 0);
    struct memory *memory = &it.left.streams[0].memory;
    const struct memory *guest = &it.history.streams[1].memory;
    struct np_record_header header;
    size_t at = record_at(memory, 3, &header) + NP_RECORD_HEADER_SIZE + header.table_len;
    memcpy(memory->bytes + at, guest->bytes, np_min_u64(guest->size, header.data_len));
    assert_true(check_left(&it.left, &it.history, it.contents, false));
    assert_int_equal(told.lost_bytes, data_in(&it, header.offset / CHUNK));
    left_clear(&it.left);
    case_clear(&it);
}

/* Each byte of a small chain, one after the other. Who restores is told, also where it costs nothing. */
static void test_salvage__any_byte_can_be_wrong(void **state)
{
    (void)state;
    struct case_of it;
    case_begin(&it, 3);
    for (size_t which = 0; which < 2; which++)
        for (size_t at = 0; at < it.history.streams[which].memory.size; at += at < 4000 ? 1 : 37) {
            left_begin(&it.left, &it.history, 1);
            it.left.streams[which].memory.bytes[at] ^= 0x10;
            assert_true(check_left(&it.left, &it.history, it.contents, at % 2 == 0));
            if (it.left.sound)
                fail_msg("byte %zu of %zu of stream %zu is wrong, and nothing says so", at,
                         it.left.streams[which].memory.size, which);
            assert_in_range(told.lost_bytes + told.possible_bytes, 0, 3 * CHUNK);
            left_clear(&it.left);
        }
    case_clear(&it);
}

static void test_salvage__any_length_can_be_left(void **state)
{
    (void)state;
    struct case_of it;
    case_begin(&it, 3);
    for (size_t which = 0; which < 2; which++)
        for (size_t size = 1; size < it.history.streams[which].memory.size; size += size < 3000 ? 7 : 61) {
            left_begin(&it.left, &it.history, 1);
            it.left.streams[which].memory.size = size;
            assert_true(check_left(&it.left, &it.history, it.contents, size % 2 == 0));
            assert_false(it.left.sound);
            left_clear(&it.left);
        }
    case_clear(&it);
}

static void cut_into_end(struct damaged *damaged)
{
    damaged->memory.size--;
}

static void flip_end(struct damaged *damaged)
{
    damaged->memory.bytes[damaged->memory.size - NP_END_SIZE + NP_RECORD_HEADER_SIZE] ^= 1;
}

static void append(struct damaged *damaged)
{
    damaged->memory.bytes[damaged->memory.size++] = 0;
}

static void insert_before_end(struct damaged *damaged)
{
    insert(&damaged->memory, damaged->memory.size - NP_END_SIZE, "sixteen of them.", 16);
}

/* These cost nothing, not even the digest. */
static void test_salvage__damage_that_costs_nothing_is_told(void **state)
{
    (void)state;
    void (*const damages[])(struct damaged *) = {cut_into_end, flip_end, append, insert_before_end,
                                                 flip_table};
    struct case_of it;
    case_begin(&it, 50);
    the_record = 0; /* META */
    for (size_t which = 0; which < 2; which++)
        for (size_t i = 0; i < NP_ARRAY_SIZE(damages); i++) {
            after(&it, 1, which, damages[i], false);
            assert_int_equal(told.lost_bytes + told.possible_bytes, 0);
            if (it.left.sound)
                fail_msg("damage %zu of stream %zu is not told", i, which);
        }
    case_clear(&it);
}

/* A restore reads them twice: to survey, and to write. */
static void test_salvage__losses_of_a_whole_disk_can_be_read_again(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_losses *losses;
    struct np_loss loss;
    ok(np_losses_of_all(1 << 20, &losses, &err));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(np_losses_next(losses, &loss, &err), 1);
        assert_int_equal(loss.length, 1 << 20);
        assert_int_equal(np_losses_next(losses, &loss, &err), 0);
        np_losses_rewind(losses);
    }
    np_losses_free(losses);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_salvage__each_granule_is_as_it_was_or_told_as_lost),
        cmocka_unit_test(test_salvage__of_good_streams_nothing_is_lost),
        cmocka_unit_test(test_salvage__end_dir_and_meta_can_be_lost_without_loss),
        cmocka_unit_test(test_salvage__an_increment_without_an_end_is_in_doubt_behind_its_last_record),
        cmocka_unit_test(test_salvage__a_record_loses_no_more_than_its_data),
        cmocka_unit_test(test_salvage__a_zero_whose_sums_are_wrong_still_says_zero),
        cmocka_unit_test(test_salvage__stops_between_blocks_that_cannot_be_read),
        cmocka_unit_test(test_salvage__an_index_can_be_lost_without_loss),
        cmocka_unit_test(test_salvage__without_record_and_index_what_lies_between_its_neighbours_is_in_doubt),
        cmocka_unit_test(test_salvage__without_a_stream_the_rest_of_the_chain_serves),
        cmocka_unit_test(test_salvage__records_inside_the_payload_are_not_taken),
        cmocka_unit_test(test_salvage__losses_of_a_whole_disk_can_be_read_again),
        cmocka_unit_test(test_salvage__any_byte_can_be_wrong),
        cmocka_unit_test(test_salvage__any_length_can_be_left),
        cmocka_unit_test(test_salvage__damage_that_costs_nothing_is_told),
    };
    return cmocka_run_group_tests_name("salvage", tests, NULL, NULL);
}
