#include "surgery.h"

/* Opening, or reading all of it by the index, must fail for this reason. Takes the memory. */
static void refused(struct memory memory, const char *why)
{
    struct np_error err = NP_ERROR_INIT;
    if (restore_index(&memory, NULL, &err) != -1)
        fail_msg("accepted what must be refused with \"%s\"", why);
    if (strstr(err.message, why) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err.message, why);
    assert_int_equal(err.class, NP_DAMAGED);
    free(memory.bytes);
}

static void parts_refused(struct parts *parts, unsigned fix, const char *why)
{
    refused(put_together(parts, fix), why);
    parts_free(parts);
}

/* ---- bytes that are not there, or wrong ---- */

/* Either an error, or exactly the guest's disks: what was not read may be damaged, what was read may not. */
static bool exact_or_refused(struct memory *memory, const struct guest *guest)
{
    struct np_error err = NP_ERROR_INIT;
    uint8_t *images[SAMPLE_DISKS];
    empty_images(guest, images);
    bool fine = restore_index(memory, images, &err) < 0 || images_fit(guest, images);
    free_images(guest, images);
    return fine;
}

static void test_stream__no_flipped_byte_gives_wrong_bytes(void **state)
{
    (void)state;
    struct guest guest = small_disk();
    struct memory memory = write_guest(&guest, 1);
    for (size_t i = 0; i < memory.size; i++) {
        uint8_t was = memory.bytes[i];
        memory.bytes[i] ^= (uint8_t)(i % 3 == 0 ? 0xff : 1 << i % 8);
        if (!exact_or_refused(&memory, &guest))
            fail_msg("byte %zu changes the disk in silence", i);
        memory.bytes[i] = was;
    }
    guest_free(&guest);
    free(memory.bytes);
}

static void test_stream__every_flip_in_what_is_read_is_refused(void **state)
{
    (void)state;
    struct guest guest = small_disk();
    struct memory memory = write_guest(&guest, 1);
    struct parts *parts = cut_up(&memory);
    for (size_t i = 0; i < parts->count; i++) {
        const struct np_record_header *header = &parts->list[i].header;
        uint64_t used = NP_RECORD_HEADER_SIZE + header->table_len + header->data_len;
        for (uint64_t at = header->pos; header->type != NP_RECORD_BLOB && at < header->pos + used; at++) {
            struct np_error err = NP_ERROR_INIT;
            memory.bytes[at] ^= 4;
            if (restore_index(&memory, NULL, &err) != -1)
                fail_msg("byte %ju can be changed", (uintmax_t)at);
            memory.bytes[at] ^= 4;
        }
    }
    parts_free(parts);
    guest_free(&guest);
    free(memory.bytes);
}

static void test_stream__every_truncation_is_refused(void **state)
{
    (void)state;
    struct guest guest = small_disk();
    struct memory memory = write_guest(&guest, 1);
    for (size_t size = 0; size < memory.size; size++) {
        struct np_error err = NP_ERROR_INIT;
        struct memory cut = {.bytes = memory.bytes, .size = size};
        fails(NP_DAMAGED, restore_index(&cut, NULL, &err));
        if (strstr(err.message, "truncated") == NULL)
            fail_msg("%s does not say truncated", err.message);
    }
    guest_free(&guest);
    free(memory.bytes);
}

static void test_stream__nothing_may_follow_end(void **state)
{
    (void)state;
    struct guest guest = small_disk();
    for (size_t extra = 1; extra < 600; extra += 7) {
        struct memory memory = write_guest(&guest, 1);
        uint8_t zeroes[600] = {0};
        memory_add(&memory, zeroes, extra);
        refused(memory, "it does not end with an END record");
    }
    guest_free(&guest);
}

static void test_stream__two_streams_in_one_file_are_refused(void **state)
{
    (void)state;
    struct guest guest = small_disk();
    struct memory memory = write_guest(&guest, 1);
    memory_double(&memory);
    refused(memory, "was written for byte");
    guest_free(&guest);
}

static void test_stream__the_tail_of_a_longer_stream_is_refused(void **state)
{
    (void)state;
    struct guest guest = two_disks(), shorter = small_disk();
    struct memory memory = write_guest(&guest, 1);
    shorter.meta->stream = sample_uuid(0x66);
    for (size_t i = 0; i < 2; i++)
        shorter.meta->point_disks[i].stream = shorter.meta->stream;
    struct memory over = write_guest(&shorter, 1);
    assert_true(over.size < memory.size);
    memcpy(memory.bytes, over.bytes, over.size);
    refused(memory, "it belongs to another stream");
    guest_free(&guest);
    guest_free(&shorter);
    free(over.bytes);
}

