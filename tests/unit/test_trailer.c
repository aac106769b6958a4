#include "test.h"

#include "../../format/blob_table.h"
#include "../../format/trailer.h"
#include "nbdpull/bytes.h"

#include <stdio.h>

static const char name[] = "0001.vda.nbp";

enum { POS = 1 << 20 };

/* ---- DIR ---- */

static uint8_t dir_table[NP_DIR_HEAD_SIZE + 3 * NP_DIR_DISK_SIZE + 2 * NP_PLACE_SIZE];
static struct np_record dir_record;

static const struct np_dir_disk full = {
    .id = 1,
    .has_root = true,
    .root_level = 2,
    .root = {.place = {8192, UINT64_C(0x1122334455667788), 64, 32}, .first = 0, .end = 1 << 20},
    .totals = {.records = 3,
               .data_bytes = 65536,
               .zero_bytes = 4096,
               .dead_bytes = 512,
               .stored_bytes = 30000,
               .digest_known = true,
               .digest = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)}},
};
static const struct np_dir_disk empty = {.id = 7};

static void make_dir(void)
{
    struct np_place blobs[2] = {{16384, 5, 40, 100}, {32768, 6, 41, 0}};
    np_trailer_put_dir_head(dir_table, 2, 2, 12288);
    np_trailer_put_dir_disk(dir_table + 16, &full);
    np_trailer_put_dir_disk(dir_table + 128, &empty);
    np_place_put(dir_table + 240, &blobs[0]);
    np_place_put(dir_table + 264, &blobs[1]);
    dir_record.table = dir_table;
    dir_record.header =
        (struct np_record_header){.type = NP_RECORD_DIR, .pos = POS, .number = 9, .table_len = 288};
}

static int decode_dir(struct np_error *err)
{
    struct np_dir dir;
    return np_trailer_dir_decode(&dir_record, name, &dir, err);
}

static void test_trailer__dir_and_back(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_dir dir;
    struct np_dir_disk disk;
    struct np_place blob;
    make_dir();
    assert_true(np_trailer_dir_size(2, 2) == 288);
    ok(np_trailer_dir_decode(&dir_record, name, &dir, &err));
    assert_int_equal(dir.disks, 2);
    assert_int_equal(dir.blobs, 2);
    assert_int_equal(dir.last_index, 12288);
    np_trailer_dir_disk(&dir, 0, &disk);
    uint8_t again[NP_DIR_DISK_SIZE];
    np_trailer_put_dir_disk(again, &disk);
    assert_memory_equal(again, dir_table + 16, sizeof(again));
    assert_int_equal(disk.root_level, 2);
    assert_int_equal(disk.totals.stored_bytes, 30000);
    np_trailer_dir_disk(&dir, 1, &disk);
    assert_false(disk.has_root);
    assert_false(disk.totals.digest_known);
    np_trailer_dir_blob(&dir, 1, &blob);
    assert_int_equal(blob.pos, 32768);
    assert_int_equal(blob.table_len, 41);
}

static void test_trailer__dir_bytes(void **state)
{
    (void)state;
    make_dir();
    static const uint8_t head[16] = {2, 0, 0, 0, 2, 0, 0, 0, 0, 0x30};
    static const uint8_t disk[NP_DIR_DISK_SIZE] = {
        1,    0,    2,    3,    0,    0,    0,    0,    /* id, level, flags */
        0,    0x20, 0,    0,    0,    0,    0,    0,    /* root: pos */
        0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, /* head_sum */
        0,    0,    0,    0,    0,    0,    0,    0,    /* first */
        0,    0,    0x10, 0,    0,    0,    0,    0,    /* end */
        64,   0,    0,    0,    32,   0,    0,    0,    /* table_len, data_len */
        0,    0,    0,    0,    0,    0,    0,    0,    /* reserved */
        3,    0,    0,    0,    0,    0,    0,    0,    /* records */
        0,    0,    1,    0,    0,    0,    0,    0,    /* data */
        0,    0x10, 0,    0,    0,    0,    0,    0,    /* zero */
        0,    0x02, 0,    0,    0,    0,    0,    0,    /* dead */
        0x30, 0x75, 0,    0,    0,    0,    0,    0,    /* stored */
        0,    1,    2,    3,    4,    5,    6,    7,    8, 9, 10, 11, 12, 13, 14, 15, /* digest */
    };
    assert_memory_equal(dir_table, head, sizeof(head));
    assert_memory_equal(dir_table + 16, disk, sizeof(disk));
    assert_memory_equal(dir_table + 240, "\x00\x40\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00",
                        16);
    assert_memory_equal(dir_table + 256, "\x28\x00\x00\x00\x64\x00\x00\x00", 8);
}

