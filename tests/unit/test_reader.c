#include "surgery.h"

#include "../../format/blob_table.h"

#define MIB (UINT64_C(1) << 20)

/* Two disks: one of several windows with an odd end, one smaller than a granule. */
static struct guest two_disks(void)
{
    static const uint64_t sizes[] = {5 * SAMPLE_CHUNK + SAMPLE_GRANULE + 512, 1536};
    return sample_guest(sizes, 2, 0x11);
}

/* A stream of one disk of about eight kilobytes, for the tests that try every byte. */
static struct guest small_disk(void)
{
    static const uint64_t sizes[] = {2 * SAMPLE_CHUNK + 512, 700};
    return sample_guest(sizes, 2, 0x11);
}

static int read_all(const struct memory *memory, struct np_error *err)
{
    struct pipe pipe = {.bytes = memory->bytes, .size = memory->size, .step = SIZE_MAX};
    return read_pipe(&pipe, NULL, false, err);
}

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

/* A stream of the guest, to be operated on. Takes the guest. */
static struct parts *parts_of(struct guest guest)
{
    struct memory memory = write_guest(&guest, 0);
    struct parts *parts = cut_up(&memory);
    free(memory.bytes);
    guest_free(&guest);
    return parts;
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

/* ---- what is right ---- */

static void round_trip(const uint64_t *sizes, size_t disks, unsigned codec)
{
    struct np_error err = NP_ERROR_INIT;
    struct guest guest = sample_guest(sizes, disks, 0x11);
    struct memory memory = write_guest(&guest, codec);
    uint8_t *images[SAMPLE_DISKS];
    empty_images(&guest, images);
    ok(restore_pipe(&memory, images, &err));
    assert_true(images_fit(&guest, images));
    free_images(&guest, images);
    guest_free(&guest);
    free(memory.bytes);
}

static void test_reader__restores_disks_of_odd_sizes(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {0,
                                     1,
                                     512,
                                     SAMPLE_GRANULE - 1,
                                     SAMPLE_GRANULE,
                                     SAMPLE_GRANULE + 1,
                                     SAMPLE_CHUNK - 512,
                                     SAMPLE_CHUNK,
                                     SAMPLE_CHUNK + 1,
                                     9 * SAMPLE_CHUNK + 3 * SAMPLE_GRANULE + 512};
    for (size_t i = 0; i < NP_ARRAY_SIZE(sizes); i++)
        for (unsigned codec = 0; codec < 3; codec++)
            round_trip(&sizes[i], 1, codec);
}

static void test_reader__restores_interleaved_disks(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {7 * SAMPLE_CHUNK, 0, 3 * SAMPLE_CHUNK + 512, 12 * SAMPLE_CHUNK + 1};
    round_trip(sizes, 4, 0);
}

static void test_reader__takes_any_pieces_and_skips_what_nobody_wants(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct guest guest = two_disks();
    struct memory memory = write_guest(&guest, 0);
    static const size_t steps[] = {1, 7, 4096, SIZE_MAX};
    for (size_t i = 0; i < NP_ARRAY_SIZE(steps); i++) {
        struct pipe pipe = {.bytes = memory.bytes, .size = memory.size, .step = steps[i]};
        ok(read_pipe(&pipe, NULL, true, &err));
    }
    guest_free(&guest);
    free(memory.bytes);
}

static void test_reader__adds_up_what_the_writer_added_up(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct guest guest = two_disks();
    struct memory memory = write_guest(&guest, 0);
    struct pipe pipe = {.bytes = memory.bytes, .size = memory.size, .step = SIZE_MAX};
    struct np_input input = {.read = pipe_read, .ctx = &pipe};
    struct np_reader *reader = NULL;
    struct np_record record;
    ok(np_reader_new(&input, "sample", &reader, &err));
    assert_string_equal(np_reader_meta(reader)->disks[1].target, "vdb");
    while (np_reader_next(reader, &record, &err) == 1)
        ;
    assert_int_equal(err.class, NP_OK);
    assert_int_equal(np_reader_next(reader, &record, &err), 0);
    assert_int_equal(np_reader_pos(reader), memory.size);
    const struct np_totals *totals = np_reader_totals(reader, 0);
    assert_int_equal(totals->data_bytes + totals->zero_bytes, guest.meta->disks[0].geometry.size);
    assert_true(totals->digest_known);
    assert_int_equal(totals->dead_bytes, 0);
    assert_null(np_reader_totals(reader, 1));
    assert_null(np_reader_totals(reader, NP_DISK_NONE));
    np_reader_free(reader);
    guest_free(&guest);
    free(memory.bytes);
}

static void test_reader__an_increment_may_leave_out_what_did_not_change(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    static const char *const patterns[] = {"0", "1", "01", "0000000000000000000000001", "11100"};
    for (size_t i = 0; i < NP_ARRAY_SIZE(patterns); i++) {
        struct guest guest = two_disks();
        guest_increment(&guest, 0, guest.meta->disks[0].geometry.size, patterns[i]);
        struct memory memory = write_guest(&guest, 0);
        uint8_t *images[SAMPLE_DISKS];
        empty_images(&guest, images);
        ok(restore_pipe(&memory, images, &err));
        assert_true(images_fit(&guest, images));
        free_images(&guest, images);
        guest_free(&guest);
        free(memory.bytes);
    }
}

/* A window as a merge leaves it: dead granules in the payload, and a second record for one that is zero now.
 */
static struct memory merged_stream(struct guest *guest)
{
    struct np_error err = NP_ERROR_INIT;
    static struct window window;
    static uint8_t old[SAMPLE_GRANULE];
    struct memory memory = {0};
    struct np_writer *writer = writer_to(&memory, guest->meta);
    const struct np_geometry *geometry = &guest->meta->disks[0].geometry;
    memset(old, 0xdd, sizeof(old));
    memset(guest->image[0] + 2 * SAMPLE_GRANULE, 0, SAMPLE_GRANULE);