static void test_stream__a_failing_input_is_no_damage(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct guest guest = small_disk();
    struct memory memory = write_guest(&guest, 1);
    struct memory cut = {.bytes = memory.bytes, .size = memory.size - NP_END_SIZE};
    struct np_input_at input = {.read_at = memory_read_at, .ctx = &cut, .size = memory.size};
    struct np_stream *stream = NULL;
    fails(NP_DAMAGED, np_stream_open(&input, "sample", &stream, &err)); /* the input's own words */
    assert_non_null(strstr(err.message, "are beyond the end"));
    guest_free(&guest);
    free(memory.bytes);
}

/* ---- streams with all sums right that break one rule ---- */

static void test_stream__surgery_without_a_cut_changes_nothing(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct parts *parts = parts_of(two_disks());
    struct memory memory = put_together(parts, FIX_ALL);
    ok(restore_index(&memory, NULL, &err));
    free(memory.bytes);
    parts_free(parts);
}

static void test_stream__metas_must_agree(void **state)
{
    (void)state;
    struct parts *parts = parts_of(two_disks());
    struct part *first = &parts->list[0];
    memcpy(strstr((char *)first->table, "\"size\":"), "\"size\":1", 8);
    parts_refused(parts, FIX_LINKS, "it is not the META that the stream ends with");

    parts = parts_of(two_disks());
    parts->list[0].header.table_len--; /* a beginning of it is not it */
    parts_refused(parts, FIX_LINKS, "it is not the META that the stream ends with");

    parts = parts_of(two_disks());
    parts->list[0].header.data_len = 2;
    parts->list[0].data = realloc(parts->list[0].data, 2);
    memcpy(parts->list[0].data, "{}", 2);
    parts_refused(parts, FIX_LINKS, "it is not the META that the stream ends with");
}

static void test_stream__the_uuid_of_end_must_be_metas(void **state)
{
    (void)state;
    struct parts *parts = parts_of(two_disks());
    parts->list[parts->count - 1].table[96] ^= 1;
    parts_refused(parts, FIX_SUMS, "its stream UUID is not that of END");
}

static void test_stream__results_must_agree_with_dir(void **state)
{
    (void)state;
    struct parts *parts = parts_of(two_disks());
    uint8_t *disk = parts->list[part_of(parts, NP_RECORD_DIR, 0)].table + NP_DIR_HEAD_SIZE;
    disk[72] ^= 1; /* zero bytes */
    parts_refused(parts, FIX_END, "results: disk vda: they disagree with the stream");
}

static void test_stream__dir_must_be_that_of_meta(void **state)
{
    (void)state;
    struct parts *parts = parts_of(two_disks());
    uint8_t *disk = parts->list[part_of(parts, NP_RECORD_DIR, 0)].table + NP_DIR_HEAD_SIZE;
    disk[0] ^= 1;
    parts_refused(parts, FIX_END, "it does not list the disks of META");

    parts = parts_of(two_disks());
    disk = parts->list[part_of(parts, NP_RECORD_DIR, 0)].table + NP_DIR_HEAD_SIZE;
    disk[3] &= 1;
    memset(disk + 96, 0, 16);
    parts_refused(parts, FIX_END, "it lacks the digest of a disk that is whole");

    parts = parts_of(two_disks());
    disk = parts->list[part_of(parts, NP_RECORD_DIR, 0)].table + NP_DIR_HEAD_SIZE;
    np_put_le64(disk + 8 + 24, UINT64_C(1) << 40);
    parts_refused(parts, FIX_END, "the index covers more than the disk");
}

static void test_stream__dir_must_list_all_disks(void **state)
{
    (void)state;
    struct parts *parts = parts_of(two_disks());
    struct part *dir = &parts->list[part_of(parts, NP_RECORD_DIR, 0)];
    uint8_t *second = dir->table + NP_DIR_HEAD_SIZE + NP_DIR_DISK_SIZE;
    dir->header.table_len -= NP_DIR_DISK_SIZE;
    memmove(second, second + NP_DIR_DISK_SIZE, 2 * NP_PLACE_SIZE);
    np_put_le32(dir->table, 1);
    parts_refused(parts, FIX_END, "it does not list the disks of META");
}

