#include "test.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/meta.h"

#include <stdio.h>
#include <stdlib.h>

static struct np_uuid uuid_of(uint8_t byte)
{
    struct np_uuid uuid;
    memset(uuid.bytes, byte, sizeof(uuid.bytes));
    return uuid;
}

static void fill_disk(struct np_meta *meta, size_t i, const char *target)
{
    struct np_meta_disk *disk = &meta->disks[i];
    disk->id = (uint16_t)(3 * i);
    strncpy(disk->target, target, sizeof(disk->target) - 1);
    disk->geometry = (struct np_geometry){.size = 1000000512, .chunk = 1 << 20, .granule = 1 << 16};
    strcpy(disk->source_format, "qcow2");
    strcpy(disk->level, "full");
    strcpy(disk->how, "all");
    disk->state = uuid_of((uint8_t)(0x20 + i));
    struct np_meta_point_disk *listed = &meta->point_disks[i];
    memcpy(listed->target, disk->target, sizeof(listed->target));
    listed->state = disk->state;
    listed->stream = meta->stream;
}

static struct np_meta *sample(void)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_meta *meta = np_meta_new(2, 3, &err);
    assert_non_null(meta);
    meta->stream = uuid_of(0x11);
    meta->domain = uuid_of(0x12);
    meta->point = uuid_of(0x13);
    strcpy(meta->created, "2026-11-20T03:00:00Z");
    strcpy(meta->domain_name, "a \"guest\"\nof M\xc3\xbcller");
    strcpy(meta->level, "inc");
    fill_disk(meta, 0, "vda");
    fill_disk(meta, 1, "vdb");
    strcpy(meta->point_disks[2].target, "sda");
    strcpy(meta->point_disks[2].why, "left out with -x");

    struct np_meta_disk *inc = &meta->disks[1];
    strcpy(inc->image, "/images/b.qcow2");
    inc->image_dev = 64769;
    inc->image_ino = UINT64_MAX;
    inc->logical_block = inc->physical_block = 512;
    strcpy(inc->checkpoint, "nbdpull-x-0002-00c0ffee");
    strcpy(inc->base_checkpoint, "nbdpull-x-0001-deadbeef");
    strcpy(inc->base_point, "0001");
    inc->base_state = uuid_of(0x31);
    inc->base_size = 4096;
    inc->base_digest_known = true;
    inc->base_digest = (struct np_hash128){.low = 1, .high = UINT64_MAX};
    return meta;
}

static char *text_of(const struct np_meta *meta)
{
    struct np_error err = NP_ERROR_INIT;
    char *text = NULL;
    ok(np_meta_format(meta, &text, &err));
    return text;
}

static int parse(const char *text, struct np_error *err)
{
    struct np_meta *meta = NULL;
    int status = np_meta_parse(text, strlen(text), "a.nbp", &meta, err);
    np_meta_free(meta);
    return status;
}

/* The sample's text with the first `what` replaced, which must be there. Owned. */
static char *replaced(const char *what, const char *with)
{
    struct np_meta *meta = sample();
    char *text = text_of(meta);
    char *at = strstr(text, what);
    if (at == NULL)
        fail_msg("no %s in %s", what, text);
    char *changed = NULL;
    assert_true(asprintf(&changed, "%.*s%s%s", (int)(at - text), text, with, at + strlen(what)) > 0);
    free(text);
    np_meta_free(meta);
    return changed;
}

static void refuses(enum np_class class, const char *what, const char *with)
{
    struct np_error err = NP_ERROR_INIT;
    char *text = replaced(what, with);
    fails(class, parse(text, &err));
    assert_non_null(strstr(err.message, "a.nbp"));
    free(text);
}

static void accepts(const char *what, const char *with)
{
    struct np_error err = NP_ERROR_INIT;
    char *text = replaced(what, with);
    ok(parse(text, &err));
    free(text);
}

