#include "test.h"

#include "../../format/index_node.h"
#include "nbdpull/bytes.h"

#include <stdlib.h>

static const char name[] = "0001.vda.nbp";

enum { CHUNK = 64 << 10, GRANULE = 16 << 10, ENTRY = 48, POS = 1 << 20 };

static const struct np_geometry grid = {100 * CHUNK + 512, CHUNK, GRANULE};

struct node {
    struct np_record record;
    uint8_t table[NP_INDEX_HEAD_SIZE + 1025 * ENTRY];
};

static struct node made; /* by the last begin_* */

static void begin(uint8_t level, uint32_t entry_size)
{
    memset(&made, 0, sizeof(made));
    np_index_node_put_head(made.table, level, entry_size, 0, 4096);
    made.record.table = made.table;
    made.record.header = (struct np_record_header){
        .type = NP_RECORD_INDEX, .pos = POS, .number = 77, .table_len = NP_INDEX_HEAD_SIZE};
}

static uint8_t *next_entry(uint32_t size)
{
    uint8_t *to = made.table + made.record.header.table_len;
    made.record.header.table_len += size;
    np_put_le16(made.table + 2, (uint16_t)(np_get_le16(made.table + 2) + 1));
    return to;
}

static void covers(uint64_t end)
{
    if (made.record.header.length == 0)
        made.record.header.offset = np_get_le64(made.table + NP_INDEX_HEAD_SIZE + 16);
    made.record.header.length = end - made.record.header.offset;
}

static uint8_t *add_data(uint64_t pos, uint64_t offset, const char *states)
{
    uint8_t map[8] = {0};
    for (unsigned i = 0; states[i] != '\0'; i++)
        np_map_set(map, i, (enum np_granule_state)(strchr("-dzx", states[i]) - "-dzx"));
    struct np_map_sums sums = np_map_add_up(&grid, offset, map);
    struct np_record_header header = {
        .type = NP_RECORD_DATA,
        .pos = pos,
        .head_sum = pos * 3,
        .offset = offset,
        .length = sums.data_bytes + sums.dead_bytes,
        .table_len = 8 + 16 * sums.payload,
        .data_len = sums.payload > 0 ? 100 : 0,
        .codec = sums.payload > 0,
    };
    uint8_t *to = next_entry(ENTRY);
    np_index_node_put_entry(to, &grid, &header, map);
    made.record.header.data_len += 16 * sums.payload;
    covers(offset + np_window_length(&grid, offset));
    return to;
}

static uint8_t *add_zero(uint64_t pos, uint64_t offset, uint64_t length)
{
    struct np_record_header header = {
        .type = NP_RECORD_ZERO, .pos = pos, .head_sum = pos * 3, .offset = offset, .length = length};
    uint8_t *to = next_entry(ENTRY);
    np_index_node_put_entry(to, &grid, &header, NULL);
    covers(offset + length);
    return to;
}

static uint8_t *add_child(uint64_t pos, uint64_t first, uint64_t end)
{
    struct np_index_child child = {
        .place = {.pos = pos, .head_sum = pos * 3, .table_len = 64, .data_len = 16},
        .first = first,
        .end = end};
    uint8_t *to = next_entry(NP_INDEX_CHILD_SIZE);
    np_index_node_put_child(to, &child);
    covers(end);
    return to;
}

static int decode(struct np_error *err)
{
    struct np_index_node node;
    return np_index_node_decode(&grid, &made.record, name, &node, err);
}

static void leaf_of_three(void)
{
    begin(0, ENTRY);
    add_data(4096, 0, "d-zx");
    add_zero(8192, CHUNK, 5 * CHUNK);
    add_data(8288, 8 * CHUNK, "zz");
}

static void inner_of_two(void)
{
    begin(1, NP_INDEX_CHILD_SIZE);
    add_child(4096, 0, 10 * CHUNK);
    add_child(8192, 20 * CHUNK, grid.size);
}

