#include "surgery.h"

/* The pipe reader must refuse it, for this reason. Takes the memory. */
static void refused(struct memory memory, const char *why)
{
    struct np_error err = NP_ERROR_INIT;
    if (read_all(&memory, &err) != -1)
        fail_msg("accepted what must be refused with \"%s\"", why);
    if (strstr(err.message, why) == NULL || strstr(err.message, "sample") == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err.message, why);
    assert_int_equal(err.class, NP_DAMAGED);
    free(memory.bytes);
}

static void accepted(struct memory memory)
{
    struct np_error err = NP_ERROR_INIT;
    ok(read_all(&memory, &err));
    free(memory.bytes);
}

static void parts_refused(struct parts *parts, unsigned fix, const char *why)
{
    refused(put_together(parts, fix), why);
    parts_free(parts);
}

static void parts_accepted(struct parts *parts, unsigned fix)
{
    accepted(put_together(parts, fix));
    parts_free(parts);
}

/* ---- streams with all sums right that break one rule ---- */

static void test_reader__surgery_without_a_cut_changes_nothing(void **state)
{
    (void)state;
    parts_accepted(parts_of(two_disks()), FIX_SUMS);
    parts_accepted(parts_of(two_disks()), FIX_ALL);
}

static void test_reader__a_missing_record_leaves_the_index_wrong(void **state)
{
    (void)state;
    struct guest guest = two_disks();
    guest_increment(&guest, 0, guest.meta->disks[0].geometry.size, "1");
    struct parts *parts = parts_of(guest);
    part_remove(parts, part_of(parts, NP_RECORD_DATA, 1));
    parts_refused(parts, FIX_LINKS | FIX_TOTALS, "the index is damaged");
}

static void test_reader__a_missing_record_leaves_the_totals_wrong(void **state)
{
    (void)state;
    struct guest guest = two_disks();
    guest_increment(&guest, 0, guest.meta->disks[0].geometry.size, "1");
    struct parts *parts = parts_of(guest);
    part_remove(parts, part_of(parts, NP_RECORD_DATA, 1));
    parts_refused(parts, FIX_LINKS | FIX_LEAVES, "its totals are not those of the records");
}

static void test_reader__a_gap_in_a_full_is_refused(void **state)
{
    (void)state;
    struct parts *parts = parts_of(two_disks());
    part_remove(parts, part_of(parts, NP_RECORD_DATA, 1));
    parts_refused(parts, FIX_ALL, "nothing is stored for guest byte");
}

static void test_reader__a_gap_at_the_end_of_a_full_is_refused(void **state)
{
    (void)state;
    struct parts *parts = parts_of(two_disks());
    size_t last = 0;
    for (size_t i = 0; i < parts->count; i++)
        if (parts->list[i].header.disk == 0 && parts->list[i].header.type <= NP_RECORD_ZERO)
            last = i;
    part_remove(parts, last);
    parts_refused(parts, FIX_ALL, "nothing is stored for guest byte");
}

/* As an increment on base_size that stores only the granules of the pattern; the writer would refuse it. */
static struct parts *increment_of(uint64_t base_size, const char *stored)
{
    struct guest guest = two_disks();
    guest_increment(&guest, 0, guest.meta->disks[0].geometry.size, stored);
    struct parts *parts = parts_of(guest);
    struct np_error err = NP_ERROR_INIT;
    parts->meta->disks[0].base_size = base_size;
    char *text = NULL;
    ok(np_meta_format(parts->meta, &text, &err));
    for (size_t i = 0; i < 2; i++) {
        struct part *part = &parts->list[part_of(parts, NP_RECORD_META, i)];
        free(part->table);
        part->table = copy_of(text, strlen(text));
        part->header.table_len = (uint32_t)strlen(text);
    }
    free(text);
    return parts;
}

static void test_reader__the_grown_part_must_be_stored(void **state)
{
    (void)state;
    const uint64_t size = 5 * SAMPLE_CHUNK + SAMPLE_GRANULE + 512;
    parts_accepted(increment_of(size, "0"), FIX_ALL);
    parts_accepted(increment_of(0, "1"), FIX_ALL);
    parts_refused(increment_of(size - 1, "0"), FIX_ALL, "nothing is stored for guest byte");
    parts_refused(increment_of(3 * SAMPLE_CHUNK, "1111111111111110"), FIX_ALL,
                  "nothing is stored for guest byte 258048");
}

static void test_reader__after_shrinking_a_short_last_granule_must_be_stored(void **state)
{
    (void)state;
    /* 82 granules; the pattern of 82 says which */
    char all_but_last[83], last_only[83];
    memset(all_but_last, '1', 81);
    memset(last_only, '0', 81);
    strcpy(all_but_last + 81, "0");
    strcpy(last_only + 81, "1");
    const uint64_t larger = 9 * SAMPLE_CHUNK;
    parts_refused(increment_of(larger, all_but_last), FIX_ALL, "nothing is stored for guest byte 331776");
    parts_accepted(increment_of(larger, last_only), FIX_ALL);
}