static void test_meta__text_and_back_keeps_every_member(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_meta *meta = sample(), *back = NULL;
    char *text = text_of(meta);
    ok(np_meta_parse(text, strlen(text), "a.nbp", &back, &err));

    assert_int_equal(back->disk_count, 2);
    assert_int_equal(back->point_disk_count, 3);
    assert_memory_equal(back->disks, meta->disks, 2 * sizeof(*meta->disks));
    assert_memory_equal(back->point_disks, meta->point_disks, 3 * sizeof(*meta->point_disks));
    assert_string_equal(back->domain_name, meta->domain_name);
    assert_true(np_uuid_is_nil(&back->set));
    assert_true(np_uuid_equal(&back->point, &meta->point));

    char *again = text_of(back);
    assert_string_equal(again, text);
    free(again);
    free(text);
    np_meta_free(back);
    np_meta_free(meta);
}

static void test_meta__golden_text(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_meta *meta = np_meta_new(1, 1, &err);
    assert_non_null(meta);
    meta->stream = uuid_of(0x11);
    meta->set = uuid_of(0x14);
    meta->domain = uuid_of(0x12);
    meta->point = uuid_of(0x13);
    strcpy(meta->created, "2026-11-20T03:00:00Z");
    strcpy(meta->tool, "t");
    strcpy(meta->codec_lib, "c");
    strcpy(meta->domain_name, "g/h");
    strcpy(meta->level, "full");
    fill_disk(meta, 0, "vda");
    meta->disks[0].base_state = uuid_of(0x31);
    meta->made_from_count = 0;
    char *text = text_of(meta);
    assert_string_equal(
        text, "{\"format\":1,\"requires\":[],\"sum\":\"xxh3\",\"hash\":\"xxh3-128\","
              "\"stream\":\"11111111-1111-1111-1111-111111111111\","
              "\"set\":\"14141414-1414-1414-1414-141414141414\",\"created\":\"2026-11-20T03:00:00Z\","
              "\"tool\":\"t\",\"codec_lib\":\"c\","
              "\"domain\":{\"name\":\"g/h\",\"uuid\":\"12121212-1212-1212-1212-121212121212\"},"
              "\"point\":{\"id\":null,\"uuid\":\"13131313-1313-1313-1313-131313131313\",\"level\":\"full\","
              "\"checkpoint\":null,\"quiesced\":false,\"disks\":[{\"target\":\"vda\","
              "\"state\":\"20202020-2020-2020-2020-202020202020\","
              "\"stream\":\"11111111-1111-1111-1111-111111111111\",\"why\":\"\"}]},"
              "\"disks\":[{\"id\":0,\"target\":\"vda\",\"size\":1000000512,\"chunk\":1048576,"
              "\"granule\":65536,\"logical_block\":0,\"physical_block\":0,\"source\":{\"format\":\"qcow2\"},"
              "\"image\":{\"source\":\"\",\"dev\":\"0\",\"ino\":\"0\"},\"level\":\"full\",\"how\":\"all\","
              "\"why\":\"\","
              "\"checkpoint\":null,\"base_checkpoint\":null,\"base_point\":null,"
              "\"state\":\"20202020-2020-2020-2020-202020202020\","
              "\"base\":{\"state\":\"31313131-3131-3131-3131-313131313131\",\"size\":0,\"digest\":null}}]}");
    free(text);
    np_meta_free(meta);
}

static void test_meta__copy_shares_nothing(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_meta *meta = sample();
    char *text = text_of(meta);
    struct np_meta *copy = np_meta_copy(meta, &err);
    assert_non_null(copy);
    memset(meta->disks, 0xff, 2 * sizeof(*meta->disks));
    np_meta_free(meta);
    char *again = text_of(copy);
    assert_string_equal(again, text);
    free(again);
    free(text);
    np_meta_free(copy);
}

static void test_meta__disks_are_found_by_id_and_target(void **state)
{
    (void)state;
    struct np_meta *meta = sample();
    assert_ptr_equal(np_meta_disk_by_id(meta, 3), &meta->disks[1]);
    assert_null(np_meta_disk_by_id(meta, 1));
    assert_ptr_equal(np_meta_disk_by_target(meta, "vda"), &meta->disks[0]);
    assert_null(np_meta_disk_by_target(meta, "sda"));
    np_meta_free(meta);
}

