#include "surgery.h"

#include <pthread.h>

/* ---- what is right ---- */

static void round_trip(const uint64_t *sizes, size_t disks, unsigned codec)
{
    struct np_error err = NP_ERROR_INIT;
    struct guest guest = sample_guest(sizes, disks, 0x11);
    struct memory memory = write_guest(&guest, codec);
    uint8_t *images[SAMPLE_DISKS];
    empty_images(&guest, images);
    ok(restore_index(&memory, images, &err));
    assert_true(images_fit(&guest, images));
    free_images(&guest, images);
    guest_free(&guest);
    free(memory.bytes);
}

static void test_stream__restores_disks_of_odd_sizes(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {0,
                                     1,
                                     512,
                                     SAMPLE_GRANULE + 1,
                                     SAMPLE_CHUNK,
                                     SAMPLE_CHUNK + 1,
                                     9 * SAMPLE_CHUNK + 3 * SAMPLE_GRANULE + 512};
    for (size_t i = 0; i < NP_ARRAY_SIZE(sizes); i++)
        for (unsigned codec = 0; codec < 3; codec++)
            round_trip(&sizes[i], 1, codec);
}

static void test_stream__restores_interleaved_disks(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {7 * SAMPLE_CHUNK, 0, 3 * SAMPLE_CHUNK + 512, 12 * SAMPLE_CHUNK + 1};
    round_trip(sizes, 4, 0);
}

/* The longest payload there can be: twice the longest part of a blob. */
static void test_stream__reads_a_chunk_of_32_mib_that_does_not_shrink(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    const uint64_t size = NP_CHUNK_MAX;
    struct guest guest = {.meta = sample_meta(&size, 1, 0x11)};
    struct np_geometry *geometry = &guest.meta->disks[0].geometry;
    geometry->chunk = NP_CHUNK_MAX;
    geometry->granule = NP_GRANULE_MAX;
    uint8_t *image = malloc(size), *read = malloc(size);
    uint8_t table[NP_DATA_TABLE_MAX] = {0};
    memset(image, 0x5a, size);
    struct np_packed body = {.table = table,
                             .table_len = np_map_bytes(geometry),
                             .data = image,
                             .data_len = NP_CHUNK_MAX,
                             .length = NP_CHUNK_MAX,
                             .data_sum = np_hash128(image, size)};
    for (unsigned i = 0; i < np_window_granules(geometry, 0); i++, body.table_len += NP_HASH128_SIZE) {
        np_map_set(table, i, NP_GRANULE_DATA);
        np_hash128_put(table + body.table_len, np_hash128(image, NP_GRANULE_MAX));
    }
    struct memory memory = {0};
    struct np_writer *writer = writer_to(&memory, guest.meta);
    ok(np_writer_data(writer, 0, &body, &err));
    write_end(writer, &guest);

    struct np_stream *stream = opened(&memory);
    struct np_cursor *cursor;
    struct np_entry entry;
    struct np_record record;
    ok(np_cursor_open(stream, 0, false, &cursor, &err));
    assert_int_equal(np_cursor_next(cursor, &entry, &err), 1);
    ok(np_stream_read(stream, 0, &entry, table, read, &record, &err));
    assert_memory_equal(read, image, size);
    np_cursor_close(cursor);
    np_stream_close(stream);
    guest_free(&guest);
    free(memory.bytes);
    free(image);
    free(read);
}

static void test_stream__knows_size_name_meta_and_totals(void **state)
{
    (void)state;
    struct guest guest = two_disks();
    struct memory memory = write_guest(&guest, 0);
    struct np_stream *stream = opened(&memory);
    assert_string_equal(np_stream_name(stream), "sample");
    assert_int_equal(np_stream_size(stream), memory.size);
    assert_string_equal(np_stream_meta(stream)->disks[1].target, "vdb");
    const struct np_totals *totals = np_stream_totals(stream, 2);
    assert_int_equal(totals->data_bytes + totals->zero_bytes, 1536);
    assert_true(totals->digest_known);
    assert_null(np_stream_totals(stream, 1));
    np_stream_close(stream);
    guest_free(&guest);
    free(memory.bytes);
}