static void test_reader__windows_must_not_decrease(void **state)
{
    (void)state;
    struct guest guest = two_disks();
    guest_increment(&guest, 0, guest.meta->disks[0].geometry.size, "01");
    struct parts *parts = parts_of(guest);
    part_swap(parts, part_of(parts, NP_RECORD_DATA, 0), part_of(parts, NP_RECORD_DATA, 2));
    parts_refused(parts, FIX_ALL, "it comes after a record that lies behind it");
}

static void test_reader__a_granule_must_not_be_described_twice(void **state)
{
    (void)state;
    struct parts *parts = parts_of(two_disks());
    size_t data = part_of(parts, NP_RECORD_DATA, 0);
    part_insert(parts, data, &parts->list[data]);
    parts_refused(parts, FIX_ALL, "it describes a granule that was described before");
}

static void test_reader__a_zero_must_not_share_a_window(void **state)
{
    (void)state;
    struct parts *parts = parts_of(two_disks());
    size_t data = part_of(parts, NP_RECORD_DATA, 0);
    struct part *zero = part_insert(parts, data + 1, &parts->list[data]);
    zero->header.type = NP_RECORD_ZERO;
    zero->header.codec = 0;
    zero->header.length = SAMPLE_CHUNK;
    zero->header.table_len = zero->header.data_len = 0;
    parts_refused(parts, FIX_ALL, "shares its window");
}

static struct parts *with_zero(uint64_t offset, uint64_t length)
{
    static const uint64_t sizes[] = {3 * SAMPLE_CHUNK + 512};
    struct guest guest = sample_guest(sizes, 1, 0x11);
    memset(guest.image[0], 0, sizes[0]);
    struct parts *parts = parts_of(guest);
    struct np_record_header *zero = &parts->list[part_of(parts, NP_RECORD_ZERO, 0)].header;
    zero->offset = offset;
    zero->length = length;
    return parts;
}

static void test_reader__a_zero_must_fit_windows_and_disk(void **state)
{
    (void)state;
    const uint64_t size = 3 * SAMPLE_CHUNK + 512;
    parts_accepted(with_zero(0, size), FIX_ALL);
    parts_refused(with_zero(0, size + 1), FIX_ALL, "longer than the disk");
    parts_refused(with_zero(0, SAMPLE_CHUNK + 1), FIX_ALL, "ends neither with a window nor with the disk");
    parts_refused(with_zero(512, size - 512), FIX_ALL, "no window of the disk begins there");
    parts_refused(with_zero(4 * SAMPLE_CHUNK, 1), FIX_ALL, "no window of the disk begins there");
    parts_refused(with_zero((UINT64_C(1) << 53) - SAMPLE_CHUNK, (UINT64_C(1) << 53) - 1), FIX_ALL,
                  "no window of the disk begins there");
    parts_refused(with_zero(0, UINT64_C(1) << 53), FIX_ALL, "2^53");
}

static void test_reader__a_disk_that_meta_does_not_know_is_refused(void **state)
{
    (void)state;
    struct parts *parts = parts_of(two_disks());
    parts->list[part_of(parts, NP_RECORD_DATA, 0)].header.disk = 1;
    parts_refused(parts, FIX_LINKS, "META knows no such disk");
}

static void test_reader__records_stand_in_their_order(void **state)
{
    (void)state;
    struct parts *parts = parts_of(two_disks());
    part_swap(parts, part_of(parts, NP_RECORD_META, 1), part_of(parts, NP_RECORD_DIR, 0));
    parts_refused(parts, FIX_LINKS, "it may not stand there");

    parts = parts_of(two_disks());
    struct part blob = parts->list[part_of(parts, NP_RECORD_BLOB, 0)];
    part_insert(parts, part_of(parts, NP_RECORD_INDEX, 1), &blob);
    parts_refused(parts, FIX_LINKS, "it may not stand there");

    parts = parts_of(two_disks());
    part_remove(parts, part_of(parts, NP_RECORD_META, 1));
    parts_refused(parts, FIX_LINKS, "it may not stand there");

    parts = parts_of(two_disks());
    struct part meta = parts->list[0];
    part_insert(parts, 1, &meta);
    parts_refused(parts, FIX_ALL, "nothing is stored for guest byte 0");
}

static void test_reader__a_stream_begins_with_meta(void **state)
{
    (void)state;
    struct parts *parts = parts_of(two_disks());
    part_remove(parts, 0);
    parts_refused(parts, FIX_SUMS, "a stream begins with a META");
    parts = parts_of(two_disks());
    while (parts->list[0].header.data_len > 0 || parts->list[0].header.type == NP_RECORD_META)
        part_remove(parts, 0);
    parts_refused(parts, FIX_SUMS, "a stream begins with a META");
    parts = parts_of(two_disks());
    free(parts->list[0].data);
    parts->list[0].data = copy_of("{}", 2);
    parts->list[0].header.data_len = 2;
    parts_refused(parts, FIX_LINKS, "a stream begins with a META without data");
    refused((struct memory){.bytes = calloc(1, 4096), .size = 4096}, "no record begins at byte 0");
    refused((struct memory){.bytes = NULL, .size = 0}, "truncated: it ends at byte 0");
}

