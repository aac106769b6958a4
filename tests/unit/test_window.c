#include "test.h"

#include "nbdpull/bytes.h"
#include "nbdpull/window.h"

#include <stdlib.h>

static const char name[] = "0001.vda.nbp";

enum { KIB = 1024, CHUNK = 64 * KIB, GRANULE = 16 * KIB };

static const struct np_geometry whole = {3 * CHUNK, CHUNK, GRANULE};

/* One DATA record in memory, made from the states of its granules, stored raw. */
struct made {
    struct np_record record;
    uint8_t table[NP_DATA_TABLE_MAX];
    uint8_t payload[CHUNK], out[CHUNK + 16];
};

static void make(struct made *made, const struct np_geometry *geometry, uint64_t offset, const char *states)
{
    memset(made, 0, sizeof(*made));
    uint32_t table_len = np_map_bytes(geometry), data_len = 0;
    for (unsigned i = 0; states[i] != '\0'; i++) {
        enum np_granule_state state = (enum np_granule_state)(strchr("-dzx", states[i]) - "-dzx");
        np_map_set(made->table, i, state);
        if (state != NP_GRANULE_DATA && state != NP_GRANULE_DEAD)
            continue;
        uint32_t length = np_granule_length(geometry, offset, i);
        for (uint32_t at = 0; at < length; at++)
            made->payload[data_len + at] = (uint8_t)(at * 31 + i * 7 + 1);
        np_hash128_put(made->table + table_len, np_hash128(made->payload + data_len, length));
        table_len += NP_HASH128_SIZE;
        data_len += length;
    }
    made->record = (struct np_record){
        .header = {.version = NP_FORMAT_VERSION,
                   .type = NP_RECORD_DATA,
                   .offset = offset,
                   .length = data_len,
                   .table_len = table_len,
                   .data_len = data_len},
        .table = made->table,
        .data = made->payload,
    };
    memset(made->out, 0xa5, sizeof(made->out));
}

static int check(const struct made *made, const struct np_geometry *geometry, struct np_error *err)
{
    return np_window_check(geometry, &made->record, name, err);
}

static int expand(struct made *made, const struct np_geometry *geometry, struct np_error *err)
{
    return np_window_expand(geometry, &made->record, name, made->out, err);
}

static void test_geometry__bounds(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    static const struct np_geometry good[] = {
        {0, NP_CHUNK_DEFAULT, NP_GRANULE_DEFAULT},
        {1, NP_CHUNK_MIN, NP_GRANULE_MIN},
        {NP_OFFSET_LIMIT - 1, NP_CHUNK_MAX, NP_GRANULE_MAX},
        {512, NP_CHUNK_MIN, NP_CHUNK_MIN},
        {512, 4 << 20, NP_GRANULE_MIN},
    };
    static const struct np_geometry bad[] = {
        {NP_OFFSET_LIMIT, NP_CHUNK_DEFAULT, NP_GRANULE_DEFAULT},
        {1, 0, NP_GRANULE_DEFAULT},
        {1, NP_CHUNK_DEFAULT, 0},
        {1, NP_CHUNK_MIN / 2, NP_GRANULE_MIN},
        {1, NP_CHUNK_MAX * 2u, NP_GRANULE_MAX},
        {1, NP_CHUNK_DEFAULT, NP_GRANULE_MIN / 2},
        {1, NP_CHUNK_MAX, NP_GRANULE_MAX * 2u},
        {1, NP_CHUNK_DEFAULT + 4096, NP_GRANULE_DEFAULT},
        {1, NP_CHUNK_DEFAULT, NP_GRANULE_DEFAULT + 4096},
        {1, NP_CHUNK_MIN, NP_GRANULE_MAX},
        {1, 8 << 20, NP_GRANULE_MIN},
    };
    for (size_t i = 0; i < NP_ARRAY_SIZE(good); i++)
        ok(np_geometry_check(&good[i], &err));
    for (size_t i = 0; i < NP_ARRAY_SIZE(bad); i++)
        fails(NP_DAMAGED, np_geometry_check(&bad[i], &err));
}