static void test_trailer__dir_must_be_possible(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    static const struct {
        unsigned at;
        uint8_t value;
    } bad[] = {
        {0, 1},      {0, 0},      {1, 1},      {3, 0x80}, /* disks */
        {4, 1},      {4, 3},      {7, 0x80},              /* blobs */
        {8, 1},      {15, 1},     {9, 0x10},              /* last INDEX: off 16, beyond, before root */
        {16, 7},     {17, 4},                             /* ids not rising, too large */
        {18, 8},                                          /* level */
        {19, 7},     {19, 2},     {19, 1},                /* flags: unknown, no root, no digest */
        {20, 1},     {23, 1},                             /* reserved */
        {24, 1},     {26, 0x20},  {25, 0},                /* root: off 16, beyond, no place */
        {42, 0x10},  {50, 0},     {55, 1},                /* root covers nothing, too much */
        {64, 1},     {72, 0},                             /* reserved, no records */
        {87, 1},     {95, 1},                             /* more bytes than a disk has */
        {130, 1},    {131, 1},    {136, 1},    {184, 1},  /* a disk without records that has */
        {192, 1},    {200, 1},    {208, 1},    {216, 1},  /*   a level, a root, bytes */
        {239, 1},                                         /*   a digest without the flag */
        {240, 1},    {242, 0x10}, {241, 0x90},            /* blobs: off 16, beyond, out of order */
        {257, 0xff},                                      /* blob larger than what is before DIR */
    };
    for (size_t i = 0; i < NP_ARRAY_SIZE(bad); i++) {
        make_dir();
        assert_int_not_equal(dir_table[bad[i].at], bad[i].value);
        dir_table[bad[i].at] = bad[i].value;
        if (bad[i].at == 257)
            dir_table[258] = 0x0f;
        fails(NP_DAMAGED, decode_dir(&err));
    }
    make_dir();
    dir_record.header.table_len = 15;
    fails(NP_DAMAGED, decode_dir(&err));
    make_dir();
    dir_record.header.table_len += 24;
    fails(NP_DAMAGED, decode_dir(&err));
}

static void test_trailer__no_disk_is_damage(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    make_dir();
    np_trailer_put_dir_head(dir_table, 0, 0, 0);
    dir_record.header.table_len = 16;
    fails(NP_DAMAGED, decode_dir(&err));
}

/* ---- END ---- */

static uint8_t end_table[NP_END_TABLE_SIZE];
static struct np_record end_record;

static void make_end(void)
{
    struct np_end end = {
        .size = POS + 256,
        .records = 12,
        .dir = {8192, 3, 288, 0},
        .meta = {4096, 4, 1000, 500},
        .digest = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)},
    };
    for (uint8_t i = 0; i < 16; i++)
        end.stream.bytes[i] = (uint8_t)(0x40 + i);
    np_trailer_put_end(end_table, &end);
    end_record.table = end_table;
    end_record.header = (struct np_record_header){.type = NP_RECORD_END,
                                                  .pos = POS,
                                                  .number = 11,
                                                  .table_len = NP_END_TABLE_SIZE,
                                                  .stream_id = np_stream_id(&end.stream)};
}

static int decode_end(struct np_end *end, struct np_error *err)
{
    return np_trailer_end_decode(&end_record, name, end, err);
}

static void test_trailer__end_and_back(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_end end;
    uint8_t again[NP_END_TABLE_SIZE];
    make_end();
    ok(decode_end(&end, &err));
    assert_int_equal(end.size, POS + 256);
    assert_int_equal(end.records, 12);
    assert_int_equal(end.dir.pos, 8192);
    assert_int_equal(end.meta.data_len, 500);
    np_trailer_put_end(again, &end);
    assert_memory_equal(again, end_table, sizeof(again));
    static const uint8_t digest_and_uuid[64] = {
        0,    1,    2,    3,    4,    5,           6,    7,    8,    9,    10,
        11,   12,   13,   14,   15,   [32] = 0x40, 0x41, 0x42, 0x43, 0x44, 0x45,
        0x46, 0x47, 0x48, 0x49, 0x4a, 0x4b,        0x4c, 0x4d, 0x4e, 0x4f};
    assert_memory_equal(end_table + 64, digest_and_uuid, 48);
}

static void test_trailer__end_must_fit_its_header(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_end end;
    static const struct {
        unsigned at;
        uint8_t value;
    } bad[] = {
        {0, 16},    {7, 1},     /* length of the stream */
        {8, 11},    {8, 0},     /* number of records */
        {16, 8},    {18, 0x20}, /* DIR: off 16, beyond */
        {40, 1},    {41, 0x20}, /* META: off 16, behind DIR */
        {41, 0},                /* the first META, not the second */
        {33, 0x10}, {58, 0x10}, /* too large to lie there: DIR's table, META's data */
        {104, 0},               /* UUID of another stream */
    };
    for (size_t i = 0; i < NP_ARRAY_SIZE(bad); i++) {
        make_end();
        assert_int_not_equal(end_table[bad[i].at], bad[i].value);
        end_table[bad[i].at] = bad[i].value;
        if (bad[i].at == 33)
            end_table[34] = 0x10;
        fails(NP_DAMAGED, decode_end(&end, &err));
    }
    make_end();
    end_record.header.table_len--;
    fails(NP_DAMAGED, decode_end(&end, &err));
    make_end();
    end_record.header.pos = UINT64_MAX - 15;
    fails(NP_DAMAGED, decode_end(&end, &err));
}

