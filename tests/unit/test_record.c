#include "test.h"

#include "nbdpull/bytes.h"
#include "nbdpull/record.h"
#include "nbdpull/window.h"

static const char name[] = "0001.vda.nbp";

/* A header that decodes: a DATA record of one granule. */
static struct np_record_header good(void)
{
    return (struct np_record_header){
        .version = NP_FORMAT_VERSION,
        .type = NP_RECORD_DATA,
        .codec = 1,
        .stream_id = UINT64_C(0x1122334455667788),
        .pos = 4096,
        .offset = 1 << 20,
        .length = 65536,
        .table_len = 24,
        .data_len = 1000,
        .disk = 3,
        .flags = 0x0055,
        .number = 17,
        .data_sum = {UINT64_C(0x0102030405060708), UINT64_C(0x1112131415161718)},
        .table_sum = UINT64_C(0x2122232425262728),
    };
}

static struct np_record_header of_type(uint8_t type)
{
    struct np_record_header h = good();
    h.type = type;
    h.codec = 0;
    h.disk = NP_DISK_NONE;
    h.offset = h.length = 0;
    h.table_len = 100;
    h.data_len = 0;
    if (type == NP_RECORD_END)
        h.table_len = NP_END_SIZE - NP_RECORD_HEADER_SIZE;
    if (type == NP_RECORD_ZERO || type == NP_RECORD_INDEX) {
        h.disk = 0;
        h.length = 1;
    }
    if (type == NP_RECORD_ZERO)
        h.table_len = 0;
    return h;
}

static int decode(struct np_record_header h, struct np_error *err)
{
    uint8_t bytes[NP_RECORD_HEADER_SIZE];
    struct np_record_header out;
    np_record_encode(&h, bytes);
    return np_record_decode(bytes, name, h.pos, &out, err);
}

static void test_record__every_field_has_its_place(void **state)
{
    (void)state;
    struct np_record_header h = good();
    uint8_t b[NP_RECORD_HEADER_SIZE];
    np_record_encode(&h, b);
    assert_memory_equal(b, "\x89NBP\x01\x02\x01\x00", 8);
    assert_memory_equal(b + 8, "\x88\x77\x66\x55\x44\x33\x22\x11", 8);
    assert_true(np_get_le64(b + 16) == 4096);
    assert_true(np_get_le64(b + 24) == 1 << 20);
    assert_true(np_get_le64(b + 32) == 65536);
    assert_true(np_get_le32(b + 40) == 24);
    assert_true(np_get_le32(b + 44) == 1000);
    assert_true(np_get_le16(b + 48) == 3);
    assert_true(np_get_le16(b + 50) == 0x55);
    assert_true(np_get_le32(b + 52) == 0);
    assert_true(np_get_le64(b + 56) == 17);
    assert_memory_equal(b + 64, "\x08\x07\x06\x05\x04\x03\x02\x01\x18\x17\x16\x15\x14\x13\x12\x11", 16);
    assert_memory_equal(b + 80, "\x28\x27\x26\x25\x24\x23\x22\x21", 8);
    assert_true(np_get_le64(b + 88) == np_hash64(b, 88));
    assert_true(np_get_le64(b + 88) == h.head_sum);
}

static void test_record__decode_is_the_reverse_of_encode(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_record_header h = good(), back;
    uint8_t bytes[NP_RECORD_HEADER_SIZE], again[NP_RECORD_HEADER_SIZE];
    np_record_encode(&h, bytes);
    ok(np_record_decode(bytes, name, 4096, &back, &err));
    np_record_encode(&back, again);
    assert_memory_equal(bytes, again, sizeof(bytes));
    assert_true(back.head_sum == h.head_sum);
    ok(np_record_expect(&back, name, h.stream_id, 4096, 17, &err));
    ok(np_record_expect(&back, name, h.stream_id, 4096, NP_ANY_NUMBER, &err));
}

static void test_record__every_type_decodes(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    for (uint8_t type = NP_RECORD_META; type <= NP_RECORD_END; type++)
        if (type != NP_RECORD_DATA)
            ok(decode(of_type(type), &err));
}