static void test_geometry__cover_from(void **state)
{
    (void)state;
    struct np_geometry g = {10 * GRANULE + 512, CHUNK, GRANULE};
    assert_true(np_geometry_cover_from(&g, false, 0) == 0);
    assert_true(np_geometry_cover_from(&g, true, g.size) == g.size);
    assert_true(np_geometry_cover_from(&g, true, 0) == 0);
    assert_true(np_geometry_cover_from(&g, true, 3 * GRANULE) == 3 * GRANULE);
    assert_true(np_geometry_cover_from(&g, true, 3 * GRANULE + 1) == 3 * GRANULE);
    assert_true(np_geometry_cover_from(&g, true, 20 * GRANULE) == 10 * GRANULE); /* shrunk into a granule */
    g.size = 10 * GRANULE;
    assert_true(np_geometry_cover_from(&g, true, 20 * GRANULE) == g.size); /* shrunk between granules */
}

static void test_window__odd_sizes_cut_the_last_window_and_granule(void **state)
{
    (void)state;
    static const struct {
        uint64_t size, offset, length;
        unsigned granules;
        uint32_t last;
    } cases[] = {
        {512, 0, 512, 1, 512},
        {1, 0, 1, 1, 1},
        {GRANULE, 0, GRANULE, 1, GRANULE},
        {GRANULE + 1, 0, GRANULE + 1, 2, 1},
        {CHUNK, 0, CHUNK, 4, GRANULE},
        {CHUNK + 1, 0, CHUNK, 4, GRANULE},
        {CHUNK + 1, CHUNK, 1, 1, 1},
        {2 * CHUNK - 1, CHUNK, CHUNK - 1, 4, GRANULE - 1},
        {NP_OFFSET_LIMIT - 1, NP_OFFSET_LIMIT - CHUNK, CHUNK - 1, 4, GRANULE - 1},
    };
    for (size_t i = 0; i < NP_ARRAY_SIZE(cases); i++) {
        struct np_geometry g = {cases[i].size, CHUNK, GRANULE};
        assert_true(np_window_length(&g, cases[i].offset) == cases[i].length);
        assert_int_equal(np_window_granules(&g, cases[i].offset), cases[i].granules);
        assert_int_equal(np_granule_length(&g, cases[i].offset, cases[i].granules - 1), cases[i].last);
    }
}

static void test_map__bytes_are_a_multiple_of_8(void **state)
{
    (void)state;
    assert_int_equal(np_map_bytes(&(struct np_geometry){0, 1 << 20, 64 * KIB}), 8);
    assert_int_equal(np_map_bytes(&(struct np_geometry){0, 64 * KIB, 64 * KIB}), 8);
    assert_int_equal(np_map_bytes(&(struct np_geometry){0, 2 << 20, 64 * KIB}), 8);
    assert_int_equal(np_map_bytes(&(struct np_geometry){0, 4 << 20, 64 * KIB}), 16);
    assert_int_equal(np_map_bytes(&(struct np_geometry){0, 4 << 20, 4 * KIB}), NP_MAP_BYTES_MAX);
}

static void test_map__states_lie_two_bits_each_from_the_low_end(void **state)
{
    (void)state;
    uint8_t map[8] = {0};
    np_map_set(map, 0, NP_GRANULE_DATA);
    np_map_set(map, 1, NP_GRANULE_ZERO);
    np_map_set(map, 3, NP_GRANULE_DEAD);
    np_map_set(map, 4, NP_GRANULE_DEAD);
    assert_int_equal(map[0], 0xc9);
    assert_int_equal(map[1], 0x03);
    np_map_set(map, 3, NP_GRANULE_ABSENT);
    assert_int_equal(map[0], 0x09);
    assert_int_equal(np_map_get(map, 1), NP_GRANULE_ZERO);
    assert_int_equal(np_map_get(map, 3), NP_GRANULE_ABSENT);
    assert_int_equal(np_map_get(map, 4), NP_GRANULE_DEAD);
}

static void test_map__adds_up_with_a_short_last_granule(void **state)
{
    (void)state;
    struct np_geometry g = {CHUNK + 3 * GRANULE + 512, CHUNK, GRANULE};
    uint8_t map[8] = {0};
    np_map_set(map, 0, NP_GRANULE_ZERO);
    np_map_set(map, 1, NP_GRANULE_DEAD);
    np_map_set(map, 3, NP_GRANULE_DATA);
    struct np_map_sums sums = np_map_add_up(&g, CHUNK, map);
    assert_int_equal(sums.payload, 2);
    assert_int_equal(sums.live, 2);
    assert_int_equal(sums.data_bytes, 512);
    assert_int_equal(sums.zero_bytes, GRANULE);
    assert_int_equal(sums.dead_bytes, GRANULE);
}

