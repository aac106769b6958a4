/* The walk over block status replies, without a server: what they say, and all that can be wrong with them.
 */
#include "test.h"

#include "../../src/nbd/extents.h"
#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"

#define HOLE 1u
#define ZERO 2u
#define DIRTY 1u
#define EVERYTHING UINT64_MAX

#define append_zero(list, words, limit)                                                                      \
    np_nbd_extents_append(list, words, NP_ARRAY_SIZE(words), limit, ZERO, NP_EXTENT_ZERO, &err)
#define append_dirty(list, words, limit)                                                                     \
    np_nbd_extents_append(list, words, NP_ARRAY_SIZE(words), limit, DIRTY, NP_EXTENT_DIRTY, &err)

static int begin(void **state)
{
    *state = calloc(2, sizeof(struct np_nbd_extents));
    return *state == NULL;
}

static int end(void **state)
{
    struct np_nbd_extents *lists = *state;
    np_nbd_extents_clear(&lists[0]);
    np_nbd_extents_clear(&lists[1]);
    free(lists);
    return 0;
}

static void assert_extent(struct np_extent extent, uint64_t offset, uint64_t length, uint32_t flags)
{
    assert_int_equal(extent.offset, offset);
    assert_int_equal(extent.length, length);
    assert_int_equal(extent.flags, flags);
}

static void test_extents__two_contexts_cut_differently_go_in_step(void **state)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_nbd_extents *lists = *state;
    const uint32_t allocation[] = {100, 0, 50, HOLE | ZERO, 850, 0};
    const uint32_t dirty[] = {30, DIRTY, 90, 0, 10, DIRTY, 870, 0};
    np_nbd_extents_begin(&lists[0], 1000);
    np_nbd_extents_begin(&lists[1], 1000);
    ok(append_zero(&lists[0], allocation, EVERYTHING));
    ok(append_dirty(&lists[1], dirty, EVERYTHING));

    struct np_extent out[8];
    size_t count;
    ok(np_nbd_extents_walk(lists, 2, 1000, 2000, out, 8, &count, &err));
    assert_int_equal(count, 6);
    assert_extent(out[0], 1000, 30, NP_EXTENT_DIRTY);
    assert_extent(out[1], 1030, 70, 0);
    assert_extent(out[2], 1100, 20, NP_EXTENT_ZERO);
    assert_extent(out[3], 1120, 10, NP_EXTENT_ZERO | NP_EXTENT_DIRTY);
    assert_extent(out[4], 1130, 20, NP_EXTENT_ZERO);
    assert_extent(out[5], 1150, 850, 0);
}

static void test_extents__the_walk_ends_where_the_shorter_reply_ends(void **state)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_nbd_extents *lists = *state;
    const uint32_t allocation[] = {4096, 0, 4096, ZERO};
    const uint32_t dirty[] = {5000, DIRTY};
    np_nbd_extents_begin(&lists[0], 0);
    np_nbd_extents_begin(&lists[1], 0);
    ok(append_zero(&lists[0], allocation, EVERYTHING));
    ok(append_dirty(&lists[1], dirty, EVERYTHING));

    struct np_extent out[8];
    size_t count;
    ok(np_nbd_extents_walk(lists, 2, 0, 8192, out, 8, &count, &err));
    assert_int_equal(count, 2);
    assert_extent(out[1], 4096, 904, NP_EXTENT_ZERO | NP_EXTENT_DIRTY);
    fails(NP_FAILED, np_nbd_extents_walk(lists, 2, 5000, 8192, out, 8, &count, &err));
}

static void test_extents__a_hole_that_is_not_zero_is_data(void **state)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_nbd_extents *lists = *state;
    const uint32_t allocation[] = {512, HOLE, 512, 0, 512, ZERO, 512, HOLE | ZERO};
    np_nbd_extents_begin(&lists[0], 0);
    ok(append_zero(&lists[0], allocation, EVERYTHING));

    struct np_extent out[4];
    size_t count;
    ok(np_nbd_extents_walk(lists, 1, 0, 2048, out, 4, &count, &err));
    assert_int_equal(count, 2);
    assert_extent(out[0], 0, 1024, 0);
    assert_extent(out[1], 1024, 1024, NP_EXTENT_ZERO);
}