static void test_index_node__leaf_and_back(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_index_node node;
    struct np_entry entry;
    leaf_of_three();
    ok(np_index_node_decode(&grid, &made.record, name, &node, &err));
    assert_int_equal(node.level, 0);
    assert_int_equal(node.count, 3);
    assert_int_equal(node.hashes, 2);
    assert_int_equal(node.prev, 4096);
    np_index_node_entry(&node, 0, &entry);
    assert_int_equal(entry.pos, 4096);
    assert_int_equal(entry.head_sum, 3 * 4096);
    assert_int_equal(entry.length, 2 * GRANULE);
    assert_int_equal(entry.data_len, 100);
    assert_int_equal(entry.hash_count, 2);
    assert_int_equal(entry.type, NP_RECORD_DATA);
    assert_int_equal(entry.codec, 1);
    assert_int_equal(entry.map[0], 0xe1);
    assert_null(entry.hashes);
    np_index_node_entry(&node, 1, &entry);
    assert_int_equal(entry.offset, CHUNK);
    assert_int_equal(entry.length, 5 * CHUNK);
    assert_int_equal(entry.type, NP_RECORD_ZERO);
}

static void test_index_node__entry_bytes(void **state)
{
    (void)state;
    leaf_of_three();
    assert_memory_equal(made.table, "\x00\x06\x03\x00\x00\x00\x00\x00\x00\x10\x00\x00\x00\x00\x00\x00", 16);
    static const uint8_t first[ENTRY] = {0, 0x10, 0, 0, 0,   0, 0, 0, 0, 0x30, 0, 0,    0,   0,
                                         0, 0,    0, 0, 0,   0, 0, 0, 0, 0,    0, 0x80, 0,   0,
                                         0, 0,    0, 0, 100, 0, 0, 0, 2, 0,    2, 1,    0xe1};
    assert_memory_equal(made.table + 16, first, ENTRY);
}

static void test_index_node__inner_and_back(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_index_node node;
    struct np_index_child child;
    inner_of_two();
    ok(np_index_node_decode(&grid, &made.record, name, &node, &err));
    assert_int_equal(node.level, 1);
    np_index_node_child(&node, 1, &child);
    assert_int_equal(child.place.pos, 8192);
    assert_int_equal(child.place.head_sum, 3 * 8192);
    assert_int_equal(child.place.table_len, 64);
    assert_int_equal(child.place.data_len, 16);
    assert_int_equal(child.first, 20 * CHUNK);
    assert_int_equal(child.end, grid.size);
    np_put_le64(made.table + 16 + 40, 1);
    fails(NP_DAMAGED, decode(&err));
}

static void test_index_node__neighbours_may_share_a_window_of_data(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    begin(0, ENTRY);
    add_data(4096, CHUNK, "d");
    add_data(8192, CHUNK, "-d");
    ok(decode(&err));
    begin(1, NP_INDEX_CHILD_SIZE);
    add_child(4096, 0, 10 * CHUNK);
    add_child(8192, 9 * CHUNK, 11 * CHUNK);
    ok(decode(&err));
    begin(1, NP_INDEX_CHILD_SIZE);
    add_child(4096, 0, 10 * CHUNK);
    add_child(8192, 8 * CHUNK, 11 * CHUNK);
    fails(NP_DAMAGED, decode(&err));
}

static void test_index_node__zero_shares_no_window(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    begin(0, ENTRY);
    add_data(4096, CHUNK, "d");
    add_zero(8192, CHUNK, CHUNK);
    fails(NP_DAMAGED, decode(&err));
    begin(0, ENTRY);
    add_zero(4096, 0, 2 * CHUNK);
    add_data(8192, CHUNK, "d");
    fails(NP_DAMAGED, decode(&err));
}

static void test_index_node__out_of_order_is_damage(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    begin(0, ENTRY);
    add_data(4096, 5 * CHUNK, "d");
    add_data(8192, 4 * CHUNK, "d");
    made.record.header.length = CHUNK;
    fails(NP_DAMAGED, decode(&err));
    begin(0, ENTRY);
    add_data(8192, 4 * CHUNK, "d");
    add_data(4096, 5 * CHUNK, "d"); /* positions fall */
    fails(NP_DAMAGED, decode(&err));
    begin(0, ENTRY);
    add_data(4096, 4 * CHUNK, "d");
    add_data(4096 + 208, 5 * CHUNK, "d"); /* 16 bytes inside the record before: that has 96 + 24 + 100 */
    fails(NP_DAMAGED, decode(&err));
    made.table[16 + ENTRY] += 16;
    ok(decode(&err));
}

