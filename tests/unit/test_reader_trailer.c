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

/* ---- DIR and END ---- */

/* Change one byte of DIR's entry of the first disk, all sums and links right. */
static void dir_refused(size_t at, const char *why)
{
    struct parts *parts = parts_of(two_disks());
    parts->list[part_of(parts, NP_RECORD_DIR, 0)].table[NP_DIR_HEAD_SIZE + at] ^= 1;
    parts_refused(parts, FIX_SUMS, why);
}

static void test_reader__dir_must_agree_with_what_was_counted(void **state)
{
    (void)state;
    for (size_t i = 0; i < 4; i++)
        dir_refused(56 + 8 * i, i < 4 ? "its totals are not those of the records" : "");
    dir_refused(88, "its totals are not those of the records");
    dir_refused(96, "the digest of a disk is not that of its granules");
    dir_refused(2, "it names another root");
    dir_refused(16, "it names another root"); /* head_sum */
    dir_refused(0, "it does not list the disks of META");
}

static void test_reader__a_full_has_its_digest(void **state)
{
    (void)state;
    struct parts *parts = parts_of(two_disks());
    uint8_t *disk = parts->list[part_of(parts, NP_RECORD_DIR, 0)].table + NP_DIR_HEAD_SIZE;
    disk[3] &= 1;
    memset(disk + 96, 0, 16);
    parts_refused(parts, FIX_SUMS, "it lacks the digest of a disk that is whole");
}

static void test_reader__dir_lists_all_blobs(void **state)
{
    (void)state;
    struct parts *parts = parts_of(two_disks());
    struct part *dir = &parts->list[part_of(parts, NP_RECORD_DIR, 0)];
    dir->header.table_len -= NP_PLACE_SIZE;
    np_put_le32(dir->table + 4, 1);
    parts_refused(parts, FIX_LINKS, "it lists 1 files where there are 2");
    parts = parts_of(two_disks());
    dir = &parts->list[part_of(parts, NP_RECORD_DIR, 0)];
    dir->table[dir->header.table_len - NP_PLACE_SIZE + 8] ^= 1;
    parts_refused(parts, FIX_END, "it says that the file empty is elsewhere");
}

static void test_reader__dir_lists_all_disks(void **state)
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

static void test_reader__dir_names_the_last_index(void **state)
{
    (void)state;
    struct parts *parts = parts_of(two_disks());
    uint64_t other = parts->list[part_of(parts, NP_RECORD_BLOB, 0)].was;
    np_put_le64(parts->list[part_of(parts, NP_RECORD_DIR, 0)].table + 8, other);
    parts_refused(parts, FIX_END, "it names another INDEX as the last");
}

static void test_reader__end_must_agree(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        const char *why;
    } cases[] = {
        {24, "it says that META or DIR are elsewhere"},
        {48, "it says that META or DIR are elsewhere"},
        {96, "its stream UUID is another than META's"},
        {80, "reserved bytes"},
        {130, "reserved bytes"},
    };
    for (size_t i = 0; i < NP_ARRAY_SIZE(cases); i++) {
        struct parts *parts = parts_of(two_disks());
        parts->list[parts->count - 1].table[cases[i].at] ^= 1;
        parts_refused(parts, FIX_SUMS, cases[i].why);
    }
}

/* Put wrong bytes into END's table, with its own sums right. */
static void end_refused(size_t at, const char *why)
{
    struct guest guest = two_disks();
    struct memory memory = write_guest(&guest, 0);
    struct np_error err = NP_ERROR_INIT;
    struct np_record_header header;
    uint8_t *end = memory.bytes + memory.size - NP_END_SIZE;
    ok(np_record_decode(end, "sample", memory.size - NP_END_SIZE, &header, &err));
    end[NP_RECORD_HEADER_SIZE + at] ^= 1;
    header.table_sum = np_hash64(end + NP_RECORD_HEADER_SIZE, header.table_len);
    np_record_encode(&header, end);
    refused(memory, why);
    guest_free(&guest);
}