static void test_meta__made_from_survives(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_uuid list[2] = {uuid_of(1), uuid_of(2)};
    struct np_meta *meta = sample(), *back = NULL;
    struct np_uuid *empty = meta->made_from;
    meta->made_from = list;
    meta->made_from_count = 2;
    char *text = text_of(meta);
    ok(np_meta_parse(text, strlen(text), "a.nbp", &back, &err));
    assert_int_equal(back->made_from_count, 2);
    assert_memory_equal(back->made_from, list, sizeof(list));
    free(text);
    np_meta_free(back);
    meta->made_from = empty;
    np_meta_free(meta);
}

static void test_meta__unknown_keys_are_ignored(void **state)
{
    (void)state;
    accepts("\"format\":1", "\"format\":1,\"later\":{\"a\":[1,true,null]}");
    accepts("\"id\":3,", "\"id\":3,\"iothread\":2,");
}

static void test_meta__what_it_requires_is_refused_by_name(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    char *text = replaced("\"requires\":[]", "\"requires\":[\"aead\"]");
    fails(NP_FAILED, parse(text, &err));
    assert_non_null(strstr(err.message, "aead"));
    free(text);
    refuses(NP_FAILED, "\"format\":1", "\"format\":2");
    refuses(NP_FAILED, "\"xxh3-128\"", "\"blake3\"");
    refuses(NP_DAMAGED, "\"requires\":[]", "\"requires\":[1]");
    refuses(NP_DAMAGED, "\"requires\":[],", "");
    refuses(NP_DAMAGED, "\"format\":1", "\"format\":\"1\"");
    refuses(NP_DAMAGED, "\"format\":1,", "");
    refuses(NP_DAMAGED, "\"sum\":\"xxh3\"", "\"sum\":null");
    refuses(NP_FAILED, "\"sum\":\"xxh3\"", "\"sum\":\"xxh4\"");
}

static void test_meta__duplicate_keys_are_refused(void **state)
{
    (void)state;
    refuses(NP_DAMAGED, "\"id\":3", "\"id\":3,\"id\":3");
    refuses(NP_DAMAGED, "\"format\":1", "\"format\":1,\"a\":0,\"b\":0,\"a\":0");
    refuses(NP_DAMAGED, "\"format\":1", "\"format\":1,\"form\\u0061t\":1");
}

static void test_meta__numbers_are_plain_integers_below_2_to_the_53(void **state)
{
    (void)state;
    static const char *const bad[] = {"-1",
                                      "-0",
                                      "01",
                                      "1.0",
                                      "1e3",
                                      "9007199254740992",
                                      "1E0",
                                      "0x10",
                                      "+1",
                                      "\"1\"",
                                      "NaN",
                                      "Infinity",
                                      "-Infinity",
                                      "[1]",
                                      "99999999999999999999999999",
                                      "18446744073709551617",
                                      "null",
                                      ""};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char with[64];
        snprintf(with, sizeof(with), "\"size\":%s,", bad[i]);
        refuses(NP_DAMAGED, "\"size\":1000000512,", with);
    }
    refuses(NP_DAMAGED, "\"id\":3", "\"id\":65536");
    refuses(NP_DAMAGED, "\"chunk\":1048576", "\"chunk\":4296015872");
    accepts("\"size\":1000000512,", "\"size\":9007199254740991,");
    accepts("\"size\":1000000512,", "\"size\":0,");
}

static void test_meta__device_and_inode_are_any_64_bit_number(void **state)
{
    (void)state;
    static const char *const bad[] = {"0",      "\"\"",    "\"-1\"",
                                      "\"+1\"", "\" 1\"",  "\"1 \"",
                                      "\"01\"", "\"0x1\"", "\"18446744073709551616\"",
                                      "null"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char with[64];
        snprintf(with, sizeof(with), "\"ino\":%s", bad[i]);
        refuses(NP_DAMAGED, "\"ino\":\"18446744073709551615\"", with);
    }
    accepts("\"ino\":\"18446744073709551615\"", "\"ino\":\"9007199254740992\"");
    accepts("\"dev\":\"64769\"", "\"dev\":\"0\"");
}

