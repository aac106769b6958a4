#include "test.h"

#include "nbdpull/digest.h"

/* Values from xxhsum -H2 and -H3 of xxHash 0.8.1, which prints the high half first. */
static void test_hash__agrees_with_xxhsum(void **state)
{
    (void)state;
    assert_true(np_hash64("", 0) == UINT64_C(0x2d06800538d394c2));
    struct np_hash128 empty = np_hash128("", 0);
    assert_true(empty.high == UINT64_C(0x99aa06d3014798d8));
    assert_true(empty.low == UINT64_C(0x6001c324468d497f));
    struct np_hash128 abc = np_hash128("abc", 3);
    assert_true(abc.high == UINT64_C(0x06b05ab6733a6185));
    assert_true(abc.low == UINT64_C(0x78af5f94892f3950));
}

static void test_hash__long_input_agrees_with_xxhsum(void **state)
{
    (void)state;
    uint8_t bytes[65536];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7 + i / 251);
    struct np_hash128 h = np_hash128(bytes, sizeof(bytes));
    assert_true(h.high == UINT64_C(0x27e28f0ad0e10e53));
    assert_true(h.low == UINT64_C(0x0d88401380df353c));
    assert_true(np_hash64(bytes, sizeof(bytes)) == UINT64_C(0x0d88401380df353c));
}

static void test_hash__stored_low_half_first(void **state)
{
    (void)state;
    struct np_hash128 h = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};
    uint8_t bytes[NP_HASH128_SIZE];
    np_hash128_put(bytes, h);
    for (uint8_t i = 0; i < 16; i++)
        assert_int_equal(bytes[i], i);
    assert_true(np_hash128_equal(np_hash128_get(bytes), h));
    assert_false(np_hash128_equal(h, (struct np_hash128){h.low, h.high + 1}));
    assert_false(np_hash128_equal(h, (struct np_hash128){h.low + 1, h.high}));
}

static void test_hash__stream_gives_the_same_in_any_pieces(void **state)
{
    (void)state;
    uint8_t bytes[3000];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * i);
    struct np_hash_stream *hash = np_hash_stream_new();
    assert_non_null(hash);
    assert_true(np_hash128_equal(np_hash_stream_get(hash), np_hash128("", 0)));
    for (size_t piece = 1; piece < 700; piece += 83) {
        np_hash_stream_reset(hash);
        for (size_t at = 0; at < sizeof(bytes); at += piece)
            np_hash_stream_add(hash, bytes + at, at + piece < sizeof(bytes) ? piece : sizeof(bytes) - at);
        assert_true(np_hash128_equal(np_hash_stream_get(hash), np_hash128(bytes, sizeof(bytes))));
    }
    np_hash_stream_free(hash);
    np_hash_stream_free(NULL);
}

static const struct np_hash128 hash_a = {1, 2}, hash_b = {UINT64_MAX, UINT64_MAX};

static void test_digest__order_does_not_matter(void **state)
{
    (void)state;
    struct np_hash128 ab = {0, 0}, ba = {0, 0};
    np_digest_add(&ab, 0, 65536, hash_a);
    np_digest_add(&ab, 7, 512, hash_b);
    np_digest_add(&ba, 7, 512, hash_b);
    np_digest_add(&ba, 0, 65536, hash_a);
    assert_true(np_hash128_equal(ab, ba));
}

static void test_digest__subtract_undoes_add_with_carry_and_borrow(void **state)
{
    (void)state;
    struct np_hash128 start = {UINT64_MAX, UINT64_MAX}, sum = start;
    for (uint64_t i = 0; i < 100; i++)
        np_digest_add(&sum, i, 4096, hash_a);
    assert_false(np_hash128_equal(sum, start));
    for (uint64_t i = 100; i-- > 0;)
        np_digest_subtract(&sum, i, 4096, hash_a);
    assert_true(np_hash128_equal(sum, start));
}

static void test_digest__number_length_and_hash_all_count(void **state)
{
    (void)state;
    struct np_hash128 sums[5] = {{0, 0}};
    np_digest_add(&sums[0], 1, 4096, hash_a);
    np_digest_add(&sums[1], 2, 4096, hash_a);
    np_digest_add(&sums[2], 1, 4095, hash_a);
    np_digest_add(&sums[3], 1, 4096, hash_b);
    np_digest_add(&sums[4], UINT64_C(1) + (UINT64_C(1) << 34), 4096, hash_a); /* numbers need 64 bits */
    for (size_t i = 0; i < 5; i++)
        for (size_t j = 0; j < i; j++)
            assert_false(np_hash128_equal(sums[i], sums[j]));
}

static void test_digest__is_a_sum_of_hashes_of_32_bytes(void **state)
{
    (void)state;
    uint8_t term[32] = {5, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2};
    struct np_hash128 sum = {0, 0};
    np_digest_add(&sum, 5, 512, hash_a);
    assert_true(np_hash128_equal(sum, np_hash128(term, sizeof(term))));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hash__agrees_with_xxhsum),
        cmocka_unit_test(test_hash__long_input_agrees_with_xxhsum),
        cmocka_unit_test(test_hash__stored_low_half_first),
        cmocka_unit_test(test_hash__stream_gives_the_same_in_any_pieces),
        cmocka_unit_test(test_digest__order_does_not_matter),
        cmocka_unit_test(test_digest__subtract_undoes_add_with_carry_and_borrow),
        cmocka_unit_test(test_digest__number_length_and_hash_all_count),
        cmocka_unit_test(test_digest__is_a_sum_of_hashes_of_32_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