static void test_index_node__points_only_back(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    static const uint64_t bad[] = {0, POS, POS + 4096, POS - 208, 4100, UINT64_MAX - 15, UINT64_MAX};
    for (size_t i = 0; i < NP_ARRAY_SIZE(bad); i++) {
        begin(0, ENTRY);
        add_data(bad[i], 0, "d");
        fails(NP_DAMAGED, decode(&err));
        begin(1, NP_INDEX_CHILD_SIZE);
        add_child(bad[i] == POS - 208 ? POS - 160 : bad[i], 0, CHUNK);
        fails(NP_DAMAGED, decode(&err));
    }
    begin(0, ENTRY);
    add_data(POS - 224, 0, "d");
    ok(decode(&err));
    begin(1, NP_INDEX_CHILD_SIZE);
    add_child(POS - 176, 0, CHUNK);
    ok(decode(&err));
}

static void test_index_node__previous_lies_before(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    leaf_of_three();
    np_put_le64(made.table + 8, POS);
    fails(NP_DAMAGED, decode(&err));
    np_put_le64(made.table + 8, 4097);
    fails(NP_DAMAGED, decode(&err));
    np_put_le64(made.table + 8, 0);
    ok(decode(&err));
}

static void test_index_node__head_must_fit_the_table(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    static const struct {
        unsigned at;
        uint8_t value;
    } bad[] = {{0, 1}, {0, 255}, {1, 5}, {1, 7}, {1, 0}, {2, 0}, {2, 2}, {2, 4}, {3, 1}, {4, 1}, {7, 0x80}};
    for (size_t i = 0; i < NP_ARRAY_SIZE(bad); i++) {
        leaf_of_three();
        made.table[bad[i].at] = bad[i].value;
        fails(NP_DAMAGED, decode(&err));
    }
    leaf_of_three();
    made.record.header.table_len = 15;
    fails(NP_DAMAGED, decode(&err));
    leaf_of_three();
    made.record.header.table_len++;
    fails(NP_DAMAGED, decode(&err));
    inner_of_two();
    made.table[0] = NP_INDEX_LEVELS - 1;
    ok(decode(&err));
    made.table[0] = NP_INDEX_LEVELS;
    fails(NP_DAMAGED, decode(&err));
}

static void test_index_node__one_entry_too_many_is_damage(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    begin(1, NP_INDEX_CHILD_SIZE);
    for (unsigned i = 0; i < NP_INDEX_CHILDREN; i++)
        add_child(4096 + 176 * (uint64_t)i, 50 * CHUNK, 51 * CHUNK);
    ok(decode(&err));
    add_child(4096 + 176 * NP_INDEX_CHILDREN, 50 * CHUNK, 51 * CHUNK);
    fails(NP_DAMAGED, decode(&err));
    assert_non_null(strstr(err.message, "count"));

    begin(0, ENTRY);
    for (unsigned i = 0; i < NP_INDEX_LEAF_ENTRIES; i++)
        add_data(4096 + 112 * (uint64_t)i, 50 * CHUNK, "z");
    ok(decode(&err));
    add_data(4096 + 112 * NP_INDEX_LEAF_ENTRIES, 50 * CHUNK, "z");
    fails(NP_DAMAGED, decode(&err));
    assert_non_null(strstr(err.message, "count"));
}

static void test_index_node__covers_what_its_header_says(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    leaf_of_three();
    made.record.header.offset += CHUNK;
    fails(NP_DAMAGED, decode(&err));
    leaf_of_three();
    made.record.header.length += CHUNK;
    fails(NP_DAMAGED, decode(&err));
    inner_of_two();
    made.record.header.length--;
    fails(NP_DAMAGED, decode(&err));
}

static void test_index_node__hashes_must_be_those_of_the_maps(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    leaf_of_three();
    made.record.header.data_len += 16;
    fails(NP_DAMAGED, decode(&err));
    inner_of_two();
    made.record.header.data_len = 16;
    fails(NP_DAMAGED, decode(&err));
    leaf_of_three();
    made.table[16 + 36] = 1;
    made.record.header.data_len -= 16;
    fails(NP_DAMAGED, decode(&err));
}

