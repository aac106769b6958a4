#include "surgery.h"

#include <pthread.h>

/* ---- help ---- */

static struct guest two_disks(void)
{
    static const uint64_t sizes[] = {5 * SAMPLE_CHUNK + SAMPLE_GRANULE + 512, 1536};
    return sample_guest(sizes, 2, 0x11);
}

static struct guest small_disk(void)
{
    static const uint64_t sizes[] = {2 * SAMPLE_CHUNK + 512, 700};
    return sample_guest(sizes, 2, 0x11);
}

static struct parts *parts_of(struct guest guest)
{
    struct memory memory = write_guest(&guest, 0);
    struct parts *parts = cut_up(&memory);
    free(memory.bytes);
    guest_free(&guest);
    return parts;
}

static struct np_stream *opened(struct memory *memory)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_input_at input = input_at(memory);
    struct np_stream *stream = NULL;
    ok(np_stream_open(&input, "sample", &stream, &err));
    return stream;
}

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

/* ---- cursors ---- */

/* An increment of many records: windows 0, 3, 6, ... of so many granules. Of window 3i, granule i mod 16 is
 * data that begins with the number i; with 1024 granules the others are dead, so that eight windows fill a
 * leaf. */
static struct memory many_records(struct guest *guest, uint64_t windows, unsigned granules)
{
    struct np_error err = NP_ERROR_INIT;
    static uint8_t table[NP_DATA_TABLE_MAX], bytes[SAMPLE_GRANULE];
    uint64_t chunk = (uint64_t)granules * SAMPLE_GRANULE, size = 3 * windows * chunk;
    unsigned payload = granules == NP_GRANULES_MAX ? granules : 1;
    *guest = (struct guest){.meta = sample_meta(&size, 1, 0x11)};
    struct np_meta_disk *disk = &guest->meta->disks[0];
    disk->geometry.chunk = (uint32_t)chunk;
    disk->base_state = sample_uuid(0x40);
    disk->base_size = size;
    uint32_t map = np_map_bytes(&disk->geometry);
    struct memory memory = {0};
    struct np_writer *writer = writer_to(&memory, guest->meta);
    for (uint64_t i = 0; i < windows; i++) {
        memset(table, payload > 1 ? 0xff : 0, map);
        np_map_set(table, i % 16, NP_GRANULE_DATA);
        np_put_le64(bytes, i);
        np_hash128_put(table + map + (payload > 1 ? i % 16 : 0) * NP_HASH128_SIZE,
                       np_hash128(bytes, sizeof(bytes)));
        struct np_packed packed = {.offset = 3 * i * chunk, .length = payload * SAMPLE_GRANULE, .codec = 1};
        packed.table = table;
        packed.table_len = map + payload * NP_HASH128_SIZE;
        packed.data = bytes; /* nobody expands it */
        packed.data_len = 8;
        packed.data_sum = np_hash128(bytes, 8);
        ok(np_writer_data(writer, 0, &packed, &err));
    }
    write_end(writer, guest);
    return memory;
}

static bool is_hash_of(const uint8_t *hash, uint64_t i)
{
    uint8_t bytes[SAMPLE_GRANULE] = {0}, expected[NP_HASH128_SIZE];
    np_put_le64(bytes, i);
    np_hash128_put(expected, np_hash128(bytes, sizeof(bytes)));
    return memcmp(hash, expected, sizeof(expected)) == 0;
}

static void test_stream__a_cursor_walks_all_levels_in_order(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    enum { WINDOWS = 8 * 257 + 3 };
    struct guest guest;
    struct memory memory = many_records(&guest, WINDOWS, NP_GRANULES_MAX);
    struct np_stream *stream = opened(&memory);
    struct np_cursor *cursor = NULL;
    struct np_entry entry;
    ok(np_cursor_open(stream, 0, true, &cursor, &err));
    uint64_t i = 0;
    for (; np_cursor_next(cursor, &entry, &err) == 1; i++) {
        assert_true(entry.offset == 3 * i * NP_GRANULES_MAX * SAMPLE_GRANULE);
        assert_int_equal(entry.hash_count, NP_GRANULES_MAX);
        assert_int_equal(np_map_get(entry.map, i % 16), NP_GRANULE_DATA);
        assert_true(is_hash_of(entry.hashes + i % 16 * NP_HASH128_SIZE, i));
    }
    assert_int_equal(err.class, NP_OK);
    assert_int_equal(i, WINDOWS);
    assert_int_equal(np_cursor_next(cursor, &entry, &err), 0);
    np_cursor_close(cursor);
    np_stream_close(stream);
    guest_free(&guest);
    free(memory.bytes);
}