static void test_meta__nesting_deeper_than_8_is_refused(void **state)
{
    (void)state;
    accepts("\"format\":1", "\"format\":1,\"a\":[[[[[[[]]]]]]]");
    refuses(NP_DAMAGED, "\"format\":1", "\"format\":1,\"a\":[[[[[[[[]]]]]]]]");
}

static void test_meta__text_beyond_1_mib_is_refused(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    size_t size = (1 << 20) + 1;
    char *text = malloc(size);
    memset(text, ' ', size);
    text[0] = '{';
    text[size - 1] = '}';
    struct np_meta *meta = NULL;
    fails(NP_DAMAGED, np_meta_parse(text, size, "a.nbp", &meta, &err));
    assert_non_null(strstr(err.message, "more than 1 MiB"));
    fails(NP_DAMAGED, np_meta_parse(text, size - 1, "a.nbp", &meta, &err));
    assert_null(strstr(err.message, "more than 1 MiB"));
    free(text);
}

static void test_meta__keys_are_short_words_and_not_too_many(void **state)
{
    (void)state;
    char keys[64 * 1024], *at = keys;
    accepts("\"format\":1",
            "\"format\":1,\"a234567890123456789012345678901234567890123456789012345678901234\":1");
    refuses(NP_DAMAGED, "\"format\":1",
            "\"format\":1,\"a2345678901234567890123456789012345678901234567890123456789012345\":1");
    refuses(NP_DAMAGED, "\"format\":1", "\"format\":1,\"\":1");
    refuses(NP_DAMAGED, "\"format\":1", "\"format\":1,\"A\":1");
    for (int count = 256; count <= 257; count++) {
        at = keys;
        at += snprintf(at, 64, "\"format\":1,\"a\":{");
        for (int i = 0; i < count; i++)
            at += snprintf(at, 64, "%s\"k%d\":0", i > 0 ? "," : "", i);
        snprintf(at, 64, "}");
        if (count == 256)
            accepts("\"format\":1", keys);
        else
            refuses(NP_DAMAGED, "\"format\":1", keys);
    }
}

static void test_meta__text_cut_anywhere_is_refused(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_meta *meta = sample(), *back = NULL;
    char *text = text_of(meta);
    for (size_t size = 0; size < strlen(text); size++) {
        char *exact = malloc(size + 1); /* so that the address sanitiser sees one byte too far */
        memcpy(exact, text, size);
        char *fitting = realloc(exact, size > 0 ? size : 1);
        fails(NP_DAMAGED, np_meta_parse(fitting, size, "a.nbp", &back, &err));
        free(fitting);
    }
    free(text);
    np_meta_free(meta);
}

static void test_meta__nothing_may_follow_the_document(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_meta *meta = sample();
    char *text = text_of(meta), *longer = NULL;
    static const char *const tails[] = {" ", "\n", "{}", "x", ","};
    for (size_t i = 0; i < sizeof(tails) / sizeof(tails[0]); i++) {
        assert_true(asprintf(&longer, "%s%s", text, tails[i]) > 0);
        fails(NP_DAMAGED, parse(longer, &err));
        free(longer);
    }
    struct np_meta *back = NULL;
    fails(NP_DAMAGED, np_meta_parse(text, strlen(text) + 1, "a.nbp", &back, &err));
    free(text);
    np_meta_free(meta);
}

static void test_meta__broken_utf8_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"\xff",
                                      "\x80",
                                      "\xc3",
                                      "\xc0\xaf",
                                      "\xe0\x80\xaf",
                                      "\xed\xa0\x80",
                                      "\xf4\x90\x80\x80",
                                      "\\ud800",
                                      "\\udc00",
                                      "\\ud800\\u0041",
                                      "\\udc00\\udc00",
                                      "\\ud800\\ue000",
                                      "\\ud800\\ud800",
                                      "\\u0000",
                                      "\\u12",
                                      "\\x41",
                                      "\t",
                                      "\x01"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char with[64];
        snprintf(with, sizeof(with), "\"name\":\"%s", bad[i]);
        refuses(NP_DAMAGED, "\"name\":\"", with);
    }
    accepts("\"name\":\"", "\"name\":\"\xf0\x9f\x98\x80\\ud83d\\ude00\\u00e9\\ue000\\uffff");
}