/* ---- headers that lie, with head_sum and what refers to it right ---- */

static uint8_t *header_at(struct memory *memory, uint64_t pos, struct np_record_header *header)
{
    struct np_error err = NP_ERROR_INIT;
    ok(np_record_decode(memory->bytes + pos, "sample", pos, header, &err));
    return memory->bytes + pos;
}

/* Give META (place 40) or DIR (place 16), which END names, another number. */
static struct memory renumbered(size_t place, uint64_t number)
{
    struct guest guest = small_disk();
    struct memory memory = write_guest(&guest, 1);
    struct np_record_header header, end;
    uint8_t *last = header_at(&memory, memory.size - NP_END_SIZE, &end);
    uint8_t *at = header_at(&memory, np_get_le64(last + NP_RECORD_HEADER_SIZE + place), &header);
    header.number = number;
    np_record_encode(&header, at);
    np_put_le64(last + NP_RECORD_HEADER_SIZE + place + 8, header.head_sum);
    end.table_sum = np_hash64(last + NP_RECORD_HEADER_SIZE, end.table_len);
    np_record_encode(&end, last);
    guest_free(&guest);
    return memory;
}

static void test_stream__meta_dir_and_end_are_in_order(void **state)
{
    (void)state;
    refused(renumbered(40, 1000), "META, DIR and END are not in order");
    refused(renumbered(16, 1000), "META, DIR and END are not in order");
}

static void test_stream__the_first_record_has_number_zero(void **state)
{
    (void)state;
    struct guest guest = small_disk();
    struct memory memory = write_guest(&guest, 1);
    struct np_record_header header;
    uint8_t *at = header_at(&memory, 0, &header);
    header.number = 1;
    np_record_encode(&header, at);
    refused(memory, "it is not the META that the stream ends with");
    guest_free(&guest);
}

static void test_stream__end_has_the_sum_of_no_data(void **state)
{
    (void)state;
    struct guest guest = small_disk();
    struct memory memory = write_guest(&guest, 1);
    struct np_record_header header;
    uint8_t *at = header_at(&memory, memory.size - NP_END_SIZE, &header);
    header.data_sum.low ^= 1;
    np_record_encode(&header, at);
    refused(memory, "it has a wrong checksum");
    guest_free(&guest);
}

static void test_stream__an_impossible_size_is_refused(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct guest guest = small_disk();
    struct memory memory = write_guest(&guest, 1);
    struct np_input_at input = input_at(&memory);
    struct np_stream *stream = NULL;
    static const uint64_t sizes[] = {0, 255, 511, UINT64_MAX, (UINT64_C(1) << 63)};
    for (size_t i = 0; i < NP_ARRAY_SIZE(sizes); i++) {
        input.size = sizes[i];
        fails(NP_DAMAGED, np_stream_open(&input, "sample", &stream, &err));
        assert_non_null(strstr(err.message, "cannot be a whole stream"));
    }
    guest_free(&guest);
    free(memory.bytes);
}

/* END names another record of the stream as DIR or META. */
static void test_stream__end_names_what_it_must(void **state)
{
    (void)state;
    for (size_t at = 16; at <= 40; at += 24) {
        struct parts *parts = parts_of(two_disks());
        uint8_t *place = parts->list[parts->count - 1].table + at;
        struct np_place blob = np_place_of(&parts->list[part_of(parts, NP_RECORD_BLOB, 1)].header);
        np_place_put(place, &blob);
        struct memory memory = put_together(parts, FIX_SUMS);
        struct np_error err = NP_ERROR_INIT;
        fails(NP_DAMAGED, restore_index(&memory, NULL, &err));
        assert_non_null(
            strstr(err.message, at == 16 ? "cannot be where it says" : "of type META must be there"));
        free(memory.bytes);
        parts_free(parts);
    }
}