static void test_stream__a_cursor_seeks_to_what_covers_or_follows(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    enum { WINDOWS = 3000 };
    struct guest guest;
    struct memory memory = many_records(&guest, WINDOWS, 16);
    struct np_stream *stream = opened(&memory);
    struct np_cursor *cursor = NULL;
    struct np_entry entry;
    uint64_t seed = 5;
    ok(np_cursor_open(stream, 0, true, &cursor, &err));
    for (unsigned n = 0; n < 500; n++) {
        uint64_t window = sample_random(&seed) % (3 * WINDOWS + 2), expected = (window + 2) / 3;
        ok(np_cursor_seek(cursor, window * SAMPLE_CHUNK + (n % 2 ? 0 : SAMPLE_CHUNK - 1), &err));
        for (unsigned k = 0; k <= n % 3; k++, expected++) {
            int status = np_cursor_next(cursor, &entry, &err);
            assert_int_equal(status, expected < WINDOWS);
            if (status == 0)
                break;
            assert_true(entry.offset == 3 * expected * SAMPLE_CHUNK);
            assert_true(is_hash_of(entry.hashes, expected));
        }
    }
    np_cursor_close(cursor);
    np_stream_close(stream);
    guest_free(&guest);
    free(memory.bytes);
}

/* Counts the reads of a stream, and remembers the largest. */
struct counted {
    struct memory *memory;
    size_t reads, bytes;
};

static int counted_read_at(void *ctx, void *buffer, size_t size, uint64_t pos, struct np_error *err)
{
    struct counted *counted = ctx;
    counted->reads++;
    counted->bytes += size;
    return memory_read_at(counted->memory, buffer, size, pos, err);
}

static void test_stream__seeking_reads_one_node_a_level_and_no_more(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct guest guest;
    struct memory memory = many_records(&guest, 5000, 16);
    struct counted counted = {.memory = &memory};
    struct np_input_at input = {.read_at = counted_read_at, .ctx = &counted, .size = memory.size};
    struct np_stream *stream = NULL;
    struct np_cursor *cursor = NULL;
    struct np_entry entry;
    ok(np_stream_open(&input, "sample", &stream, &err));
    ok(np_cursor_open(stream, 0, false, &cursor, &err));
    counted.reads = 0;
    ok(np_cursor_seek(cursor, UINT64_C(3) * 4000 * SAMPLE_CHUNK, &err));
    assert_int_equal(counted.reads, 4); /* header and table of root and leaf */
    ok(np_cursor_seek(cursor, UINT64_C(3) * 4001 * SAMPLE_CHUNK, &err));
    assert_int_equal(np_cursor_next(cursor, &entry, &err), 1);
    assert_int_equal(counted.reads, 4);
    assert_null(entry.hashes);
    np_cursor_close(cursor);
    np_stream_close(stream);
    guest_free(&guest);
    free(memory.bytes);
}

/* One window in 17 records, so that more than one leaf has a part of it: 17 times 512 hashes, most of them
 * dead. */