static void test_extents__what_was_not_asked_for_is_dropped(void **state)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_nbd_extents *lists = *state;
    const uint32_t last_is_long[] = {512, 0, UINT32_MAX, ZERO};
    const uint32_t more_than_asked[] = {2048, DIRTY, 512, 0, 512, DIRTY};
    np_nbd_extents_begin(&lists[0], 0);
    np_nbd_extents_begin(&lists[1], 0);
    ok(append_zero(&lists[0], last_is_long, 2048));
    ok(append_dirty(&lists[1], more_than_asked, 2048));
    assert_int_equal(lists[0].end, 2048);
    assert_int_equal(lists[1].end, 2048);

    struct np_extent out[4];
    size_t count;
    ok(np_nbd_extents_walk(lists, 2, 0, 1024, out, 4, &count, &err));
    assert_int_equal(count, 2);
    assert_extent(out[1], 512, 512, NP_EXTENT_ZERO | NP_EXTENT_DIRTY);
}

static void test_extents__no_bytes_is_no_progress(void **state)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_nbd_extents *lists = *state;
    const uint32_t in_the_middle[] = {512, 0, 0, ZERO, 512, 0};
    const uint32_t half[] = {512, 0, 512};
    np_nbd_extents_begin(&lists[0], 0);
    fails(NP_FAILED, append_zero(&lists[0], in_the_middle, EVERYTHING));
    np_nbd_extents_begin(&lists[0], 0);
    fails(NP_FAILED, append_zero(&lists[0], half, EVERYTHING));
}

static void test_extents__a_context_without_reply_is_an_error(void **state)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_nbd_extents *lists = *state;
    const uint32_t allocation[] = {4096, 0};
    np_nbd_extents_begin(&lists[0], 0);
    np_nbd_extents_begin(&lists[1], 0);
    ok(append_zero(&lists[0], allocation, EVERYTHING));

    struct np_extent out[1];
    size_t count;
    fails(NP_FAILED, np_nbd_extents_walk(lists, 2, 0, 4096, out, 1, &count, &err));
    fails(NP_FAILED, np_nbd_extents_walk(lists, 1, 4096, 8192, out, 1, &count, &err));
    np_nbd_extents_begin(&lists[0], 512);
    ok(append_zero(&lists[0], allocation, EVERYTHING));
    fails(NP_FAILED, np_nbd_extents_walk(lists, 1, 0, 4096, out, 1, &count, &err));
}

/* The reference is a byte for each unit; cuts and flags come from a generator with a fixed seed. */
#define UNITS 3000

static uint32_t draw(uint32_t *seed, uint32_t below)
{
    *seed = *seed * 1664525 + 1013904223;
    return (*seed >> 8) % below;
}

static size_t make_reply(uint32_t *seed, uint32_t bit, uint32_t flag, uint8_t model[UNITS],
                         uint32_t words[2 * UNITS])
{
    size_t count = 0;
    for (uint32_t at = 0; at < UNITS;) {
        uint32_t length = 1 + draw(seed, 9), on = draw(seed, 2);
        length = (uint32_t)np_min_u64(length, UNITS - at);
        words[count++] = length;
        words[count++] = on ? bit : 0;
        for (uint32_t i = 0; i < length; i++)
            model[at + i] |= on ? (uint8_t)flag : 0;
        at += length;
    }
    return count;
}