static void test_stream__an_unknown_disk_has_no_cursor(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct guest guest = two_disks();
    struct memory memory = write_guest(&guest, 0);
    struct np_stream *stream = opened(&memory);
    struct np_cursor *cursor = NULL;
    fails(NP_FAILED, np_cursor_open(stream, 1, false, &cursor, &err));
    assert_null(cursor);
    np_stream_close(stream);
    guest_free(&guest);
    free(memory.bytes);
}

static void test_stream__a_huge_zero_is_one_entry(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    static const uint64_t sizes[] = {UINT64_C(1) << 46};
    struct guest guest = {.meta = sample_meta(sizes, 1, 0x11)};
    struct memory memory = {0};
    struct np_writer *writer = writer_to(&memory, guest.meta);
    ok(np_writer_zero(writer, 0, 0, sizes[0], &err));
    write_end(writer, &guest);
    struct np_stream *stream = opened(&memory);
    struct np_cursor *cursor = NULL;
    struct np_entry entry;
    ok(np_cursor_open(stream, 0, true, &cursor, &err));
    ok(np_cursor_seek(cursor, (UINT64_C(1) << 45) + 7, &err));
    assert_int_equal(np_cursor_next(cursor, &entry, &err), 1);
    assert_int_equal(entry.type, NP_RECORD_ZERO);
    assert_true(entry.length == sizes[0]);
    assert_int_equal(np_cursor_next(cursor, &entry, &err), 0);
    np_cursor_close(cursor);
    np_stream_close(stream);
    guest_free(&guest);
    free(memory.bytes);
}

/* ---- several threads ---- */

static void *read_disk(void *ctx)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_stream *stream = ctx;
    const struct np_meta_disk *disk = &np_stream_meta(stream)->disks[0];
    struct np_cursor *cursor = NULL;
    struct np_entry entry;
    struct np_record record;
    uint8_t *table = malloc(NP_DATA_TABLE_MAX), *data = malloc(SAMPLE_CHUNK);
    uint8_t *image = malloc(disk->geometry.size);
    bool fine = np_cursor_open(stream, disk->id, true, &cursor, &err) == 0;
    int status = 0;
    while (fine && (status = np_cursor_next(cursor, &entry, &err)) == 1)
        fine = np_stream_read(stream, disk->id, &entry, table, data, &record, &err) == 0 &&
               apply(disk, &record, image, &err) == 0;
    np_cursor_close(cursor);
    free(table);
    free(data);
    if (fine && status == 0)
        return image;
    free(image);
    return NULL;
}

static void test_stream__is_read_by_several_threads(void **state)
{
    (void)state;
    struct guest guest = two_disks();
    struct memory memory = write_guest(&guest, 0);
    struct np_stream *stream = opened(&memory);
    pthread_t threads[4];
    for (size_t i = 0; i < NP_ARRAY_SIZE(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_disk, stream), 0);
    for (size_t i = 0; i < NP_ARRAY_SIZE(threads); i++) {
        void *image = NULL;
        pthread_join(threads[i], &image);
        assert_non_null(image);
        assert_memory_equal(image, guest.image[0], guest.meta->disks[0].geometry.size);
        free(image);
    }
    np_stream_close(stream);
    guest_free(&guest);
    free(memory.bytes);
}

/* ---- blobs ---- */

static struct memory with_nvram(struct guest *guest, uint8_t *nvram, size_t size)
{
    struct np_error err = NP_ERROR_INIT;
    struct memory memory = {0};
    static const uint64_t sizes[] = {SAMPLE_CHUNK};
    *guest = sample_guest(sizes, 1, 0x11);
    struct np_writer *writer = writer_to(&memory, guest->meta);
    write_window(writer, guest, 0, 0, 1);
    ok(np_writer_disk_end(writer, 0, NULL, &err));
    sample_content(nvram, size, 9);
    ok(np_writer_blob(writer, "domain.xml", "<domain/>", 9, &err));
    ok(np_writer_blob(writer, "nvram", nvram, size, &err));
    ok(np_writer_finish(writer, &err));
    np_writer_free(writer);
    return memory;
}