static void test_meta__missing_or_wrong_types_are_refused(void **state)
{
    (void)state;
    refuses(NP_DAMAGED, "\"granule\":65536,", "");
    refuses(NP_DAMAGED, "\"quiesced\":false", "\"quiesced\":0");
    refuses(NP_DAMAGED, "\"quiesced\":false", "\"quiesced\":null");
    refuses(NP_DAMAGED, "\"source\":{\"format\":\"qcow2\"}", "\"source\":\"qcow2\"");
    refuses(NP_DAMAGED, "\"tool\":\"\"", "\"tool\":null");
    refuses(NP_DAMAGED, "\"tool\":\"\"", "\"tool\":\"123456789012345678901234567890123456789012345678\"");
    refuses(NP_DAMAGED, "\"point\":{\"id\":null", "\"point\":{\"id\":\"\"");
    refuses(NP_DAMAGED, "11111111-1111", "11111111-111g");
    refuses(NP_DAMAGED, "2026-11-20T03:00:00Z", "2026-11-20 03:00:00Z");
    refuses(NP_DAMAGED, "ffffffffffffffff0000000000000001", "ffffffffffffffff000000000000000");
    refuses(NP_DAMAGED, "ffffffffffffffff0000000000000001", "0xfffffffffffff00000000000000001");
}

static void test_meta__targets_must_be_safe_and_unique(void **state)
{
    (void)state;
    refuses(NP_DAMAGED, "\"target\":\"sda\"", "\"target\":\"../sda\"");
    refuses(NP_DAMAGED, "\"target\":\"sda\"", "\"target\":\"vdb\"");
    refuses(NP_DAMAGED, "\"id\":3,\"target\":\"vdb\"", "\"id\":3,\"target\":\"vda\"");
    refuses(NP_DAMAGED, "\"id\":3,\"target\":\"vdb\"", "\"id\":3,\"target\":\"\"");
}

static void test_meta__disk_ids_must_rise(void **state)
{
    (void)state;
    refuses(NP_DAMAGED, "\"id\":3", "\"id\":0");
    refuses(NP_DAMAGED, "\"id\":3", "\"id\":1024");
    accepts("\"id\":3", "\"id\":1023");
}

static void test_meta__a_grid_that_cannot_be_is_refused(void **state)
{
    (void)state;
    refuses(NP_DAMAGED, "\"chunk\":1048576", "\"chunk\":1048577");
    refuses(NP_DAMAGED, "\"granule\":65536", "\"granule\":0");
    refuses(NP_DAMAGED, "\"granule\":65536", "\"granule\":2097152");
}

static void test_meta__disks_must_agree_with_the_points_list(void **state)
{
    (void)state;
    refuses(NP_DAMAGED, "{\"target\":\"vdb\",\"state\":\"21", "{\"target\":\"vdb\",\"state\":\"22");
    refuses(NP_DAMAGED, "{\"target\":\"vdb\"", "{\"target\":\"vdc\"");
    refuses(NP_DAMAGED, "\"stream\":\"11111111", "\"stream\":\"11111112");
    refuses(NP_DAMAGED, "{\"target\":\"sda\",\"state\":null,\"stream\":null",
            "{\"target\":\"sda\",\"state\":null,\"stream\":\"11111111-1111-1111-1111-111111111111\"");
}

static void test_meta__a_state_that_builds_on_itself_is_refused(void **state)
{
    (void)state;
    refuses(NP_DAMAGED, "\"base\":{\"state\":\"31313131-3131-3131-3131-313131313131\"",
            "\"base\":{\"state\":\"21212121-2121-2121-2121-212121212121\"");
    refuses(NP_DAMAGED, "\"base\":{\"state\":\"31313131-3131-3131-3131-313131313131\"",
            "\"base\":{\"state\":\"00000000-0000-0000-0000-000000000000\"");
}