    window_begin(&window, geometry, 0);
    for (unsigned k = 0; k < 16; k++) {
        bool dead = k == 2 || k == 5 || k == 15;
        window_add(&window, geometry, k, dead ? NP_GRANULE_DEAD : NP_GRANULE_DATA,
                   dead ? old : guest->image[0] + k * SAMPLE_GRANULE);
    }
    window_pack(&window, 1);
    ok(np_writer_data(writer, 0, &window.body, &err));
    window_begin(&window, geometry, 0);
    window_add(&window, geometry, 2, NP_GRANULE_ZERO, NULL);
    window_pack(&window, 2);
    ok(np_writer_data(writer, 0, &window.body, &err));
    window_begin(&window, geometry, 0);
    window_add(&window, geometry, 5, NP_GRANULE_DATA, guest->image[0] + 5 * SAMPLE_GRANULE);
    window_add(&window, geometry, 15, NP_GRANULE_DATA, guest->image[0] + 15 * SAMPLE_GRANULE);
    window_pack(&window, 2);
    ok(np_writer_data(writer, 0, &window.body, &err));
    write_end(writer, guest);
    return memory;
}

static void test_reader__dead_granules_are_ignored(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    static const uint64_t sizes[] = {SAMPLE_CHUNK};
    struct guest guest = sample_guest(sizes, 1, 0x11);
    memset(guest.image[0], 0x77, SAMPLE_CHUNK);
    struct memory memory = merged_stream(&guest);
    uint8_t *images[SAMPLE_DISKS];
    empty_images(&guest, images);
    ok(restore_pipe(&memory, images, &err));
    assert_true(images_fit(&guest, images));
    ok(restore_index(&memory, images, &err));
    assert_true(images_fit(&guest, images));
    free_images(&guest, images);
    guest_free(&guest);
    free(memory.bytes);
}

static void test_reader__a_huge_zero_is_instant(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    static const uint64_t sizes[] = {(UINT64_C(1) << 46) + 512};
    struct guest guest = {.meta = sample_meta(sizes, 1, 0x11)};
    struct memory memory = {0};
    struct np_writer *writer = writer_to(&memory, guest.meta);
    ok(np_writer_zero(writer, 0, 0, sizes[0], &err));
    write_end(writer, &guest);
    ok(read_all(&memory, &err));
    ok(restore_index(&memory, NULL, &err));
    guest_free(&guest);
    free(memory.bytes);
}

static void test_reader__gives_blobs_in_parts(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    static const uint64_t sizes[] = {0};
    struct guest guest = {.meta = sample_meta(sizes, 1, 0x11)};
    struct memory memory = {0};
    struct np_writer *writer = writer_to(&memory, guest.meta);
    size_t size = 3 * MIB + 5;
    uint8_t *nvram = malloc(size), *got = calloc(1, size);
    sample_content(nvram, size, 9);
    ok(np_writer_disk_end(writer, 0, NULL, &err));
    ok(np_writer_blob(writer, "nvram", nvram, size, &err));
    ok(np_writer_finish(writer, &err));
    np_writer_free(writer);

    struct pipe pipe = {.bytes = memory.bytes, .size = memory.size, .step = SIZE_MAX};
    struct np_input input = {.read = pipe_read, .ctx = &pipe};
    struct np_reader *reader = NULL;
    struct np_record record;
    const char *name;
    uint64_t total, offset, sum = 0;
    ok(np_reader_new(&input, "sample", &reader, &err));
    assert_int_equal(np_reader_blob(reader, &name, &total, &offset), -1);
    while (np_reader_next(reader, &record, &err) == 1) {
        ok(np_reader_blob(reader, &name, &total, &offset));
        assert_string_equal(name, "nvram");
        assert_int_equal(total, size);
        assert_int_equal(offset, sum);
        ok(np_reader_data(reader, got + offset, size - offset, &err));
        sum += record.header.length;
    }
    assert_int_equal(err.class, NP_OK);
    assert_int_equal(sum, size);
    assert_memory_equal(got, nvram, size);
    np_reader_free(reader);
    free(nvram);
    free(got);
    guest_free(&guest);
    free(memory.bytes);
}

static struct part optional_part(struct parts *parts)
{
    struct part part = {.header = parts->list[0].header, .was = UINT64_MAX};
    part.header.type = 0x80 | 42;
    part.header.codec = 9;
    part.header.cipher = 9;
    part.header.flags = 0xff00;
    part.header.table_len = 5;
    part.header.data_len = 70000;
    part.table = calloc(1, 5);
    part.data = calloc(1, 70000);
    return part;
}

static void test_reader__unknown_optional_records_are_skipped_and_verified(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct parts *parts = parts_of(two_disks());
    struct part part = optional_part(parts);
    for (size_t i = parts->count; i-- > 1;)
        part_insert(parts, i, &part);
    struct memory memory = put_together(parts, FIX_ALL);
    ok(read_all(&memory, &err));
    ok(restore_index(&memory, NULL, &err));
    memory.bytes[parts->list[1].header.pos + NP_RECORD_HEADER_SIZE + 5 + 60000] ^= 1;
    refused(memory, "its data have a wrong checksum");
    free(part.table);
    free(part.data);
    parts_free(parts);
}

/* ---- bytes that are not there, or wrong ---- */

static void test_reader__every_flipped_byte_is_refused(void **state)
{
    (void)state;
    struct guest guest = small_disk();
    struct memory memory = write_guest(&guest, 1);
    for (size_t i = 0; i < memory.size; i++) {
        struct np_error err = NP_ERROR_INIT;
        uint8_t was = memory.bytes[i];
        memory.bytes[i] ^= (uint8_t)(i % 3 == 0 ? 0xff : 1 << i % 8);
        if (read_all(&memory, &err) != -1)
            fail_msg("byte %zu can be changed", i);
        memory.bytes[i] = was;
    }
    accepted(memory);
    guest_free(&guest);
}

static void test_reader__every_truncation_is_called_one(void **state)
{
    (void)state;
    struct guest guest = small_disk();
    struct memory memory = write_guest(&guest, 1);
    for (size_t size = 0; size < memory.size; size++) {
        struct np_error err = NP_ERROR_INIT;
        struct memory cut = {.bytes = memory.bytes, .size = size};
        fails(NP_DAMAGED, read_all(&cut, &err));
        char where[64];
        snprintf(where, sizeof(where), "truncated: it ends at byte %zu,", size);
        if (strstr(err.message, where) == NULL)
            fail_msg("%s does not say %s", err.message, where);
    }
    guest_free(&guest);
    free(memory.bytes);
}

static void test_reader__only_zeroes_to_the_next_mib_may_follow(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct guest guest = small_disk();
    struct memory memory = write_guest(&guest, 1);
    size_t size = memory.size;
    uint8_t *zeroes = calloc(1, MIB + 1);
    memory_add(&memory, zeroes, MIB - size);
    ok(read_all(&memory, &err));
    memory.bytes[MIB - 1] = 1;
    fails(NP_DAMAGED, read_all(&memory, &err));
    memory.bytes[MIB - 1] = 0;
    memory_add(&memory, zeroes, 1);
    fails(NP_DAMAGED, read_all(&memory, &err));
    memory.size = size;
    memory_add(&memory, memory.bytes, size);
    refused(memory, "something follows the end");
    free(zeroes);
    guest_free(&guest);
}

static void test_reader__a_failing_input_is_no_damage(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct guest guest = small_disk();
    struct memory memory = write_guest(&guest, 1);
    for (size_t at = 1; at < memory.size; at += 611) {
        struct pipe pipe = {.bytes = memory.bytes, .size = memory.size, .step = SIZE_MAX, .fail_at = at};
        fails(NP_FAILED, read_pipe(&pipe, NULL, false, &err));
        assert_non_null(strstr(err.message, "the pipe broke"));
    }
    guest_free(&guest);
    free(memory.bytes);
}

static void test_reader__after_an_error_nothing_is_given(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct guest guest = two_disks();
    struct memory memory = write_guest(&guest, 1);
    struct pipe pipe = {.bytes = memory.bytes, .size = memory.size - 1, .step = SIZE_MAX};
    struct np_input input = {.read = pipe_read, .ctx = &pipe};
    struct np_reader *reader = NULL;
    struct np_record record;
    int status;
    ok(np_reader_new(&input, "sample", &reader, &err));
    while ((status = np_reader_next(reader, &record, &err)) == 1)
        ;
    assert_int_equal(status, -1);
    fails(NP_FAILED, np_reader_next(reader, &record, &err));
    fails(NP_FAILED, np_reader_data(reader, &record, sizeof(record), &err));
    np_reader_free(reader);
    guest_free(&guest);
    free(memory.bytes);
}

static void test_reader__data_are_given_once_and_only_into_enough_room(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct guest guest = two_disks();
    struct memory memory = write_guest(&guest, 1);
    struct pipe pipe = {.bytes = memory.bytes, .size = memory.size, .step = SIZE_MAX};
    struct np_input input = {.read = pipe_read, .ctx = &pipe};
    struct np_reader *reader = NULL;
    struct np_record record;
    static uint8_t data[NP_CHUNK_MIN];
    ok(np_reader_new(&input, "sample", &reader, &err));
    fails(NP_FAILED, np_reader_data(reader, data, sizeof(data), &err));
    do
        assert_int_equal(np_reader_next(reader, &record, &err), 1);
    while (record.header.data_len == 0);
    fails(NP_FAILED, np_reader_data(reader, data, record.header.data_len - 1, &err));
    ok(np_reader_data(reader, data, record.header.data_len, &err));
    fails(NP_FAILED, np_reader_data(reader, data, sizeof(data), &err));
    np_reader_free(reader);
    guest_free(&guest);
    free(memory.bytes);
}

/* ---- whole records in the wrong place, each with right sums of its own ---- */

static void append_record(struct memory *memory, const struct memory *from, const struct part *part)
{
    memory_add(memory, from->bytes + part->was, np_record_size(&part->header));
}

/* The stream with record i left out, doubled, or exchanged with k; the bytes of all others as they were. */
static struct memory rearranged(const struct memory *memory, const struct parts *parts, size_t i, size_t k,
                                bool drop, bool twice)
{
    struct memory changed = {0};
    for (size_t n = 0; n < parts->count; n++) {
        size_t source = n == i ? k : n == k ? i : n;
        if (drop && n == i)
            continue;
        append_record(&changed, memory, &parts->list[source]);
        if (twice && n == i)
            append_record(&changed, memory, &parts->list[source]);
    }
    return changed;
}

static void test_reader__records_dropped_doubled_or_exchanged_are_refused(void **state)
{
    (void)state;
    struct guest guest = small_disk();
    struct memory memory = write_guest(&guest, 1);
    struct parts *parts = cut_up(&memory);
    for (size_t i = 0; i < parts->count; i++) {
        struct np_error err = NP_ERROR_INIT;
        struct memory changed = rearranged(&memory, parts, i, i, true, false);
        fails(NP_DAMAGED, read_all(&changed, &err));
        free(changed.bytes);
        changed = rearranged(&memory, parts, i, i, false, true);
        fails(NP_DAMAGED, read_all(&changed, &err));
        free(changed.bytes);
        for (size_t k = i + 1; k < parts->count; k++) {
            changed = rearranged(&memory, parts, i, k, false, false);
            fails(NP_DAMAGED, read_all(&changed, &err));
            free(changed.bytes);
        }
    }
    parts_free(parts);
    guest_free(&guest);
    free(memory.bytes);
}

static void test_reader__records_of_another_attempt_are_refused(void **state)
{
    (void)state;
    struct guest guest = small_disk();
    struct memory memory = write_guest(&guest, 1);
    struct parts *parts = cut_up(&memory);
    guest.meta->stream = sample_uuid(0x99);
    for (size_t i = 0; i < guest.meta->point_disk_count; i++)
        guest.meta->point_disks[i].stream = guest.meta->stream;
    struct memory other = write_guest(&guest, 1);
    assert_int_equal(other.size, memory.size);
    for (size_t i = 0; i < parts->count; i++) {
        size_t pos = parts->list[i].was, size = np_record_size(&parts->list[i].header);
        struct memory mixed = {0};
        memory_add(&mixed, memory.bytes, memory.size);
        memcpy(mixed.bytes + pos, other.bytes + pos, size);
        refused(mixed, "it belongs to another stream");
    }
    parts_free(parts);
    guest_free(&guest);
    free(memory.bytes);
    free(other.bytes);
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
}

static void replace_results(struct parts *parts, const char *text)
{
    struct part *part = &parts->list[part_of(parts, NP_RECORD_META, 1)];
    free(part->data);
    part->data = copy_of(text, strlen(text));
    part->header.data_len = (uint32_t)strlen(text);
}

static void test_reader__results_must_agree(void **state)
{
    (void)state;
    static const char *const wrong[] = {"", "{}", "{\"disks\":[],\"blobs\":2}", "[]"};
    for (size_t i = 0; i < NP_ARRAY_SIZE(wrong); i++) {
        struct parts *parts = parts_of(two_disks());
        replace_results(parts, wrong[i]);
        parts_refused(parts, FIX_LINKS, "results");
    }
    struct parts *parts = parts_of(two_disks());
    struct part *meta = &parts->list[part_of(parts, NP_RECORD_META, 1)];
    char *text = calloc(1, meta->header.data_len + 1);
    memcpy(text, meta->data, meta->header.data_len);
    char *digits = strstr(text, "\"data_bytes\":") + strlen("\"data_bytes\":");
    *digits = *digits == '9' ? '8' : '9';
    replace_results(parts, text);
    free(text);
    parts_refused(parts, FIX_LINKS, "results: disk vda: they disagree with the stream");
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
    parts_refused(parts, FIX_SUMS, "elsewhere");
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

/* ---- trees of more than one level ---- */

static void test_reader__follows_an_index_of_three_levels(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    enum { WINDOWS = 1024 * 258 };
    static const uint64_t sizes[] = {(uint64_t)WINDOWS * 2 * SAMPLE_CHUNK};
    struct guest guest = {.meta = sample_meta(sizes, 1, 0x11)};
    guest.meta->disks[0].base_state = sample_uuid(0x40);
    guest.meta->disks[0].base_size = sizes[0];
    struct memory memory = {0};
    struct np_writer *writer = writer_to(&memory, guest.meta);
    for (uint64_t i = 0; i < WINDOWS; i++)
        ok(np_writer_zero(writer, 0, i * 2 * SAMPLE_CHUNK, SAMPLE_CHUNK, &err));
    write_end(writer, &guest);
    ok(read_all(&memory, &err));

    struct np_record_header header;
    size_t levels[3] = {0};
    for (size_t pos = 0; pos < memory.size; pos += np_record_size(&header)) {
        ok(np_record_decode(memory.bytes + pos, "sample", pos, &header, &err));
        if (header.type == NP_RECORD_INDEX)
            levels[memory.bytes[pos + NP_RECORD_HEADER_SIZE]]++;
    }
    assert_int_equal(levels[0], 258);
    assert_int_equal(levels[1], 2);
    assert_int_equal(levels[2], 1);
    guest_free(&guest);
    free(memory.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reader__restores_disks_of_odd_sizes),
        cmocka_unit_test(test_reader__restores_interleaved_disks),
        cmocka_unit_test(test_reader__takes_any_pieces_and_skips_what_nobody_wants),
        cmocka_unit_test(test_reader__adds_up_what_the_writer_added_up),
        cmocka_unit_test(test_reader__an_increment_may_leave_out_what_did_not_change),
        cmocka_unit_test(test_reader__dead_granules_are_ignored),
        cmocka_unit_test(test_reader__a_huge_zero_is_instant),
        cmocka_unit_test(test_reader__gives_blobs_in_parts),
        cmocka_unit_test(test_reader__unknown_optional_records_are_skipped_and_verified),
        cmocka_unit_test(test_reader__every_flipped_byte_is_refused),
        cmocka_unit_test(test_reader__every_truncation_is_called_one),
        cmocka_unit_test(test_reader__only_zeroes_to_the_next_mib_may_follow),
        cmocka_unit_test(test_reader__a_failing_input_is_no_damage),
        cmocka_unit_test(test_reader__after_an_error_nothing_is_given),
        cmocka_unit_test(test_reader__data_are_given_once_and_only_into_enough_room),
        cmocka_unit_test(test_reader__records_dropped_doubled_or_exchanged_are_refused),
        cmocka_unit_test(test_reader__records_of_another_attempt_are_refused),
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
        cmocka_unit_test(test_reader__dir_must_agree_with_what_was_counted),
        cmocka_unit_test(test_reader__a_full_has_its_digest),
        cmocka_unit_test(test_reader__dir_lists_all_blobs),
        cmocka_unit_test(test_reader__end_must_agree),
        cmocka_unit_test(test_reader__ends_length_count_and_digest_must_agree),
        cmocka_unit_test(test_reader__an_index_that_says_otherwise_is_refused),
        cmocka_unit_test(test_reader__a_map_of_the_index_that_says_otherwise_is_refused),
        cmocka_unit_test(test_reader__every_index_node_is_needed),
        cmocka_unit_test(test_reader__parts_of_a_blob_stand_together),
        cmocka_unit_test(test_reader__a_blob_with_another_content_is_refused),
        cmocka_unit_test(test_reader__names_of_blobs_are_unique),
        cmocka_unit_test(test_reader__follows_an_index_of_three_levels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