static void test_stream__two_leaves_may_share_a_window(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    enum { GRANULE = 4096, CHUNK = 1024 * GRANULE, RECORDS = 40 };
    static const uint64_t sizes[] = {CHUNK};
    struct np_meta *meta = sample_meta(sizes, 1, 0x11);
    meta->disks[0].geometry.chunk = CHUNK;
    meta->disks[0].base_state = sample_uuid(0x40);
    meta->disks[0].base_size = CHUNK;
    struct memory memory = {0};
    struct np_writer *writer = writer_to(&memory, meta);
    static uint8_t table[NP_DATA_TABLE_MAX];
    for (unsigned i = 0; i < RECORDS; i++) {
        memset(table, 0xff, NP_MAP_BYTES_MAX); /* all dead, but one */
        np_map_set(table, 10 * i, NP_GRANULE_DATA);
        struct np_packed packed = {.length = CHUNK, .codec = 1, .table = table, .table_len = sizeof(table)};
        packed.data = table;
        packed.data_len = 100;
        packed.data_sum = np_hash128(table, 100);
        ok(np_writer_data(writer, 0, &packed, &err));
    }
    ok(np_writer_disk_end(writer, 0, NULL, &err));
    ok(np_writer_finish(writer, &err));
    np_writer_free(writer);

    struct np_stream *stream = opened(&memory);
    struct np_cursor *cursor = NULL;
    struct np_entry entry;
    ok(np_cursor_open(stream, 0, true, &cursor, &err));
    for (unsigned turn = 0; turn < 3; turn++) {
        for (unsigned i = 0; i < RECORDS; i++) {
            assert_int_equal(np_cursor_next(cursor, &entry, &err), 1);
            assert_int_equal(np_map_get(entry.map, 10 * i), NP_GRANULE_DATA);
        }
        assert_int_equal(np_cursor_next(cursor, &entry, &err), 0);
        ok(np_cursor_seek(cursor, turn * (CHUNK / 2), &err));
    }
    np_cursor_close(cursor);
    np_stream_close(stream);
    np_meta_free(meta);
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

/* ---- hostile trees ---- */

/* A tree of two levels: an increment of 1030 records; the root is the third INDEX. */
static struct memory two_levels(struct guest *guest)
{
    return many_records(guest, 1030, 16);
}

struct found {
    size_t pos;
    struct np_record_header header;
};

static struct found index_of(const struct memory *memory, size_t nth)
{
    struct np_error err = NP_ERROR_INIT;
    struct found found;
    for (found.pos = 0;; found.pos += np_record_size(&found.header)) {
        ok(np_record_decode(memory->bytes + found.pos, "sample", found.pos, &found.header, &err));
        if (found.header.type == NP_RECORD_INDEX && nth-- == 0)
            return found;
    }
}

/* After a change of its table: sums of the node, and of DIR's root, which it is; END's sums do not matter
 * here. */
static void reseal_root(struct memory *memory, struct found root)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_record_header dir, end;
    uint8_t *at = memory->bytes + root.pos;
    root.header.table_sum = np_hash64(at + NP_RECORD_HEADER_SIZE, root.header.table_len);
    np_record_encode(&root.header, at);

    uint8_t *last = memory->bytes + memory->size - NP_END_SIZE;
    uint64_t dir_pos = np_get_le64(last + NP_RECORD_HEADER_SIZE + 16);
    uint8_t *d = memory->bytes + dir_pos;
    ok(np_record_decode(d, "sample", dir_pos, &dir, &err));
    np_put_le64(d + NP_RECORD_HEADER_SIZE + NP_DIR_HEAD_SIZE + 8 + 8, root.header.head_sum);
    dir.table_sum = np_hash64(d + NP_RECORD_HEADER_SIZE, dir.table_len);
    np_record_encode(&dir, d);

    ok(np_record_decode(last, "sample", memory->size - NP_END_SIZE, &end, &err));
    np_put_le64(last + NP_RECORD_HEADER_SIZE + 16 + 8, dir.head_sum);
    end.table_sum = np_hash64(last + NP_RECORD_HEADER_SIZE, end.table_len);
    np_record_encode(&end, last);
}

static uint8_t *child_of(struct memory *memory, struct found root, unsigned i)
{
    return memory->bytes + root.pos + NP_RECORD_HEADER_SIZE + NP_INDEX_HEAD_SIZE +
           (size_t)i * NP_INDEX_CHILD_SIZE;
}