static void test_record__any_flipped_bit_is_damage(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_record_header h = good();
    uint8_t bytes[NP_RECORD_HEADER_SIZE];
    np_record_encode(&h, bytes);
    for (size_t bit = 0; bit < 8 * sizeof(bytes); bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        fails(NP_DAMAGED, np_record_decode(bytes, name, 4096, &h, &err));
        assert_non_null(strstr(err.message, name));
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void test_record__zeroes_are_no_record(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_record_header h;
    uint8_t zeroes[NP_RECORD_HEADER_SIZE] = {0};
    fails(NP_DAMAGED, np_record_decode(zeroes, name, 32, &h, &err));
    assert_non_null(strstr(err.message, "no record begins at byte 32"));
}

static void test_record__reserved_bytes_must_be_zero(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_record_header h = good();
    uint8_t bytes[NP_RECORD_HEADER_SIZE];
    np_record_encode(&h, bytes);
    bytes[55] = 1;
    np_put_le64(bytes + 88, np_hash64(bytes, 88));
    fails(NP_DAMAGED, np_record_decode(bytes, name, 4096, &h, &err));
    assert_non_null(strstr(err.message, "reserved"));
}

static void test_record__newer_version_is_refused_by_name(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_record_header h = good();
    h.version = 2;
    fails(NP_FAILED, decode(h, &err));
    assert_non_null(strstr(err.message, "format version 2"));
}

static void test_record__unknown_type_is_refused_by_name(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_record_header h = of_type(8);
    fails(NP_FAILED, decode(h, &err));
    assert_non_null(strstr(err.message, "type 8"));
    h.type = 0;
    fails(NP_FAILED, decode(h, &err));
    h.type = 0x7f;
    fails(NP_FAILED, decode(h, &err));
    assert_string_equal(np_record_type_name(0x7f), "unknown");
}

static void test_record__unknown_optional_type_may_be_skipped_whatever_is_in_it(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_record_header h = good();
    h.type = NP_RECORD_OPTIONAL | NP_RECORD_DATA;
    h.codec = 200;
    h.cipher = 9;
    h.flags = 0x8000;
    h.data_len = NP_CHUNK_MAX;
    ok(decode(h, &err));
    h.data_len++;
    fails(NP_DAMAGED, decode(h, &err));
    h = good();
    h.type = 0xff;
    h.table_len = NP_TABLE_MAX + 1;
    fails(NP_DAMAGED, decode(h, &err));
}

static void test_record__unknown_codec_is_refused_by_name(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_record_header h = good();
    h.codec = 3;
    fails(NP_FAILED, decode(h, &err));
    assert_non_null(strstr(err.message, "codec 3"));
}

static void test_record__unknown_cipher_is_refused_by_name(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_record_header h = good();
    h.cipher = 1;
    fails(NP_FAILED, decode(h, &err));
    assert_non_null(strstr(err.message, "cipher 1"));
}

static void test_record__high_flags_are_refused_and_low_ones_ignored(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_record_header h = good();
    h.flags = 0x00ff;
    ok(decode(h, &err));
    h.flags = 0x0100;
    fails(NP_FAILED, decode(h, &err));
    assert_non_null(strstr(err.message, "required flags 1"));
}

static void test_record__only_data_may_be_compressed(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_record_header h = of_type(NP_RECORD_META);
    h.codec = 1;
    fails(NP_DAMAGED, decode(h, &err));
}

static void test_record__sizes_are_bounded_by_type(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    static const struct {
        uint8_t type;
        uint32_t table_len, data_len;
    } bad[] = {
        {NP_RECORD_META, 1, 0},
        {NP_RECORD_META, NP_TABLE_MAX + 1, 0},
        {NP_RECORD_META, 100, (1 << 20) + 1},
        {NP_RECORD_DATA, 7, 0},
        {NP_RECORD_DATA, NP_DATA_TABLE_MAX + 1, 0},
        {NP_RECORD_DATA, 24, NP_CHUNK_MAX + 1},
        {NP_RECORD_ZERO, 1, 0},
        {NP_RECORD_ZERO, 0, 1},
        {NP_RECORD_BLOB, 26, 0},
        {NP_RECORD_BLOB, 26 + 256, 0},
        {NP_RECORD_BLOB, 30, NP_BLOB_PART_MAX + 1},
        {NP_RECORD_INDEX, 15, 0},
        {NP_RECORD_INDEX, 100, (1 << 20) + 1},
        {NP_RECORD_DIR, 15, 0},
        {NP_RECORD_DIR, 100, 1},
        {NP_RECORD_END, 159, 0},
        {NP_RECORD_END, 161, 0},
        {NP_RECORD_END, 160, 1},
    };
    for (size_t i = 0; i < NP_ARRAY_SIZE(bad); i++) {
        struct np_record_header h = bad[i].type == NP_RECORD_DATA ? good() : of_type(bad[i].type);
        h.table_len = bad[i].table_len;
        h.data_len = bad[i].data_len;
        if (h.type == NP_RECORD_BLOB)
            h.length = h.data_len;
        fails(NP_DAMAGED, decode(h, &err));
    }
}

static void test_record__offset_and_length_are_below_2_to_the_53(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_record_header h = of_type(NP_RECORD_ZERO);
    h.offset = h.length = NP_OFFSET_LIMIT - 1;
    ok(decode(h, &err));
    h.offset = NP_OFFSET_LIMIT;
    fails(NP_DAMAGED, decode(h, &err));
    h.offset = 0;
    h.length = UINT64_MAX;
    fails(NP_DAMAGED, decode(h, &err));
}

static void test_record__lengths_that_cannot_be(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_record_header h = of_type(NP_RECORD_ZERO);
    h.length = 0;
    fails(NP_DAMAGED, decode(h, &err));
    h = good();
    h.length = (uint64_t)NP_CHUNK_MAX + 1;
    fails(NP_DAMAGED, decode(h, &err));
    h = of_type(NP_RECORD_BLOB);
    h.length = 1;
    fails(NP_DAMAGED, decode(h, &err));
    h = of_type(NP_RECORD_DIR);
    h.length = 1;
    fails(NP_DAMAGED, decode(h, &err));
    h = of_type(NP_RECORD_END);
    h.offset = 1;
    fails(NP_DAMAGED, decode(h, &err));
}

static void test_record__disk_number_fits_the_type(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_record_header h = good();
    h.disk = NP_DISKS_MAX - 1;
    ok(decode(h, &err));
    h.disk = NP_DISKS_MAX;
    fails(NP_DAMAGED, decode(h, &err));
    h.disk = NP_DISK_NONE;
    fails(NP_DAMAGED, decode(h, &err));
    h = of_type(NP_RECORD_META);
    h.disk = 0;
    fails(NP_DAMAGED, decode(h, &err));
}

static void test_record__position_is_aligned(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_record_header h = good();
    h.pos = 4104;
    fails(NP_DAMAGED, decode(h, &err));
}

static void test_record__foreign_moved_and_renumbered_are_told_apart(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_record_header h = good();
    fails(NP_DAMAGED, np_record_expect(&h, name, h.stream_id + 1, h.pos, h.number, &err));
    assert_non_null(strstr(err.message, "another stream"));
    fails(NP_DAMAGED, np_record_expect(&h, name, h.stream_id, h.pos + 16, h.number, &err));
    assert_non_null(strstr(err.message, "written for byte 4096"));
    fails(NP_DAMAGED, np_record_expect(&h, name, h.stream_id, h.pos, h.number + 1, &err));
    assert_non_null(strstr(err.message, "number 17 where 18"));
}

static void test_record__size_is_padded_and_does_not_overflow(void **state)
{
    (void)state;
    struct np_record_header h = {0};
    assert_true(np_record_size(&h) == 96);
    h.table_len = 1;
    assert_true(np_record_size(&h) == 112);
    h.data_len = 15;
    assert_true(np_record_size(&h) == 112);
    h.table_len = h.data_len = UINT32_MAX;
    assert_true(np_record_size(&h) == UINT64_C(0x200000060));
}

static void test_record__stream_id_is_the_tail_of_the_uuid(void **state)
{
    (void)state;
    struct np_uuid uuid;
    for (uint8_t i = 0; i < 16; i++)
        uuid.bytes[i] = i;
    assert_true(np_stream_id(&uuid) == UINT64_C(0x0f0e0d0c0b0a0908));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_record__every_field_has_its_place),
        cmocka_unit_test(test_record__decode_is_the_reverse_of_encode),
        cmocka_unit_test(test_record__every_type_decodes),
        cmocka_unit_test(test_record__any_flipped_bit_is_damage),
        cmocka_unit_test(test_record__zeroes_are_no_record),
        cmocka_unit_test(test_record__reserved_bytes_must_be_zero),
        cmocka_unit_test(test_record__newer_version_is_refused_by_name),
        cmocka_unit_test(test_record__unknown_type_is_refused_by_name),
        cmocka_unit_test(test_record__unknown_optional_type_may_be_skipped_whatever_is_in_it),
        cmocka_unit_test(test_record__unknown_codec_is_refused_by_name),
        cmocka_unit_test(test_record__unknown_cipher_is_refused_by_name),
        cmocka_unit_test(test_record__high_flags_are_refused_and_low_ones_ignored),
        cmocka_unit_test(test_record__only_data_may_be_compressed),
        cmocka_unit_test(test_record__sizes_are_bounded_by_type),
        cmocka_unit_test(test_record__offset_and_length_are_below_2_to_the_53),
        cmocka_unit_test(test_record__lengths_that_cannot_be),
        cmocka_unit_test(test_record__disk_number_fits_the_type),
        cmocka_unit_test(test_record__position_is_aligned),
        cmocka_unit_test(test_record__foreign_moved_and_renumbered_are_told_apart),
        cmocka_unit_test(test_record__size_is_padded_and_does_not_overflow),
        cmocka_unit_test(test_record__stream_id_is_the_tail_of_the_uuid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
