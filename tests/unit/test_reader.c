#include "surgery.h"

#define MIB (UINT64_C(1) << 20)

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
    fails(NP_DAMAGED, read_all(&memory, &err));
    assert_non_null(strstr(err.message, "its data have a wrong checksum"));
    free(memory.bytes);
    free(part.table);
    free(part.data);
    parts_free(parts);
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
        cmocka_unit_test(test_reader__follows_an_index_of_three_levels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