/* Change 8 bytes of the second child in the root; reading by index must fail and say so. */
static void child_refused(size_t at, uint64_t value, const char *why)
{
    struct guest guest;
    struct memory memory = two_levels(&guest);
    struct found root = index_of(&memory, 2);
    np_put_le64(child_of(&memory, root, 1) + at, value);
    reseal_root(&memory, root);
    refused(memory, why);
    guest_free(&guest);
}

static void test_stream__resealing_alone_changes_nothing(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct guest guest;
    struct memory memory = two_levels(&guest);
    reseal_root(&memory, index_of(&memory, 2));
    ok(restore_index(&memory, NULL, &err));
    guest_free(&guest);
    free(memory.bytes);
}

static void test_stream__a_node_that_names_itself_is_refused(void **state)
{
    (void)state;
    struct guest guest;
    struct memory memory = two_levels(&guest);
    struct found root = index_of(&memory, 2);
    guest_free(&guest);
    free(memory.bytes);
    child_refused(0, root.pos, "a child of it lies at no place before it");
    child_refused(0, root.pos + 16, "a child of it lies at no place before it");
    child_refused(0, UINT64_MAX - 15, "a child of it lies at no place before it");
}

static void test_stream__the_same_child_twice_is_refused(void **state)
{
    (void)state;
    struct guest guest;
    struct memory memory = two_levels(&guest);
    struct found root = index_of(&memory, 2);
    memcpy(child_of(&memory, root, 1), child_of(&memory, root, 0), NP_INDEX_CHILD_SIZE);
    reseal_root(&memory, root);
    refused(memory, "out of order");
    guest_free(&guest);
}

static void test_stream__children_out_of_order_are_refused(void **state)
{
    (void)state;
    struct guest guest;
    struct memory memory = two_levels(&guest);
    struct found root = index_of(&memory, 2);
    uint8_t swap[NP_INDEX_CHILD_SIZE];
    memcpy(swap, child_of(&memory, root, 0), sizeof(swap));
    memcpy(child_of(&memory, root, 0), child_of(&memory, root, 1), sizeof(swap));
    memcpy(child_of(&memory, root, 1), swap, sizeof(swap));
    reseal_root(&memory, root);
    refused(memory, "out of order");
    guest_free(&guest);
}

static void test_stream__a_child_is_what_its_parent_says(void **state)
{
    (void)state;
    child_refused(8, 12345, "another record must be there");
    child_refused(40, 1, "reserved bytes are not zero");
    child_refused(16, UINT64_C(3) * 1025 * SAMPLE_CHUNK, "it covers other guest bytes");
    child_refused(16, 0, "its children are not in the order of the disk");
    child_refused(24, UINT64_C(1) << 53, "covers what is no run of windows");
    child_refused(24, UINT64_C(3) * 1030 * SAMPLE_CHUNK, "does not cover what its header says");
}

static void test_stream__a_leaf_as_an_inner_node_is_refused(void **state)
{
    (void)state;
    struct guest guest;
    struct memory memory = two_levels(&guest);
    struct found root = index_of(&memory, 2);
    memory.bytes[root.pos + NP_RECORD_HEADER_SIZE] = 2; /* its children are of level 0 */
    reseal_root(&memory, root);
    refused(memory, "it stands on another level");
    guest_free(&guest);
}

static void test_stream__leaves_that_list_a_window_twice_are_refused(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct guest guest;
    static const uint64_t sizes[] = {SAMPLE_CHUNK};
    guest = sample_guest(sizes, 1, 0x11);
    memset(guest.image[0], 3, sizes[0]);
    struct memory memory = write_guest(&guest, 0);
    struct parts *parts = cut_up(&memory);
    size_t data = part_of(parts, NP_RECORD_DATA, 0);
    part_insert(parts, data, &parts->list[data]);
    free(memory.bytes);
    memory = put_together(parts, FIX_ALL);
    fails(NP_DAMAGED, restore_index(&memory, NULL, &err));
    assert_non_null(strstr(err.message, "it lists what was listed before"));
    free(memory.bytes);
    parts_free(parts);
    guest_free(&guest);
}