static void test_reader__ends_length_count_and_digest_must_agree(void **state)
{
    (void)state;
    end_refused(0, "another length than it says");
    end_refused(8, "another number of records than it says");
    end_refused(64, "its digest is not that of the headers before it");
}

/* ---- the index ---- */

static void test_reader__an_index_that_says_otherwise_is_refused(void **state)
{
    (void)state;
    struct parts *parts = parts_of(two_disks());
    struct part *leaf = &parts->list[part_of(parts, NP_RECORD_INDEX, 0)];
    np_put_le64(leaf->data, 7); /* a hash of the first granule */
    parts_refused(parts, FIX_LINKS, "the index disagrees with the records before it");

    parts = parts_of(two_disks());
    leaf = &parts->list[part_of(parts, NP_RECORD_INDEX, 0)];
    leaf->table[NP_INDEX_HEAD_SIZE + 8] ^= 1; /* head_sum of the first entry */
    parts_refused(parts, FIX_SUMS, "the index disagrees with the records before it");
}

static void test_reader__a_map_of_the_index_that_says_otherwise_is_refused(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {SAMPLE_CHUNK};
    struct guest guest = sample_guest(sizes, 1, 0x11);
    memset(guest.image[0], 0, sizes[0]);
    memset(guest.image[0], 5, SAMPLE_GRANULE);
    struct parts *parts = parts_of(guest);
    struct part *leaf = &parts->list[part_of(parts, NP_RECORD_INDEX, 0)];
    uint8_t *map = leaf->table + NP_INDEX_HEAD_SIZE + NP_INDEX_ENTRY_FIXED;
    np_map_set(map, 0, NP_GRANULE_ZERO); /* the data granule moves from 0 to 1 */
    np_map_set(map, 1, NP_GRANULE_DATA);
    struct memory memory = put_together(parts, FIX_LINKS);
    struct np_error err = NP_ERROR_INIT;
    fails(NP_DAMAGED, restore_index(&memory, NULL, &err));
    assert_non_null(strstr(err.message, "the index has another map of it"));
    refused(memory, "the index disagrees with the records before it");
    parts_free(parts);
}

static void test_reader__every_index_node_is_needed(void **state)
{
    (void)state;
    struct parts *parts = parts_of(two_disks());
    part_remove(parts, part_of(parts, NP_RECORD_INDEX, 0));
    parts_refused(parts, FIX_LINKS | FIX_TOTALS, "its index does not list all its records");

    parts = parts_of(two_disks());
    struct part leaf = parts->list[part_of(parts, NP_RECORD_INDEX, 1)];
    part_insert(parts, part_of(parts, NP_RECORD_BLOB, 0), &leaf);
    parts_refused(parts, FIX_LINKS, "the index disagrees with the records before it");

    parts = parts_of(two_disks());
    parts->list[part_of(parts, NP_RECORD_INDEX, 1)].table[8] ^= 16;
    parts_refused(parts, FIX_SUMS, "another INDEX as the one before");
}

/* ---- blobs ---- */