static void test_window__what_a_writer_makes_passes(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    static const struct {
        uint64_t size, offset;
        const char *states;
    } cases[] = {
        {3 * CHUNK, CHUNK, "dddd"}, {3 * CHUNK, 2 * CHUNK, "-d-z"},
        {3 * CHUNK, 0, "zzzz"},     {512, 0, "d"},
        {GRANULE + 1, 0, "zd"},     {CHUNK + 1, CHUNK, "d"},
        {CHUNK + 1, 0, "xdxz"},     {CHUNK + GRANULE + 1, CHUNK, "xd"},
    };
    for (size_t i = 0; i < NP_ARRAY_SIZE(cases); i++) {
        struct np_geometry g = {cases[i].size, CHUNK, GRANULE};
        struct made made;
        make(&made, &g, cases[i].offset, cases[i].states);
        ok(check(&made, &g, &err));
        ok(expand(&made, &g, &err));
        assert_memory_equal(made.out, made.payload, made.record.header.length);
        assert_int_equal(made.out[made.record.header.length], 0xa5);
    }
}

static void test_window__must_begin_on_the_grid_and_in_the_disk(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct made made;
    make(&made, &whole, 0, "d");
    made.record.header.offset = GRANULE;
    fails(NP_DAMAGED, check(&made, &whole, &err));
    made.record.header.offset = 3 * CHUNK;
    fails(NP_DAMAGED, check(&made, &whole, &err));
    made.record.header.offset = NP_OFFSET_LIMIT - CHUNK;
    fails(NP_DAMAGED, check(&made, &whole, &err));
    made.record.header.offset = 0;
    struct np_geometry nothing = {0, CHUNK, GRANULE};
    fails(NP_DAMAGED, check(&made, &nothing, &err));
}

static void test_window__map_bits_beyond_the_disk_are_damage(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_geometry g = {GRANULE + 1, CHUNK, GRANULE};
    for (unsigned i = 2; i < 4 * np_map_bytes(&g); i++) {
        struct made made;
        make(&made, &g, 0, "dd");
        np_map_set(made.table, i, NP_GRANULE_ZERO);
        fails(NP_DAMAGED, check(&made, &g, &err));
        assert_non_null(strstr(err.message, "does not have"));
    }
}

static void test_window__that_describes_nothing_is_damage(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct made made;
    make(&made, &whole, 0, "----");
    fails(NP_DAMAGED, check(&made, &whole, &err));
    make(&made, &whole, 0, "xx--");
    fails(NP_DAMAGED, check(&made, &whole, &err));
    assert_int_equal(err.offset, 0);
}

static void test_window__table_must_hold_one_hash_for_each_granule(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct made made;
    make(&made, &whole, 0, "dzdd");
    made.record.header.table_len += NP_HASH128_SIZE;
    fails(NP_DAMAGED, check(&made, &whole, &err));
    made.record.header.table_len -= 2 * NP_HASH128_SIZE;
    fails(NP_DAMAGED, check(&made, &whole, &err));
    made.record.header.table_len = 7;
    fails(NP_DAMAGED, check(&made, &whole, &err));
    made.record.header.table_len = 8;
    fails(NP_DAMAGED, check(&made, &whole, &err));
}

static void test_window__length_is_that_of_its_granules(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_geometry g = {GRANULE + 1, CHUNK, GRANULE};
    struct made made;
    make(&made, &g, 0, "dd");
    made.record.header.length = made.record.header.data_len = 2 * GRANULE; /* the last one is short */
    fails(NP_DAMAGED, check(&made, &g, &err));
    made.record.header.length = made.record.header.data_len = GRANULE;
    fails(NP_DAMAGED, check(&made, &g, &err));
}

