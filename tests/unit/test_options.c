/*
 * Values on the command line: sizes, as --threshold takes them.
 */
#include "test.h"

#include "cli/options.h"

#include <stdio.h>

static int parse(const char *text, uint64_t *size, struct np_error *err)
{
    char command[] = "backup", option[] = "--size", word[64];
    char *argv[] = {command, option, word, NULL};
    struct np_common common = {0};
    const struct np_option options[] = {{0, "size", NP_OPTION_SIZE, size}, {0}};
    snprintf(word, sizeof(word), "%s", text);
    return np_options_parse(3, argv, options, &common, err);
}

static void test_options__a_size_is_bytes_or_a_multiple_of_1024(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t size;
    } rows[] = {
        {"0", 0},
        {"512", 512},
        {"512B", 512},
        {"1K", 1024},
        {"1k", 1024},
        {"64KiB", 65536},
        {"20M", 20u << 20},
        {"3G", UINT64_C(3) << 30},
        {"2t", UINT64_C(2) << 40},
        {"18446744073709551615", UINT64_MAX},
        {"16777215T", UINT64_C(16777215) << 40},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct np_error err = NP_ERROR_INIT;
        uint64_t size = 1;
        ok(parse(rows[i].text, &size, &err));
        assert_int_equal(size, rows[i].size);
    }
}

static void test_options__what_is_no_size_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"M",         "-1",
                                        "+1",        " 1",
                                        "1.5M",      "1KB",
                                        "1MM",       "1Mi",
                                        "1 M",       "0x10",
                                        "1P",        "1iB",
                                        "many",      "18446744073709551616",
                                        "16777216T", "18014398509481984K"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct np_error err = NP_ERROR_INIT;
        uint64_t size = 7;
        fails(NP_USAGE, parse(texts[i], &size, &err));
        assert_non_null(strstr(err.message, texts[i]));
        assert_int_equal(size, 7);
    }
}

static int parse_kind(enum np_option_kind kind, const char *text, struct np_error *err)
{
    char command[] = "verify", option[] = "--number", word[64];
    char *argv[] = {command, option, word, NULL};
    struct np_common common = {0};
    uint64_t value = 7;
    const struct np_option options[] = {{0, "number", kind, &value}, {0}};
    snprintf(word, sizeof(word), "%s", text);
    return np_options_parse(3, argv, options, &common, err);
}

static void test_options__a_number_has_digits_only_and_its_own_range(void **state)
{
    (void)state;
    static const struct {
        enum np_option_kind kind;
        const char *good, *bad[6];
    } rows[] = {
        {NP_OPTION_COUNT, "0", {"+1", " 1", "-0", "1000001", "1 "}},
        {NP_OPTION_WORKERS, "1", {"0", "+1", "-1", "\t1"}},
        {NP_OPTION_ORDINAL, "1000000", {"0", "+1", "1000001"}},
        {NP_OPTION_PERCENT, "100", {"0", "+5", "101", "5%"}},
        {NP_OPTION_ROOM, "64K", {"0", "0K", "+1", "-1"}},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct np_error err = NP_ERROR_INIT;
        ok(parse_kind(rows[i].kind, rows[i].good, &err));
        for (size_t k = 0; rows[i].bad[k] != NULL; k++) {
            fails(NP_USAGE, parse_kind(rows[i].kind, rows[i].bad[k], &err));
            assert_non_null(strstr(err.message, "--number"));
        }
    }
}

/* So the failure can be told as it was asked for. */
static void test_options__json_is_seen_behind_what_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *words[4];
        bool json;
    } rows[] = {
        {{"--bogus", "--json"}, true},
        {{"--json", "--bogus"}, true},
        {{"--number", "x", "--json"}, true},
        {{"stray", "--json"}, true},
        {{"--bogus", "--", "--json"}, false},
        {{"--bogus"}, false},
        {{"-z", "--json"}, true},
        {{"--text=", "--json"}, true},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char command[] = "verify", words[4][16];
        char *argv[6] = {command};
        int argc = 1;
        for (size_t k = 0; k < 4 && rows[i].words[k] != NULL; k++, argc++) {
            snprintf(words[k], sizeof(words[k]), "%s", rows[i].words[k]);
            argv[argc] = words[k];
        }
        struct np_error err = NP_ERROR_INIT;
        struct np_common common = {0};
        unsigned number;
        const char *text;
        const struct np_option options[] = {
            {0, "number", NP_OPTION_COUNT, &number}, {0, "text", NP_OPTION_STRING, &text}, {0}};
        fails(NP_USAGE, np_options_parse(argc, argv, options, &common, &err));
        assert_int_equal(common.json, rows[i].json);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options__a_size_is_bytes_or_a_multiple_of_1024),
        cmocka_unit_test(test_options__what_is_no_size_is_refused),
        cmocka_unit_test(test_options__a_number_has_digits_only_and_its_own_range),
        cmocka_unit_test(test_options__json_is_seen_behind_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