static void test_stream__gives_blobs_by_name(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    size_t nvram_size = (2 << 20) + 3, size;
    uint8_t *nvram = malloc(nvram_size);
    struct guest guest;
    struct memory memory = with_nvram(&guest, nvram, nvram_size);
    struct np_stream *stream = opened(&memory);
    void *bytes;
    assert_string_equal(np_stream_blob_name(stream, 0), "domain.xml");
    assert_string_equal(np_stream_blob_name(stream, 1), "nvram");
    assert_null(np_stream_blob_name(stream, 2));
    ok(np_stream_blob(stream, "nvram", nvram_size, &bytes, &size, &err));
    assert_int_equal(size, nvram_size);
    assert_memory_equal(bytes, nvram, size);
    free(bytes);
    ok(np_stream_blob(stream, "domain.xml", 9, &bytes, &size, &err));
    assert_int_equal(size, 9);
    assert_memory_equal(bytes, "<domain/>", 9);
    free(bytes);
    ok(np_stream_blob(stream, "checkpoint.xml", 100, &bytes, &size, &err));
    assert_null(bytes);
    fails(NP_DAMAGED, np_stream_blob(stream, "nvram", nvram_size - 1, &bytes, &size, &err));
    assert_null(bytes);
    np_stream_close(stream);
    guest_free(&guest);
    free(memory.bytes);
    free(nvram);
}

static void test_stream__an_empty_blob_is_there(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct guest guest = small_disk();
    struct memory memory = write_guest(&guest, 0);
    struct np_stream *stream = opened(&memory);
    void *bytes;
    size_t size = 1;
    ok(np_stream_blob(stream, "empty", 100, &bytes, &size, &err));
    assert_non_null(bytes);
    assert_int_equal(size, 0);
    free(bytes);
    np_stream_close(stream);
    guest_free(&guest);
    free(memory.bytes);
}

/* XML is parsed in place. Of 24 bytes, because malloc gives exactly 24: behind them is no NUL by luck. */
static void test_stream__a_blob_can_be_used_as_a_text(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    uint8_t nvram[24];
    struct guest guest;
    struct memory memory = with_nvram(&guest, nvram, sizeof(nvram));
    struct np_stream *stream = opened(&memory);
    void *bytes;
    size_t size;
    ok(np_stream_blob(stream, "nvram", 100, &bytes, &size, &err));
    assert_int_equal(size, sizeof(nvram));
    assert_int_equal(((const char *)bytes)[size], '\0');
    free(bytes);
    np_stream_close(stream);
    guest_free(&guest);
    free(memory.bytes);
}

static void test_stream__a_damaged_blob_is_no_reason_to_lose_the_disks(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct guest guest = small_disk();
    struct memory memory = write_guest(&guest, 0);
    struct parts *parts = cut_up(&memory);
    const struct part *part = &parts->list[part_of(parts, NP_RECORD_BLOB, 0)];
    size_t size;
    void *bytes;
    for (size_t at = 0; at < NP_RECORD_HEADER_SIZE + part->header.table_len + 9; at++) {
        memory.bytes[part->was + at] ^= 0x20;
        ok(restore_index(&memory, NULL, &err));
        struct np_stream *stream = opened(&memory);
        fails(NP_DAMAGED, np_stream_blob(stream, "domain.xml", 100, &bytes, &size, &err));
        assert_null(bytes);
        np_stream_close(stream);
        memory.bytes[part->was + at] ^= 0x20;
        err = (struct np_error)NP_ERROR_INIT;
    }
    parts_free(parts);
    guest_free(&guest);
    free(memory.bytes);
}

static void test_stream__parts_of_a_blob_must_follow_one_another(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    size_t nvram_size = (2 << 20) + 3, size;
    uint8_t *nvram = malloc(nvram_size);
    struct guest guest;
    struct memory memory = with_nvram(&guest, nvram, nvram_size);
    struct parts *parts = cut_up(&memory);
    free(memory.bytes);
    size_t first = part_of(parts, NP_RECORD_BLOB, 1);
    part_swap(parts, first + 1, first + 2);
    memory = put_together(parts, FIX_LINKS);
    struct np_stream *stream = opened(&memory);
    void *bytes;
    fails(NP_DAMAGED, np_stream_blob(stream, "nvram", nvram_size, &bytes, &size, &err));
    assert_non_null(strstr(err.message, "it is not the next part of nvram"));
    np_stream_close(stream);
    free(memory.bytes);

    part_remove(parts, first + 1);
    part_remove(parts, first + 1);
    memory = put_together(parts, FIX_LINKS);
    stream = opened(&memory);
    fails(NP_DAMAGED, np_stream_blob(stream, "nvram", nvram_size, &bytes, &size, &err));
    np_stream_close(stream);
    free(memory.bytes);
    parts_free(parts);
    guest_free(&guest);
    free(nvram);
}