/* Positions that no arithmetic may overflow with. */
static void test_stream__hostile_places_are_refused(void **state)
{
    (void)state;
    static const uint64_t hostile[] = {UINT64_MAX - 15,
                                       UINT64_MAX - 255,
                                       UINT64_C(1) << 63,
                                       (UINT64_C(1) << 63) - 16,
                                       UINT64_C(1) << 53,
                                       1,
                                       0};
    for (size_t i = 0; i < NP_ARRAY_SIZE(hostile); i++) {
        for (unsigned what = 0; what < 5; what++) {
            struct parts *parts = parts_of(two_disks());
            uint8_t *end = parts->list[parts->count - 1].table;
            uint8_t *dir = parts->list[part_of(parts, NP_RECORD_DIR, 0)].table;
            uint8_t *leaf = parts->list[part_of(parts, NP_RECORD_INDEX, 0)].table;
            uint8_t *const at[] = {end + 16, end + 40, dir + NP_DIR_HEAD_SIZE + 8,
                                   dir + np_trailer_dir_size(2, 0), leaf + NP_INDEX_HEAD_SIZE};
            np_put_le64(at[what], hostile[i]);
            struct memory memory = put_together(parts, what == 4 ? FIX_ABOVE : FIX_END);
            struct np_error err = NP_ERROR_INIT;
            if (what == 3) /* a blob, which nothing but DIR itself looks at */
                fails(NP_DAMAGED, restore_pipe(&memory, NULL, &err));
            fails(NP_DAMAGED, restore_index(&memory, NULL, &err));
            if (strstr(err.message, "cannot be where it says") == NULL &&
                strstr(err.message, "points to no place before it") == NULL)
                fail_msg("%s", err.message);
            free(memory.bytes);
            parts_free(parts);
        }
    }
}

static void test_stream__hostile_counts_are_refused(void **state)
{
    (void)state;
    static const uint32_t hostile[] = {0,          1,          3,          1000,      0x10000,
                                       0x09249249, 0x0aaaaaab, 0x7fffffff, 0xffffffff};
    for (size_t i = 0; i < NP_ARRAY_SIZE(hostile); i++) {
        for (unsigned what = 0; what < 3; what++) {
            struct parts *parts = parts_of(two_disks());
            uint8_t *dir = parts->list[part_of(parts, NP_RECORD_DIR, 0)].table;
            uint8_t *leaf = parts->list[part_of(parts, NP_RECORD_INDEX, 0)].table;
            if (what == 2)
                np_put_le16(leaf + 2, (uint16_t)hostile[i]);
            else
                np_put_le32(dir + 4 * what, hostile[i]);
            struct memory memory = put_together(parts, what == 2 ? FIX_ABOVE : FIX_END);
            struct np_error err = NP_ERROR_INIT;
            fails(NP_DAMAGED, restore_index(&memory, NULL, &err));
            if (strstr(err.message, "its table does not hold its") == NULL &&
                strstr(err.message, "impossible count") == NULL)
                fail_msg("%s", err.message);
            free(memory.bytes);
            parts_free(parts);
        }
    }
}

static void test_stream__names_of_blobs_are_unique(void **state)
{
    (void)state;
    struct parts *parts = parts_of(small_disk());
    struct part *empty = &parts->list[part_of(parts, NP_RECORD_BLOB, 1)];
    free(empty->table);
    empty->table = copy_of(parts->list[part_of(parts, NP_RECORD_BLOB, 0)].table, 36);
    np_put_le64(empty->table, 0);
    empty->header.table_len = 36;
    parts_refused(parts, FIX_LINKS, "a second file domain.xml");
}

/* ---- entries that do not tell the truth ---- */

/* Flip bits in the first entry of vda's leaf that has this type and is compressed, or is not. */
static void entry_refused(uint8_t type, bool compressed, size_t at, uint8_t flip)
{
    struct parts *parts = parts_of(two_disks());
    struct part *leaf = &parts->list[part_of(parts, NP_RECORD_INDEX, 0)];
    uint8_t *entry = leaf->table + NP_INDEX_HEAD_SIZE;
    assert_int_equal(leaf->header.disk, 0);
    while (entry[38] != type || (entry[39] != 0) != compressed) {
        entry += leaf->table[1] * 8;
        assert_true(entry < leaf->table + leaf->header.table_len);
    }
    entry[at] ^= flip;
    struct memory memory = put_together(parts, FIX_ABOVE);
    struct np_error err = NP_ERROR_INIT;
    if (restore_index(&memory, NULL, &err) != -1)
        fail_msg("bit %x of byte %zu can be changed", flip, at);
    assert_int_equal(err.class, NP_DAMAGED);
    if (strstr(err.message, "another record must be there") != NULL)
        fail_msg("%s", err.message); /* the surgery failed, not the entry */
    free(memory.bytes);
    parts_free(parts);
}