static void test_meta__what_no_reader_takes_is_not_written(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_meta *meta = sample();
    char *text = NULL;
    strcpy(meta->domain_name, "\xff");
    fails(NP_FAILED, np_meta_format(meta, &text, &err));
    strcpy(meta->domain_name, "fine");
    uint64_t size = meta->disks[0].geometry.size;
    meta->disks[0].geometry.size = UINT64_MAX;
    fails(NP_FAILED, np_meta_format(meta, &text, &err));
    meta->disks[0].geometry.size = size;
    meta->disks[1].state = meta->point_disks[1].state = meta->disks[0].state;
    fails(NP_FAILED, np_meta_format(meta, &text, &err));
    assert_non_null(strstr(err.message, "the same state"));
    meta->disk_count = 0;
    fails(NP_FAILED, np_meta_format(meta, &text, &err));
    assert_non_null(strstr(err.message, "it describes no disk"));
    assert_null(text);
    np_meta_free(meta);
}

static void test_meta__lists_are_bounded_lists(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    refuses(NP_DAMAGED, "\"disks\":[{\"id\":0", "\"disks\":{},\"x\":[{\"id\":0");
    refuses(NP_DAMAGED, "\"format\":1", "\"format\":1,\"made_from\":[null]");
    refuses(NP_DAMAGED, "\"format\":1", "\"format\":1,\"made_from\":null");
    for (size_t count = 1024; count <= 1025; count++) {
        struct np_meta *few = sample(), *meta = np_meta_new(2, count, &err);
        char *text = NULL;
        assert_non_null(meta);
        memcpy(meta->disks, few->disks, 2 * sizeof(*few->disks));
        memcpy(meta->point_disks, few->point_disks, 2 * sizeof(*few->point_disks));
        for (size_t i = 2; i < count; i++)
            snprintf(meta->point_disks[i].target, sizeof(meta->point_disks[i].target), "sd%zu", i);
        meta->stream = few->stream;
        meta->domain = few->domain;
        meta->point = few->point;
        strcpy(meta->created, few->created);
        if (count == 1024)
            ok(np_meta_format(meta, &text, &err));
        else
            fails(NP_FAILED, np_meta_format(meta, &text, &err));
        free(text);
        np_meta_free(few);
        np_meta_free(meta);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_meta__text_and_back_keeps_every_member),
        cmocka_unit_test(test_meta__golden_text),
        cmocka_unit_test(test_meta__copy_shares_nothing),
        cmocka_unit_test(test_meta__disks_are_found_by_id_and_target),
        cmocka_unit_test(test_meta__made_from_survives),
        cmocka_unit_test(test_meta__unknown_keys_are_ignored),
        cmocka_unit_test(test_meta__what_it_requires_is_refused_by_name),
        cmocka_unit_test(test_meta__duplicate_keys_are_refused),
        cmocka_unit_test(test_meta__numbers_are_plain_integers_below_2_to_the_53),
        cmocka_unit_test(test_meta__device_and_inode_are_any_64_bit_number),
        cmocka_unit_test(test_meta__nesting_deeper_than_8_is_refused),
        cmocka_unit_test(test_meta__text_beyond_1_mib_is_refused),
        cmocka_unit_test(test_meta__keys_are_short_words_and_not_too_many),
        cmocka_unit_test(test_meta__text_cut_anywhere_is_refused),
        cmocka_unit_test(test_meta__nothing_may_follow_the_document),
        cmocka_unit_test(test_meta__broken_utf8_is_refused),
        cmocka_unit_test(test_meta__missing_or_wrong_types_are_refused),
        cmocka_unit_test(test_meta__targets_must_be_safe_and_unique),
        cmocka_unit_test(test_meta__disk_ids_must_rise),
        cmocka_unit_test(test_meta__a_grid_that_cannot_be_is_refused),
        cmocka_unit_test(test_meta__disks_must_agree_with_the_points_list),
        cmocka_unit_test(test_meta__a_state_that_builds_on_itself_is_refused),
        cmocka_unit_test(test_meta__what_no_reader_takes_is_not_written),
        cmocka_unit_test(test_meta__lists_are_bounded_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