static void test_window__codec_is_none_exactly_when_nothing_shrank(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct made made;
    make(&made, &whole, 0, "dd");
    made.record.header.codec = 1;
    fails(NP_DAMAGED, check(&made, &whole, &err));
    made.record.header.data_len--;
    ok(check(&made, &whole, &err));
    made.record.header.codec = 0;
    fails(NP_DAMAGED, check(&made, &whole, &err));
    made.record.header.codec = 1;
    made.record.header.data_len += 2;
    fails(NP_DAMAGED, check(&made, &whole, &err));
    make(&made, &whole, 0, "zz"); /* no payload: nothing to compress */
    made.record.header.codec = 2;
    fails(NP_DAMAGED, check(&made, &whole, &err));
}

static void test_window__wrong_hash_names_the_granule(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct made made;
    make(&made, &whole, CHUNK, "-dzd");
    made.payload[GRANULE + 5] ^= 1;
    fails(NP_DAMAGED, expand(&made, &whole, &err));
    assert_true(err.offset == CHUNK + 3 * GRANULE);
    assert_non_null(strstr(err.message, "guest bytes 114688 to 131071"));
    assert_non_null(strstr(err.message, name));
}

static void test_window__every_byte_of_a_hash_counts(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct made made;
    for (size_t i = 0; i < NP_HASH128_SIZE; i++) {
        make(&made, &whole, CHUNK, "-d");
        made.table[8 + i] ^= 0x80;
        fails(NP_DAMAGED, expand(&made, &whole, &err));
    }
}

static void test_window__dead_granules_are_passed_over(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct made made;
    make(&made, &whole, 0, "xdxd");
    made.payload[0] ^= 1;        /* first dead one: its hash is wrong now */
    made.table[8 + 2 * 16] ^= 1; /* hash of the second dead one */
    ok(expand(&made, &whole, &err));
    make(&made, &whole, 0, "xdxd");
    made.payload[3 * GRANULE] ^= 1; /* the living one behind both */
    fails(NP_DAMAGED, expand(&made, &whole, &err));
    assert_int_equal(err.offset, 3 * GRANULE);
}

static void test_window__payload_that_does_not_expand_says_where(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct made made;
    make(&made, &whole, CHUNK, "dddd");
    made.record.header.codec = 2;
    made.record.header.data_len--;
    made.record.header.number = 9;
    made.record.header.pos = 4096;
    fails(NP_DAMAGED, expand(&made, &whole, &err));
    assert_non_null(strstr(err.message, "0001.vda.nbp: record 9 (DATA) at byte 4096"));
    assert_int_equal(err.offset, CHUNK);
}

static void test_window__largest_map_fits_its_room(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_geometry g = {4 << 20, 4 << 20, 4 * KIB};
    uint8_t *table = calloc(1, NP_DATA_TABLE_MAX);
    for (unsigned i = 0; i < NP_GRANULES_MAX; i++)
        np_map_set(table, i, NP_GRANULE_DATA);
    struct np_record record = {
        .header = {.type = NP_RECORD_DATA,
                   .codec = 1,
                   .length = 4 << 20,
                   .table_len = NP_DATA_TABLE_MAX,
                   .data_len = 9},
        .table = table,
    };
    ok(np_window_check(&g, &record, name, &err));
    free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_geometry__bounds),
        cmocka_unit_test(test_geometry__cover_from),
        cmocka_unit_test(test_window__odd_sizes_cut_the_last_window_and_granule),
        cmocka_unit_test(test_map__bytes_are_a_multiple_of_8),
        cmocka_unit_test(test_map__states_lie_two_bits_each_from_the_low_end),
        cmocka_unit_test(test_map__adds_up_with_a_short_last_granule),
        cmocka_unit_test(test_window__what_a_writer_makes_passes),
        cmocka_unit_test(test_window__must_begin_on_the_grid_and_in_the_disk),
        cmocka_unit_test(test_window__map_bits_beyond_the_disk_are_damage),
        cmocka_unit_test(test_window__that_describes_nothing_is_damage),
        cmocka_unit_test(test_window__table_must_hold_one_hash_for_each_granule),
        cmocka_unit_test(test_window__length_is_that_of_its_granules),
        cmocka_unit_test(test_window__codec_is_none_exactly_when_nothing_shrank),
        cmocka_unit_test(test_window__wrong_hash_names_the_granule),
        cmocka_unit_test(test_window__every_byte_of_a_hash_counts),
        cmocka_unit_test(test_window__dead_granules_are_passed_over),
        cmocka_unit_test(test_window__payload_that_does_not_expand_says_where),
        cmocka_unit_test(test_window__largest_map_fits_its_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