static void test_reader__parts_of_a_blob_stand_together(void **state)
{
    (void)state;
    struct parts *parts = parts_of(two_disks());
    size_t blob = part_of(parts, NP_RECORD_BLOB, 0);
    struct part optional = optional_part(parts);
    struct np_record_header *header = &parts->list[blob].header;
    struct part *second = part_insert(parts, blob + 1, &parts->list[blob]);
    header->length = header->data_len = 5;
    memmove(second->data, second->data + 5, 4);
    second->header.offset = 5;
    second->header.length = second->header.data_len = 4;
    accepted(put_together(parts, FIX_ALL));

    part_insert(parts, blob + 1, &optional);
    refused(put_together(parts, FIX_ALL), "parts of a file are missing before it");
    part_remove(parts, blob + 1);
    parts->list[blob + 1].table[0] ^= 2; /* total */
    refused(put_together(parts, FIX_ALL), "it is not the next part");
    parts->list[blob + 1].table[0] ^= 2;
    parts->list[blob + 1].table[9] ^= 1; /* sum */
    refused(put_together(parts, FIX_ALL), "it is not the next part");
    parts->list[blob + 1].table[9] ^= 1;
    parts->list[blob + 1].table[30] ^= 1; /* name */
    refused(put_together(parts, FIX_ALL), "it is not the next part");
    parts->list[blob + 1].table[30] ^= 1;
    parts->list[blob + 1].header.offset = 4;
    refused(put_together(parts, FIX_ALL), "it is not the next part");
    part_remove(parts, blob + 1);
    refused(put_together(parts, FIX_ALL), "it is not the next part");
    parts->list[blob].header.offset = 4;
    refused(put_together(parts, FIX_ALL), "the parts of domain.xml before it are missing");
    free(optional.table);
    free(optional.data);
    parts_free(parts);
}

static void test_reader__a_blob_with_another_content_is_refused(void **state)
{
    (void)state;
    struct parts *parts = parts_of(two_disks());
    parts->list[part_of(parts, NP_RECORD_BLOB, 0)].data[3] ^= 1;
    parts_refused(parts, FIX_LINKS, "the file domain.xml has another checksum than it must");
}

static void test_reader__names_of_blobs_are_unique(void **state)
{
    (void)state;
    struct parts *parts = parts_of(two_disks());
    size_t blob = part_of(parts, NP_RECORD_BLOB, 0);
    part_insert(parts, blob + 1, &parts->list[blob]);
    parts_refused(parts, FIX_ALL, "a second file domain.xml");
}

static void test_reader__a_stream_has_at_most_1024_files(void **state)
{
    (void)state;
    for (unsigned count = 1024; count <= 1025; count++) {
        struct parts *parts = parts_of(two_disks());
        size_t blob = part_of(parts, NP_RECORD_BLOB, 0);
        for (unsigned i = 2; i < count; i++) {
            struct part *part = part_insert(parts, blob, &parts->list[blob]);
            memset(part->table + 26, 'a' + (int)(i / 676), 1); /* domain.xml becomes another name */
            part->table[27] = (uint8_t)('a' + i / 26 % 26);
            part->table[28] = (uint8_t)('a' + i % 26);
        }
        struct np_error err = NP_ERROR_INIT;
        struct memory memory = put_together(parts, FIX_ALL);
        fails(NP_DAMAGED, read_all(&memory, &err));
        const char *why = count == 1024 ? "it lists 2 files where there are 1024" : "more than 1024 files";
        if (strstr(err.message, why) == NULL)
            fail_msg("%s", err.message);
        free(memory.bytes);
        parts_free(parts);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reader__dir_must_agree_with_what_was_counted),
        cmocka_unit_test(test_reader__a_full_has_its_digest),
        cmocka_unit_test(test_reader__dir_lists_all_blobs),
        cmocka_unit_test(test_reader__dir_lists_all_disks),
        cmocka_unit_test(test_reader__dir_names_the_last_index),
        cmocka_unit_test(test_reader__end_must_agree),
        cmocka_unit_test(test_reader__ends_length_count_and_digest_must_agree),
        cmocka_unit_test(test_reader__an_index_that_says_otherwise_is_refused),
        cmocka_unit_test(test_reader__a_map_of_the_index_that_says_otherwise_is_refused),
        cmocka_unit_test(test_reader__every_index_node_is_needed),
        cmocka_unit_test(test_reader__parts_of_a_blob_stand_together),
        cmocka_unit_test(test_reader__a_blob_with_another_content_is_refused),
        cmocka_unit_test(test_reader__names_of_blobs_are_unique),
        cmocka_unit_test(test_reader__a_stream_has_at_most_1024_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