static void test_index_node__entry_must_be_possible(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    static const struct {
        unsigned at;
        uint8_t value;
    } bad[] = {
        {17, 0x02}, /* offset off the grid */
        {23, 0x7f}, /* offset far beyond the disk */
        {25, 0x40}, /* length not that of the map */
        {31, 0x01}, /* length of 2^56 */
        {35, 0x01}, /* data_len above length */
        {38, 1},    /* type META */
        {38, 3},    /* type ZERO with contents */
        {39, 0},    /* codec none though it shrank */
        {40, 0x02}, /* map: one granule less */
        {41, 0x01}, /* map: a granule that the window does not have */
    };
    for (size_t i = 0; i < NP_ARRAY_SIZE(bad); i++) {
        begin(0, ENTRY);
        uint8_t *entry = add_data(4096, 0, "d-zx");
        ok(decode(&err));
        assert_int_not_equal(entry[bad[i].at], bad[i].value);
        entry[bad[i].at] = bad[i].value;
        fails(NP_DAMAGED, decode(&err));
    }
}

static void test_index_node__zero_must_end_with_a_window_or_the_disk(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    static const uint64_t bad[] = {
        0, 1, CHUNK - 1, CHUNK + 512, 99 * CHUNK + 513, 100 * CHUNK, UINT64_MAX, UINT64_MAX - CHUNK + 1};
    for (size_t i = 0; i < NP_ARRAY_SIZE(bad); i++) {
        begin(0, ENTRY);
        add_zero(4096, CHUNK, bad[i]);
        fails(NP_DAMAGED, decode(&err));
    }
    begin(0, ENTRY);
    add_zero(4096, CHUNK, 99 * CHUNK + 512);
    ok(decode(&err));
    for (unsigned at = 32; at < ENTRY; at++) {
        begin(0, ENTRY);
        uint8_t *entry = add_zero(4096, CHUNK, CHUNK);
        entry[at] ^= 4;
        fails(NP_DAMAGED, decode(&err));
    }
}

static void test_index_node__must_be_what_its_parent_says(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_index_node node;
    leaf_of_three();
    ok(np_index_node_decode(&grid, &made.record, name, &node, &err));
    const struct np_record_header *header = &made.record.header;
    struct np_index_child good = {.place = np_place_of(header), .first = 0, .end = 9 * CHUNK}, child = good;
    ok(np_index_node_expect(&node, header, &child, 0, name, &err));
    fails(NP_DAMAGED, np_index_node_expect(&node, header, &child, 1, name, &err));
    child.place.head_sum++;
    fails(NP_DAMAGED, np_index_node_expect(&node, header, &child, 0, name, &err));
    child = good;
    child.first = CHUNK;
    fails(NP_DAMAGED, np_index_node_expect(&node, header, &child, 0, name, &err));
    child = good;
    child.end += CHUNK;
    fails(NP_DAMAGED, np_index_node_expect(&node, header, &child, 0, name, &err));
}

/* Whatever one byte becomes: an error or a node whose entries are in bounds, never a read outside (asan). */
static void test_index_node__any_changed_byte_is_survived(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2; kind++)
        for (unsigned at = 0; at < 16 + 2 * ENTRY; at++)
            for (unsigned value = 0; value < 256; value += 5) {
                struct np_error err = NP_ERROR_INIT;
                struct np_index_node node;
                kind == 0 ? leaf_of_three() : inner_of_two();
                made.table[at] = (uint8_t)value;
                uint8_t *exact = malloc(made.record.header.table_len);
                memcpy(exact, made.table, made.record.header.table_len);
                made.record.table = exact;
                if (np_index_node_decode(&grid, &made.record, name, &node, &err) < 0)
                    assert_int_equal(err.class, NP_DAMAGED);
                free(exact);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_index_node__leaf_and_back),
        cmocka_unit_test(test_index_node__entry_bytes),
        cmocka_unit_test(test_index_node__inner_and_back),
        cmocka_unit_test(test_index_node__neighbours_may_share_a_window_of_data),
        cmocka_unit_test(test_index_node__zero_shares_no_window),
        cmocka_unit_test(test_index_node__out_of_order_is_damage),
        cmocka_unit_test(test_index_node__points_only_back),
        cmocka_unit_test(test_index_node__previous_lies_before),
        cmocka_unit_test(test_index_node__head_must_fit_the_table),
        cmocka_unit_test(test_index_node__one_entry_too_many_is_damage),
        cmocka_unit_test(test_index_node__covers_what_its_header_says),
        cmocka_unit_test(test_index_node__hashes_must_be_those_of_the_maps),
        cmocka_unit_test(test_index_node__entry_must_be_possible),
        cmocka_unit_test(test_index_node__zero_must_end_with_a_window_or_the_disk),
        cmocka_unit_test(test_index_node__must_be_what_its_parent_says),
        cmocka_unit_test(test_index_node__any_changed_byte_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