static void test_trailer__reserved_bytes_of_end_are_zero(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_end end;
    for (unsigned at = 80; at < NP_END_TABLE_SIZE; at++) {
        if (at >= 96 && at < 112)
            continue;
        make_end();
        end_table[at] = 1;
        fails(NP_DAMAGED, decode_end(&end, &err));
    }
}

/* ---- BLOB ---- */

static uint8_t blob_bytes[NP_BLOB_TABLE_MAX + 1];

static struct np_record blob_part(const char *blob_name, uint64_t total, uint64_t offset, uint64_t length)
{
    struct np_blob_table table = {.total = total, .sum = {1, 2}};
    snprintf(table.name, sizeof(table.name), "%s", blob_name);
    return (struct np_record){
        .header = {.type = NP_RECORD_BLOB,
                   .offset = offset,
                   .length = length,
                   .data_len = (uint32_t)length,
                   .table_len = np_blob_table_put(blob_bytes, &table)},
        .table = blob_bytes,
    };
}

static void test_blob_table__and_back(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_blob_table table;
    struct np_record part = blob_part("domain.xml", 3000, 1000, 2000);
    assert_int_equal(part.header.table_len, 36);
    assert_memory_equal(blob_bytes,
                        "\xb8\x0b\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00"
                        "\x02\x00\x00\x00\x00\x00\x00\x00\x0a\x00"
                        "domain.xml",
                        36);
    ok(np_blob_table_decode(&part, name, &table, &err));
    assert_string_equal(table.name, "domain.xml");
    assert_int_equal(table.total, 3000);
    assert_true(np_hash128_equal(table.sum, (struct np_hash128){1, 2}));
    part = blob_part("empty", 0, 0, 0);
    ok(np_blob_table_decode(&part, name, &table, &err));
}

static void test_blob_table__part_lies_in_the_blob(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_blob_table table;
    static const uint64_t bad[][3] = {{3000, 1000, 2001}, {3000, 3001, 0},       {3000, 3000, 1},
                                      {3000, 0, 0},       {3000, UINT64_MAX, 2}, {NP_OFFSET_LIMIT, 0, 1},
                                      {UINT64_MAX, 0, 1}};
    for (size_t i = 0; i < NP_ARRAY_SIZE(bad); i++) {
        struct np_record part = blob_part("a", bad[i][0], bad[i][1], bad[i][2]);
        fails(NP_DAMAGED, np_blob_table_decode(&part, name, &table, &err));
    }
}

static void test_blob_table__names_are_safe_as_file_names(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_blob_table table;
    char longest[NP_BLOB_NAME_MAX + 2];
    memset(longest, 'x', sizeof(longest));
    longest[NP_BLOB_NAME_MAX + 1] = '\0';
    assert_false(np_blob_table_name_is_good(longest));
    longest[NP_BLOB_NAME_MAX] = '\0';
    assert_true(np_blob_table_name_is_good(longest));
    assert_true(np_blob_table_name_is_good("-a_B.0"));

    static const char *const bad[] = {"", ".", "..", ".a", "a/b", "a b", "a\n", "\xc3\xa4", "a:b"};
    for (size_t i = 0; i < NP_ARRAY_SIZE(bad); i++) {
        assert_false(np_blob_table_name_is_good(bad[i]));
        struct np_record part = blob_part(bad[i], 1, 0, 1);
        fails(NP_DAMAGED, np_blob_table_decode(&part, name, &table, &err));
    }
}

static void test_blob_table__table_holds_exactly_the_name(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_blob_table table;
    struct np_record part = blob_part("domain.xml", 1, 0, 1);
    for (uint32_t len = 0; len < 50; len++) {
        part.header.table_len = len;
        if (len != 36)
            fails(NP_DAMAGED, np_blob_table_decode(&part, name, &table, &err));
    }
    part.header.table_len = 36;
    blob_bytes[30] = '\0'; /* a NUL inside */
    fails(NP_DAMAGED, np_blob_table_decode(&part, name, &table, &err));
    part = blob_part("domain.xml", 1, 0, 1);
    np_put_le16(blob_bytes + 24, 0xffff);
    fails(NP_DAMAGED, np_blob_table_decode(&part, name, &table, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trailer__dir_and_back),
        cmocka_unit_test(test_trailer__dir_bytes),
        cmocka_unit_test(test_trailer__dir_must_be_possible),
        cmocka_unit_test(test_trailer__no_disk_is_damage),
        cmocka_unit_test(test_trailer__end_and_back),
        cmocka_unit_test(test_trailer__end_must_fit_its_header),
        cmocka_unit_test(test_trailer__reserved_bytes_of_end_are_zero),
        cmocka_unit_test(test_blob_table__and_back),
        cmocka_unit_test(test_blob_table__part_lies_in_the_blob),
        cmocka_unit_test(test_blob_table__names_are_safe_as_file_names),
        cmocka_unit_test(test_blob_table__table_holds_exactly_the_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