/* The nvram blob of the sample after a change to it must be refused for this reason. */
static void nvram_refused(void (*change)(struct parts *parts, size_t first), unsigned fix, const char *why)
{
    struct np_error err = NP_ERROR_INIT;
    size_t nvram_size = (2 << 20) + 3, size;
    uint8_t *nvram = malloc(nvram_size);
    struct guest guest;
    struct memory memory = with_nvram(&guest, nvram, nvram_size);
    struct parts *parts = cut_up(&memory);
    free(memory.bytes);
    change(parts, part_of(parts, NP_RECORD_BLOB, 1));
    memory = put_together(parts, fix);
    struct np_stream *stream = opened(&memory);
    void *bytes;
    fails(NP_DAMAGED, np_stream_blob(stream, "nvram", SIZE_MAX, &bytes, &size, &err));
    assert_null(bytes);
    if (strstr(err.message, why) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err.message, why);
    np_stream_close(stream);
    free(memory.bytes);
    parts_free(parts);
    guest_free(&guest);
    free(nvram);
}

static void change_content(struct parts *parts, size_t first)
{
    parts->list[first + 1].data[77] ^= 1;
}

static void change_name_of_second(struct parts *parts, size_t first)
{
    parts->list[first + 1].table[26] = 'm';
}

static void change_total_of_second(struct parts *parts, size_t first)
{
    parts->list[first + 1].table[0] ^= 4;
}

static void change_sum_of_second(struct parts *parts, size_t first)
{
    parts->list[first + 1].table[8] ^= 1;
}

static void change_total_of_all(struct parts *parts, size_t first)
{
    for (size_t i = 0; i < 3; i++)
        np_put_le64(parts->list[first + i].table, UINT64_C(1) << 50);
}

static void *dir_place(struct parts *parts)
{
    return parts->list[part_of(parts, NP_RECORD_DIR, 0)].table + np_trailer_dir_size(1, 1);
}

static void change_place(struct parts *parts, size_t first)
{
    (void)first;
    ((uint8_t *)dir_place(parts))[8] ^= 1;
}

static void name_second_part(struct parts *parts, size_t first)
{
    struct np_place place = {.pos = parts->list[first + 1].was};
    np_place_put(dir_place(parts), &place); /* FIX_DIR makes the rest right */
}

static void test_stream__a_blob_must_be_what_dir_and_its_parts_say(void **state)
{
    (void)state;
    nvram_refused(change_content, FIX_LINKS, "the file nvram has another checksum than it must");
    nvram_refused(change_name_of_second, FIX_LINKS, "it is not the next part of nvram");
    nvram_refused(change_total_of_second, FIX_LINKS, "it is not the next part of nvram");
    nvram_refused(change_sum_of_second, FIX_LINKS, "it is not the next part of nvram");
    nvram_refused(change_total_of_all, FIX_LINKS, "more than the");
    nvram_refused(change_place, FIX_END, "DIR names another record at this place");
    nvram_refused(name_second_part, FIX_LINKS, "DIR names another record at this place");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stream__restores_disks_of_odd_sizes),
        cmocka_unit_test(test_stream__restores_interleaved_disks),
        cmocka_unit_test(test_stream__reads_a_chunk_of_32_mib_that_does_not_shrink),
        cmocka_unit_test(test_stream__knows_size_name_meta_and_totals),
        cmocka_unit_test(test_stream__an_unknown_disk_has_no_cursor),
        cmocka_unit_test(test_stream__a_huge_zero_is_one_entry),
        cmocka_unit_test(test_stream__is_read_by_several_threads),
        cmocka_unit_test(test_stream__gives_blobs_by_name),
        cmocka_unit_test(test_stream__an_empty_blob_is_there),
        cmocka_unit_test(test_stream__a_blob_can_be_used_as_a_text),
        cmocka_unit_test(test_stream__a_damaged_blob_is_no_reason_to_lose_the_disks),
        cmocka_unit_test(test_stream__parts_of_a_blob_must_follow_one_another),
        cmocka_unit_test(test_stream__a_blob_must_be_what_dir_and_its_parts_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