static void test_reader__metas_uuid_must_be_that_of_the_records(void **state)
{
    (void)state;
    struct parts *parts = parts_of(two_disks());
    parts->meta->stream = sample_uuid(0x77); /* which the records get; META's text says 0x11 */
    parts_refused(parts, FIX_SUMS, "its stream UUID is not that of the records");
}

static void test_reader__the_second_meta_must_be_the_first(void **state)
{
    (void)state;
    struct parts *parts = parts_of(two_disks());
    char *text = (char *)parts->list[part_of(parts, NP_RECORD_META, 1)].table;
    text[strlen("{\"format\":1,\"requires\":[],\"sum\":\"xxh3\",\"hash\":\"xxh3-128\",\"stream\":\"1")] = '2';
    parts_refused(parts, FIX_LINKS, "it is not the META that the stream begins with");

    for (int longer = -1; longer <= 1; longer += 2) {
        parts = parts_of(two_disks());
        struct part *second = &parts->list[part_of(parts, NP_RECORD_META, 1)];
        second->header.table_len += (uint32_t)longer;
        second->table = realloc(second->table, second->header.table_len);
        second->table[second->header.table_len - 1] = '}';
        if (longer < 0)
            second->table[second->header.table_len - 1] = parts->list[0].table[second->header.table_len - 1];
        parts_refused(parts, FIX_LINKS, "it is not the META that the stream begins with");
    }
}

static void replace_results(struct parts *parts, const char *text)
{
    struct part *part = &parts->list[part_of(parts, NP_RECORD_META, 1)];
    free(part->data);
    part->data = copy_of(text, strlen(text));
    part->header.data_len = (uint32_t)strlen(text);
}

/* Replace a piece of the results, which must be there. */
static void results_refused(const char *what, const char *with)
{
    struct parts *parts = parts_of(two_disks());
    struct part *meta = &parts->list[part_of(parts, NP_RECORD_META, 1)];
    char *text = NULL, *changed = NULL;
    assert_true(asprintf(&text, "%.*s", (int)meta->header.data_len, (char *)meta->data) > 0);
    char *at = strstr(text, what);
    assert_non_null(at);
    assert_true(asprintf(&changed, "%.*s%s%s", (int)(at - text), text, with, at + strlen(what)) > 0);
    replace_results(parts, changed);
    free(text);
    free(changed);
    parts_refused(parts, FIX_LINKS, "results");
}

static void test_reader__results_must_agree(void **state)
{
    (void)state;
    static const char *const wrong[] = {"", "{}", "{\"disks\":[],\"blobs\":2}", "[]",
                                        "{\"disks\":{},\"blobs\":2}"};
    for (size_t i = 0; i < NP_ARRAY_SIZE(wrong); i++) {
        struct parts *parts = parts_of(two_disks());
        replace_results(parts, wrong[i]);
        parts_refused(parts, FIX_LINKS, "results");
    }
    results_refused("\"data_bytes\":", "\"data_bytes\":1");
    results_refused("\"records\":", "\"records\":1");
    results_refused("\"id\":2", "\"id\":1");
    results_refused("\"blobs\":2", "\"blobs\":3");
    results_refused("\"blobs\":2", "\"blobs\":\"2\"");
    results_refused(",\"blobs\":2", "");
    results_refused("\"disks\":[", "\"disks\":[{},");
    results_refused("],\"blobs\"", ",{}],\"blobs\"");
    results_refused("\"digest\":\"", "\"digest\":null,\"x\":\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reader__surgery_without_a_cut_changes_nothing),
        cmocka_unit_test(test_reader__a_missing_record_leaves_the_index_wrong),
        cmocka_unit_test(test_reader__a_missing_record_leaves_the_totals_wrong),
        cmocka_unit_test(test_reader__a_gap_in_a_full_is_refused),
        cmocka_unit_test(test_reader__a_gap_at_the_end_of_a_full_is_refused),
        cmocka_unit_test(test_reader__the_grown_part_must_be_stored),
        cmocka_unit_test(test_reader__after_shrinking_a_short_last_granule_must_be_stored),
        cmocka_unit_test(test_reader__windows_must_not_decrease),
        cmocka_unit_test(test_reader__a_granule_must_not_be_described_twice),
        cmocka_unit_test(test_reader__a_zero_must_not_share_a_window),
        cmocka_unit_test(test_reader__a_zero_must_fit_windows_and_disk),
        cmocka_unit_test(test_reader__a_disk_that_meta_does_not_know_is_refused),
        cmocka_unit_test(test_reader__records_stand_in_their_order),
        cmocka_unit_test(test_reader__a_stream_begins_with_meta),
        cmocka_unit_test(test_reader__metas_uuid_must_be_that_of_the_records),
        cmocka_unit_test(test_reader__the_second_meta_must_be_the_first),
        cmocka_unit_test(test_reader__results_must_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