/* ---- entries that do not tell the truth ---- */

static void entry_refused(size_t at, uint8_t flip)
{
    struct parts *parts = parts_of(two_disks());
    struct part *leaf = &parts->list[part_of(parts, NP_RECORD_INDEX, 0)];
    leaf->table[NP_INDEX_HEAD_SIZE + at] ^= flip;
    struct memory memory = put_together(parts, FIX_ABOVE);
    struct np_error err = NP_ERROR_INIT;
    fails(NP_DAMAGED, restore_index(&memory, NULL, &err));
    if (strstr(err.message, "another record must be there") != NULL)
        fail_msg("%s", err.message); /* the surgery failed, not the entry */
    free(memory.bytes);
    parts_free(parts);
}

static void test_stream__entries_must_agree_with_their_records(void **state)
{
    (void)state;
    for (size_t at = 0; at < NP_INDEX_ENTRY_FIXED + 8; at++)
        for (unsigned bit = 0; bit < 8; bit++)
            entry_refused(at, (uint8_t)(1 << bit));
}

static void test_stream__hashes_of_the_index_must_be_the_records(void **state)
{
    (void)state;
    struct parts *parts = parts_of(two_disks());
    parts->list[part_of(parts, NP_RECORD_INDEX, 0)].data[0] ^= 1;
    parts_refused(parts, FIX_LINKS, "the index has other hashes of it");
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
    }
    wrong = entry;
    wrong.hash_count = UINT16_MAX;
    fails(NP_DAMAGED, np_stream_read(stream, 0, &wrong, table, data, &record, &err));
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
        cmocka_unit_test(test_stream__restores_disks_of_odd_sizes),
        cmocka_unit_test(test_stream__restores_interleaved_disks),
        cmocka_unit_test(test_stream__knows_size_name_meta_and_totals),
        cmocka_unit_test(test_stream__an_unknown_disk_has_no_cursor),
        cmocka_unit_test(test_stream__a_huge_zero_is_one_entry),
        cmocka_unit_test(test_stream__a_cursor_walks_all_levels_in_order),
        cmocka_unit_test(test_stream__a_cursor_seeks_to_what_covers_or_follows),
        cmocka_unit_test(test_stream__seeking_reads_one_node_a_level_and_no_more),
        cmocka_unit_test(test_stream__two_leaves_may_share_a_window),
        cmocka_unit_test(test_stream__is_read_by_several_threads),
        cmocka_unit_test(test_stream__gives_blobs_by_name),
        cmocka_unit_test(test_stream__an_empty_blob_is_there),
        cmocka_unit_test(test_stream__a_damaged_blob_is_no_reason_to_lose_the_disks),
        cmocka_unit_test(test_stream__parts_of_a_blob_must_follow_one_another),
        cmocka_unit_test(test_stream__names_of_blobs_are_unique),
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
        cmocka_unit_test(test_stream__end_names_what_it_must),
        cmocka_unit_test(test_stream__hostile_places_are_refused),
        cmocka_unit_test(test_stream__hostile_counts_are_refused),
        cmocka_unit_test(test_stream__resealing_alone_changes_nothing),
        cmocka_unit_test(test_stream__a_node_that_names_itself_is_refused),
        cmocka_unit_test(test_stream__the_same_child_twice_is_refused),
        cmocka_unit_test(test_stream__children_out_of_order_are_refused),
        cmocka_unit_test(test_stream__a_child_is_what_its_parent_says),
        cmocka_unit_test(test_stream__a_leaf_as_an_inner_node_is_refused),
        cmocka_unit_test(test_stream__leaves_that_list_a_window_twice_are_refused),
        cmocka_unit_test(test_stream__entries_must_agree_with_their_records),
        cmocka_unit_test(test_stream__hashes_of_the_index_must_be_the_records),
        cmocka_unit_test(test_stream__an_entry_of_another_place_is_refused),
        cmocka_unit_test(test_stream__an_error_says_which_disk_and_where),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