static void test_extents__random_cuts_and_small_rooms_lose_nothing(void **state)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_nbd_extents *lists = *state;
    uint32_t seed = 7;
    static uint8_t model[UNITS];
    static uint32_t zero[2 * UNITS], dirty[2 * UNITS];
    size_t zeroes = make_reply(&seed, ZERO, NP_EXTENT_ZERO, model, zero);
    size_t dirties = make_reply(&seed, DIRTY, NP_EXTENT_DIRTY, model, dirty);
    np_nbd_extents_begin(&lists[0], 0);
    np_nbd_extents_begin(&lists[1], 0);
    ok(np_nbd_extents_append(&lists[0], zero, zeroes, UNITS, ZERO, NP_EXTENT_ZERO, &err));
    ok(np_nbd_extents_append(&lists[1], dirty, dirties, UNITS, DIRTY, NP_EXTENT_DIRTY, &err));

    for (uint64_t pos = 0; pos < UNITS;) {
        struct np_extent out[5];
        size_t count, room = 1 + draw(&seed, 5);
        uint64_t limit = np_min_u64(UNITS, pos + 1 + draw(&seed, 40));
        ok(np_nbd_extents_walk(lists, 2, pos, limit, out, room, &count, &err));
        assert_in_range(count, 1, room);
        for (size_t i = 0; i < count; i++) {
            assert_int_equal(out[i].offset, pos);
            assert_true(out[i].length > 0 && i + 1 < count ? out[i].flags != out[i + 1].flags : true);
            for (uint64_t end_of = pos + out[i].length; pos < end_of; pos++)
                assert_int_equal(out[i].flags, model[pos]);
        }
        assert_true(pos <= limit);
    }
}

static void test_extents__walks_may_go_back(void **state)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_nbd_extents *lists = *state;
    const uint32_t allocation[] = {512, 0, 512, ZERO, 512, 0};
    np_nbd_extents_begin(&lists[0], 0);
    ok(append_zero(&lists[0], allocation, EVERYTHING));

    struct np_extent out[1];
    size_t count;
    ok(np_nbd_extents_walk(lists, 1, 1100, 1536, out, 1, &count, &err));
    assert_extent(out[0], 1100, 436, 0);
    ok(np_nbd_extents_walk(lists, 1, 100, 1536, out, 1, &count, &err));
    assert_extent(out[0], 100, 412, 0);
}

static void test_extents__a_reply_of_any_size_is_kept_in_bounded_memory(void **state)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_nbd_extents *lists = *state;
    size_t count = 2 * (NP_NBD_EXTENTS_KEPT + 1000);
    NP_AUTO_FREE uint32_t *words = calloc(count, sizeof(*words));
    assert_non_null(words);
    for (size_t i = 0; i < count; i += 2) {
        words[i] = 512;
        words[i + 1] = i % 4 == 0 ? ZERO : 0;
    }
    np_nbd_extents_begin(&lists[0], 0);
    ok(np_nbd_extents_append(&lists[0], words, count, EVERYTHING, ZERO, NP_EXTENT_ZERO, &err));
    assert_int_equal(lists[0].count, NP_NBD_EXTENTS_KEPT);
    assert_int_equal(lists[0].capacity, NP_NBD_EXTENTS_KEPT);
    assert_int_equal(lists[0].end, NP_NBD_EXTENTS_KEPT * UINT64_C(512));
}

static void test_extents__runs_beyond_4_gib_do_not_overflow(void **state)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_nbd_extents *lists = *state;
    const uint32_t allocation[] = {UINT32_MAX, 0, UINT32_MAX, 0, 1, 0};
    np_nbd_extents_begin(&lists[0], UINT64_C(1) << 52);
    ok(append_zero(&lists[0], allocation, EVERYTHING));

    struct np_extent out[1];
    size_t count;
    ok(np_nbd_extents_walk(lists, 1, UINT64_C(1) << 52, EVERYTHING, out, 1, &count, &err));
    assert_extent(out[0], UINT64_C(1) << 52, 2 * (uint64_t)UINT32_MAX + 1, 0);
}

int main(void)
{
#define with_lists(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        with_lists(test_extents__two_contexts_cut_differently_go_in_step),
        with_lists(test_extents__the_walk_ends_where_the_shorter_reply_ends),
        with_lists(test_extents__a_hole_that_is_not_zero_is_data),
        with_lists(test_extents__what_was_not_asked_for_is_dropped),
        with_lists(test_extents__no_bytes_is_no_progress),
        with_lists(test_extents__a_context_without_reply_is_an_error),
        with_lists(test_extents__random_cuts_and_small_rooms_lose_nothing),
        with_lists(test_extents__walks_may_go_back),
        with_lists(test_extents__a_reply_of_any_size_is_kept_in_bounded_memory),
        with_lists(test_extents__runs_beyond_4_gib_do_not_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