static void test_stream__entries_must_agree_with_their_records(void **state)
{
    (void)state;
    for (size_t at = 0; at < NP_INDEX_ENTRY_FIXED + 8; at++) {
        for (unsigned flip = 1; flip <= 0x80; flip *= 11) { /* 1, 11, 121 */
            entry_refused(NP_RECORD_DATA, true, at, (uint8_t)flip);
            entry_refused(NP_RECORD_ZERO, false, at, (uint8_t)flip);
        }
    }
    entry_refused(NP_RECORD_DATA, false, 39, 1); /* codec */
}

static void test_stream__hashes_of_the_index_must_be_the_records(void **state)
{
    (void)state;
    struct parts *parts = parts_of(two_disks());
    parts->list[part_of(parts, NP_RECORD_INDEX, 0)].data[0] ^= 1;
    parts_refused(parts, FIX_LINKS, "the index has other hashes of it");
}

/* All sums right, all places right, and DIR counts what is in the stream: only the leaf lacks a record. */
static void test_stream__an_index_that_lacks_a_record_is_refused(void **state)
{
    (void)state;
    struct guest guest = two_disks();
    guest_increment(&guest, 0, guest.meta->disks[0].geometry.size, "1");
    struct parts *parts = parts_of(guest);
    struct part *leaf = &parts->list[part_of(parts, NP_RECORD_INDEX, 0)];
    const struct np_geometry *geometry = &parts->meta->disks[0].geometry;
    uint32_t size = np_index_node_entry_size(geometry);
    unsigned count = np_get_le16(leaf->table + 2);
    uint8_t *last = leaf->table + NP_INDEX_HEAD_SIZE + (count - 1) * size;
    leaf->header.data_len -= np_get_le16(last + 36) * (uint32_t)NP_HASH128_SIZE;
    leaf->header.length = np_get_le64(last + 16) - leaf->header.offset;
    leaf->header.table_len -= size;
    np_put_le16(leaf->table + 2, (uint16_t)(count - 1));
    parts_refused(parts, FIX_ABOVE, "where DIR counts");
}

/* Who does not read the index's hashes relies on the table's own sum. */
static void test_stream__a_hash_in_the_record_must_be_right(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct guest guest = two_disks();
    struct memory memory = write_guest(&guest, 0);
    struct parts *parts = cut_up(&memory);
    memory.bytes[parts->list[part_of(parts, NP_RECORD_DATA, 0)].was + NP_RECORD_HEADER_SIZE + 8] ^= 1;
    struct np_stream *stream = opened(&memory);
    struct np_cursor *cursor = NULL;
    struct np_entry entry;
    struct np_record record;
    static uint8_t table[NP_DATA_TABLE_MAX], data[SAMPLE_CHUNK];
    ok(np_cursor_open(stream, parts->list[part_of(parts, NP_RECORD_DATA, 0)].header.disk, false, &cursor,
                      &err));
    do
        assert_int_equal(np_cursor_next(cursor, &entry, &err), 1);
    while (entry.type != NP_RECORD_DATA);
    fails(NP_DAMAGED, np_stream_read(stream, 0, &entry, table, data, &record, &err));
    assert_non_null(strstr(err.message, "its table has a wrong checksum"));
    np_cursor_close(cursor);
    np_stream_close(stream);
    parts_free(parts);
    guest_free(&guest);
    free(memory.bytes);
}

static void test_stream__an_entry_of_another_disk_is_refused(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    static const uint64_t sizes[] = {SAMPLE_CHUNK, SAMPLE_CHUNK};
    struct guest guest = sample_guest(sizes, 2, 0x11);
    struct memory memory = write_guest(&guest, 0);
    struct np_stream *stream = opened(&memory);
    struct np_cursor *cursor = NULL;
    struct np_entry entry;
    struct np_record record;
    static uint8_t table[NP_DATA_TABLE_MAX], data[SAMPLE_CHUNK];
    ok(np_cursor_open(stream, 0, true, &cursor, &err));
    assert_int_equal(np_cursor_next(cursor, &entry, &err), 1);
    fails(NP_DAMAGED, np_stream_read(stream, 2, &entry, table, data, &record, &err));
    assert_non_null(strstr(err.message, "the index describes another record at this place"));
    np_cursor_close(cursor);
    np_stream_close(stream);
    guest_free(&guest);
    free(memory.bytes);
}

static void test_stream__an_entry_of_another_place_is_refused(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct guest guest = two_disks();
    struct memory memory = write_guest(&guest, 0);
    struct np_stream *stream = opened(&memory);
    struct np_cursor *cursor = NULL;
    struct np_entry entry, wrong;
    struct np_record record;
    static uint8_t table[NP_DATA_TABLE_MAX], data[SAMPLE_CHUNK];
    ok(np_cursor_open(stream, 0, true, &cursor, &err));
    assert_int_equal(np_cursor_next(cursor, &entry, &err), 1);
    ok(np_stream_read(stream, 0, &entry, table, data, &record, &err));

    fails(NP_DAMAGED, np_stream_read(stream, 2, &entry, table, data, &record, &err));
    assert_string_equal(err.disk, "vdb");
    fails(NP_FAILED, np_stream_read(stream, 1, &entry, table, data, &record, &err));
    static const uint64_t places[] = {0, 16, UINT64_MAX - 15, UINT64_C(1) << 62};
    for (size_t i = 0; i < NP_ARRAY_SIZE(places); i++) {
        wrong = entry;
        wrong.pos = places[i];
        fails(NP_DAMAGED, np_stream_read(stream, 0, &wrong, table, data, &record, &err));
        assert_int_equal(strstr(err.message, "where none can be") != NULL, places[i] > memory.size);
    }
    wrong = entry;
    wrong.hash_count = UINT16_MAX;
    fails(NP_DAMAGED, np_stream_read(stream, 0, &wrong, table, data, &record, &err));
    assert_non_null(strstr(err.message, "where none can be"));
    np_cursor_close(cursor);
    np_stream_close(stream);
    guest_free(&guest);
    free(memory.bytes);
}

static void test_stream__an_error_says_which_disk_and_where(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct guest guest = two_disks();
    struct memory memory = write_guest(&guest, 0);
    struct parts *parts = cut_up(&memory);
    const struct part *part = &parts->list[part_of(parts, NP_RECORD_DATA, 2)];
    memory.bytes[part->was + NP_RECORD_HEADER_SIZE + part->header.table_len] ^= 1;
    fails(NP_DAMAGED, restore_index(&memory, NULL, &err));
    assert_string_equal(err.disk, "vda");
    assert_true(err.offset == part->header.offset);
    err = (struct np_error)NP_ERROR_INIT;
    fails(NP_DAMAGED, restore_pipe(&memory, NULL, &err));
    assert_string_equal(err.disk, "vda");
    assert_true(err.offset == part->header.offset);
    parts_free(parts);
    guest_free(&guest);
    free(memory.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stream__no_flipped_byte_gives_wrong_bytes),
        cmocka_unit_test(test_stream__every_flip_in_what_is_read_is_refused),
        cmocka_unit_test(test_stream__every_truncation_is_refused),
        cmocka_unit_test(test_stream__nothing_may_follow_end),
        cmocka_unit_test(test_stream__two_streams_in_one_file_are_refused),
        cmocka_unit_test(test_stream__the_tail_of_a_longer_stream_is_refused),
        cmocka_unit_test(test_stream__a_failing_input_is_no_damage),
        cmocka_unit_test(test_stream__surgery_without_a_cut_changes_nothing),
        cmocka_unit_test(test_stream__metas_must_agree),
        cmocka_unit_test(test_stream__the_uuid_of_end_must_be_metas),
        cmocka_unit_test(test_stream__results_must_agree_with_dir),
        cmocka_unit_test(test_stream__dir_must_be_that_of_meta),
        cmocka_unit_test(test_stream__dir_must_list_all_disks),
        cmocka_unit_test(test_stream__meta_dir_and_end_are_in_order),
        cmocka_unit_test(test_stream__the_first_record_has_number_zero),
        cmocka_unit_test(test_stream__end_has_the_sum_of_no_data),
        cmocka_unit_test(test_stream__an_impossible_size_is_refused),
        cmocka_unit_test(test_stream__end_names_what_it_must),
        cmocka_unit_test(test_stream__hostile_places_are_refused),
        cmocka_unit_test(test_stream__hostile_counts_are_refused),
        cmocka_unit_test(test_stream__names_of_blobs_are_unique),
        cmocka_unit_test(test_stream__entries_must_agree_with_their_records),
        cmocka_unit_test(test_stream__hashes_of_the_index_must_be_the_records),
        cmocka_unit_test(test_stream__an_index_that_lacks_a_record_is_refused),
        cmocka_unit_test(test_stream__a_hash_in_the_record_must_be_right),
        cmocka_unit_test(test_stream__an_entry_of_another_disk_is_refused),
        cmocka_unit_test(test_stream__an_entry_of_another_place_is_refused),
        cmocka_unit_test(test_stream__an_error_says_which_disk_and_where),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
