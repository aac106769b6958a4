/*
 * The golden streams of tests/golden: every one from a pipe and by its index, compared byte for byte with
 * what expected.txt says. They were made by another program (make.py), from FORMAT.md.
 */
#include "golden/engine.h"

#include "nbdpull/bytes.h"
#include "nbdpull/restore.h"

#define CHAIN_MAX 8

static struct golden goldens[32], engines[4];
static size_t golden_count, engine_count;

static const struct golden *find(const char *name)
{
    for (size_t i = 0; i < golden_count; i++)
        if (strcmp(goldens[i].name, name) == 0)
            return &goldens[i];
    fail_msg("no golden stream %s", name);
    return NULL;
}

static struct memory_file load(const char *name)
{
    struct memory_file file = {0};
    file.bytes = golden_load(name, &file.size);
    return file;
}

static bool fits_memory(const struct golden *golden)
{
    return golden->disks[0].geometry.size < GOLDEN_MEMORY_MAX;
}

/* ---- images ---- */

/* Each byte as expected, and none written twice. */
static void compare(const char *name, const struct golden_disk *disk, const struct memory_image *image)
{
    uint8_t *right = malloc(disk->geometry.size + 1);
    golden_read(disk, 0, right, disk->geometry.size);
    for (uint64_t i = 0; i < disk->geometry.size; i++)
        if (image->bytes[i] != right[i] || image->written[i] > 1)
            fail_msg("%s: disk %u: byte %ju is %02x and not %02x, written %u times", name, disk->id,
                     (uintmax_t)i, image->bytes[i], right[i], image->written[i]);
    free(right);
}

static struct np_restore_disk restore_disk(const struct golden_disk *disk, struct memory_image *image)
{
    memory_image_init(image, disk->geometry.size);
    return (struct np_restore_disk){.target_name = "a disk",
                                    .id = disk->id,
                                    .geometry = disk->geometry,
                                    .ops = &memory_target_ops,
                                    .target = image};
}

/* ---- the three ways of reading ---- */

static void check_by_pipe(const struct golden *golden, const struct memory_file *stream)
{
    struct np_error err = NP_ERROR_INIT;
    struct memory_image images[NP_ARRAY_SIZE(golden->disks)];
    struct np_restore_disk disks[NP_ARRAY_SIZE(golden->disks)];
    struct np_restore_options options = {.workers = 2};
    struct np_restore_counts counts;
    struct memory_file file = *stream;
    struct np_input input = memory_input(&file);
    struct np_reader *reader;
    for (size_t i = 0; i < golden->disk_count; i++)
        disks[i] = restore_disk(&golden->disks[i], &images[i]);
    ok(np_reader_new(&input, golden->name, &reader, &err));
    ok(np_restore_reader(&options, reader, disks, golden->disk_count, NULL, NULL, &counts, &err));
    for (size_t i = 0; i < golden->disk_count; i++) {
        compare(golden->name, &golden->disks[i], &images[i]);
        memory_image_clear(&images[i]);
    }
    np_reader_free(reader);
}

struct chain {
    struct memory_file files[CHAIN_MAX];
    struct np_input_at inputs[CHAIN_MAX];
    struct np_stream *streams[CHAIN_MAX]; /* newest first */
    size_t count;
};

static void open_streams(struct chain *chain, const char *const *names, size_t count)
{
    struct np_error err = NP_ERROR_INIT;
    assert_true(count <= CHAIN_MAX);
    chain->count = count;
    for (size_t i = 0; i < count; i++) {
        chain->files[i] = load(names[i]);
        chain->inputs[i] = memory_input_at(&chain->files[i]);
        ok(np_stream_open(&chain->inputs[i], names[i], &chain->streams[i], &err));
    }
}

static void close_streams(struct chain *chain)
{
    for (size_t i = 0; i < chain->count; i++) {
        np_stream_close(chain->streams[i]);
        free(chain->files[i].bytes);
    }
}

static void check_chain_disk(const struct chain *chain, const struct golden *golden, size_t i)
{
    struct np_error err = NP_ERROR_INIT;
    const struct golden_disk *disk = &golden->disks[i];
    struct memory_image image;
    struct np_restore_disk to = restore_disk(disk, &image);
    struct np_restore_options options = {.workers = 2};
    struct np_restore_counts counts;
    struct np_restore_plan plan;
    struct np_chain *cursor;
    uint16_t ids[CHAIN_MAX];
    for (size_t s = 0; s < chain->count; s++)
        ids[s] = disk->id;
    ok(np_chain_open(chain->streams, ids, chain->count, "a disk", true, &cursor, &err));
    ok(np_restore_survey(cursor, NULL, &plan, &err));
    assert_true(plan.data_bytes + plan.zero_bytes == disk->geometry.size);
    ok(np_chain_seek(cursor, 0, &err));
    ok(np_restore_chain(&options, cursor, chain->streams, ids, &to, &counts, &err));
    compare(golden->name, disk, &image);
    np_chain_close(cursor);
    memory_image_clear(&image);
}

/* names: newest first; the disk must be what `golden` expects. */
static void check_chain(const char *const *names, size_t count, const struct golden *golden)
{
    struct chain chain;
    open_streams(&chain, names, count);
    for (size_t i = 0; i < golden->disk_count; i++)
        check_chain_disk(&chain, golden, i);
    close_streams(&chain);
}

/* An increment from a pipe, over the disk of its base, as FORMAT.md, 5.2 and 13 tell it. */
static void apply(struct np_reader *reader, const struct np_geometry *geometry,
                  const struct np_record *record, struct memory_image *image)
{
    struct np_error err = NP_ERROR_INIT;
    uint64_t offset = record->header.offset;
    if (record->header.type == NP_RECORD_ZERO) {
        memset(image->bytes + offset, 0, record->header.length);
        return;
    }
    uint8_t *data = malloc(record->header.data_len + 1), *plain = malloc(geometry->chunk), *from = plain;
    ok(np_reader_data(reader, data, record->header.data_len, &err));
    struct np_record whole = {.header = record->header, .table = record->table, .data = data};
    ok(np_window_expand(geometry, &whole, "s", plain, &err));
    for (unsigned g = 0; g < np_window_granules(geometry, offset); g++) {
        enum np_granule_state state = np_map_get(record->table, g);
        uint32_t length = np_granule_length(geometry, offset, g);
        uint8_t *at = image->bytes + offset + (uint64_t)g * geometry->granule;
        if (state == NP_GRANULE_ZERO)
            memset(at, 0, length);
        if (state == NP_GRANULE_DATA)
            memcpy(at, from, length);
        if (state == NP_GRANULE_DATA || state == NP_GRANULE_DEAD)
            from += length;
    }
    free(plain);
    free(data);
}

static void check_increment_by_pipe(const struct golden *golden)
{
    struct np_error err = NP_ERROR_INIT;
    const struct golden_disk *disk = &golden->disks[0], *base = &find(golden->base)->disks[0];
    struct memory_image image;
    memory_image_init(&image, disk->geometry.size);
    /* What the size changes must come from the stream, so it is wrong before. */
    memset(image.bytes, 0x5a, disk->geometry.size);
    uint64_t granule = disk->geometry.granule, size = np_min_u64(disk->geometry.size, base->geometry.size);
    golden_read(base, 0, image.bytes,
                disk->geometry.size == base->geometry.size ? size : size / granule * granule);

    struct memory_file file = load(golden->name);
    struct np_input input = memory_input(&file);
    struct np_reader *reader;
    struct np_record record;
    int more;
    ok(np_reader_new(&input, golden->name, &reader, &err));
    while ((more = np_reader_next(reader, &record, &err)) > 0)
        apply(reader, &disk->geometry, &record, &image);
    ok(more);
    compare(golden->name, disk, &image);
    np_reader_free(reader);
    memory_image_clear(&image);
    free(file.bytes);
}

/* ---- tests ---- */

static void test_golden__whole_streams_from_a_pipe(void **state)
{
    (void)state;
    size_t seen = 0;
    for (size_t i = 0; i < golden_count; i++) {
        if (goldens[i].base[0] != '\0' || !fits_memory(&goldens[i]))
            continue;
        struct memory_file file = load(goldens[i].name);
        check_by_pipe(&goldens[i], &file);
        free(file.bytes);
        seen++;
    }
    assert_true(seen >= 12);
}

static void test_golden__increments_from_a_pipe(void **state)
{
    (void)state;
    size_t seen = 0;
    for (size_t i = 0; i < golden_count; i++)
        if (goldens[i].base[0] != '\0') {
            check_increment_by_pipe(&goldens[i]);
            seen++;
        }
    assert_true(seen >= 6);
}

static void test_golden__streams_and_chains_by_index(void **state)
{
    (void)state;
    for (size_t i = 0; i < golden_count; i++) {
        const char *names[CHAIN_MAX] = {goldens[i].name};
        size_t count = 1;
        for (const char *base = goldens[i].base; base[0] != '\0'; base = find(base)->base)
            names[count++] = base;
        if (fits_memory(&goldens[i]))
            check_chain(names, count, &goldens[i]);
    }
}

/* Chains link states: a merged stream stands in for its parts. */
static void test_golden__merged_streams_stand_in_for_their_parts(void **state)
{
    (void)state;
    check_chain((const char *const[]){"inc3", "merged-inc", "full"}, 3, find("inc3"));
    check_chain((const char *const[]){"inc2", "merged-full"}, 2, find("inc2"));
    check_chain((const char *const[]){"inc4-empty", "inc3", "inc2", "merged-full"}, 4, find("inc4-empty"));
}

/* Trap 5 of shrinking and growing again, and a step that is missing: refused, not guessed. */
static void test_golden__chain_that_lacks_a_step_is_refused(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct chain chain;
    struct np_chain *cursor;
    const uint16_t ids[2] = {0, 0};
    open_streams(&chain, (const char *const[]){"inc2", "full"}, 2);
    fails(NP_DAMAGED, np_chain_open(chain.streams, ids, 2, "vda", false, &cursor, &err));
    close_streams(&chain);
}

/* Dead granules that are not what the disk holds there: a restore that wrote them would fail the tests above.
 */
static size_t wrong_dead_granules(const struct golden *golden)
{
    struct np_error err = NP_ERROR_INIT;
    const struct np_geometry *geometry = &golden->disks[0].geometry;
    struct memory_file file = load(golden->name);
    struct np_input input = memory_input(&file);
    struct np_reader *reader;
    struct np_record record;
    size_t wrong = 0;
    int more;
    uint8_t *data = malloc(geometry->chunk), *plain = malloc(geometry->chunk),
            *right = malloc(geometry->granule);
    ok(np_reader_new(&input, golden->name, &reader, &err));
    while ((more = np_reader_next(reader, &record, &err)) > 0) {
        const struct np_record_header *header = &record.header;
        if (header->type != NP_RECORD_DATA)
            continue;
        ok(np_reader_data(reader, data, geometry->chunk, &err));
        ok(np_codec_find(header->codec)->expand(data, header->data_len, plain, header->length, &err));
        const uint8_t *from = plain;
        for (unsigned g = 0; g < np_window_granules(geometry, header->offset); g++) {
            enum np_granule_state is = np_map_get(record.table, g);
            uint32_t length = np_granule_length(geometry, header->offset, g);
            if (is != NP_GRANULE_DATA && is != NP_GRANULE_DEAD)
                continue;
            golden_read(&golden->disks[0], header->offset + (uint64_t)g * geometry->granule, right, length);
            bool same = memcmp(from, right, length) == 0;
            assert_true(is == NP_GRANULE_DEAD || same);
            wrong += !same;
            from += length;
        }
    }
    ok(more);
    np_reader_free(reader);
    free(right);
    free(plain);
    free(data);
    free(file.bytes);
    return wrong;
}

static void test_golden__dead_granules_differ_from_the_disk(void **state)
{
    (void)state;
    assert_true(wrong_dead_granules(find("dead")) == 16);
    assert_true(wrong_dead_granules(find("merged-full")) == 5);
    assert_true(wrong_dead_granules(find("merged-inc")) == 2);
    assert_true(wrong_dead_granules(find("full")) == 0);
}

static void test_golden__merged_streams_say_what_they_were_made_from(void **state)
{
    (void)state;
    struct chain chain;
    open_streams(&chain, (const char *const[]){"merged-inc", "inc2", "inc1"}, 3);
    const struct np_meta *merged = np_stream_meta(chain.streams[0]);
    assert_int_equal(merged->made_from_count, 2);
    assert_true(np_uuid_equal(&merged->made_from[0], &np_stream_meta(chain.streams[2])->stream));
    assert_true(np_uuid_equal(&merged->made_from[1], &np_stream_meta(chain.streams[1])->stream));
    close_streams(&chain);
}

/* A target that compares at once, for a disk that no memory holds. */
static int compare_write(void *writer, const void *bytes, uint64_t offset, size_t length,
                         struct np_error *err)
{
    const struct golden_disk *disk = writer;
    uint8_t *right = malloc(length);
    golden_read(disk, offset, right, length);
    bool same = memcmp(right, bytes, length) == 0;
    free(right);
    return same ? 0 : np_fail(err, NP_DAMAGED, "other bytes at %ju", (uintmax_t)offset);
}

static void test_golden__largest_disk_is_not_walked_by_granule(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct golden_disk disk = find("huge")->disks[0];
    struct np_target_ops ops = memory_target_ops;
    ops.write = compare_write;
    struct np_restore_disk to = {
        .target_name = "vda", .geometry = disk.geometry, .ops = &ops, .target = &disk};
    struct np_restore_options options = {.workers = 2};
    struct np_restore_counts counts;
    uint64_t data = 65536 + disk.geometry.size % 65536;
    const uint16_t id = 0;

    struct chain chain;
    struct np_chain *cursor;
    open_streams(&chain, (const char *const[]){"huge"}, 1);
    ok(np_chain_open(chain.streams, &id, 1, "vda", true, &cursor, &err));
    ok(np_restore_chain(&options, cursor, chain.streams, &id, &to, &counts, &err));
    assert_true(counts.written == data);
    np_chain_close(cursor);

    struct np_reader *reader;
    struct np_input input = memory_input(&chain.files[0]);
    ok(np_reader_new(&input, "huge", &reader, &err));
    ok(np_restore_reader(&options, reader, &to, 1, NULL, NULL, &counts, &err));
    assert_true(counts.written == data);
    np_reader_free(reader);
    close_streams(&chain);
}

static void test_golden__files_of_a_stream(void **state)
{
    (void)state;
    static const char *const names[] = {"blobs", "optional"};
    for (size_t n = 0; n < NP_ARRAY_SIZE(names); n++) {
        struct np_error err = NP_ERROR_INIT;
        struct chain chain;
        const struct golden *golden = find(names[n]);
        open_streams(&chain, &names[n], 1);
        for (size_t i = 0; i < golden->file_count; i++) {
            void *bytes = NULL;
            size_t size = 0;
            assert_string_equal(np_stream_blob_name(chain.streams[0], i), golden->files[i]);
            ok(np_stream_blob(chain.streams[0], golden->files[i], 1 << 20, &bytes, &size, &err));
            assert_non_null(bytes);
            assert_true(size == golden->file_sizes[i]);
            for (size_t b = 0; b < size && strcmp(golden->files[i], "nvram.fd") == 0; b++)
                assert_int_equal(((uint8_t *)bytes)[b], golden_byte(b, 3));
            free(bytes);
        }
        assert_null(np_stream_blob_name(chain.streams[0], golden->file_count));
        close_streams(&chain);
    }
}

static void test_golden__every_single_bit_of_a_stream_counts(void **state)
{
    (void)state;
    struct np_error err;
    struct memory_file file = load("smallest");
    for (size_t bit = 0; bit < 8 * file.size; bit++) {
        err = (struct np_error)NP_ERROR_INIT;
        file.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        struct np_input input = memory_input(&file);
        struct np_reader *reader = NULL;
        struct np_record record;
        int more = np_reader_new(&input, "s", &reader, &err);
        while (more >= 0 && (more = np_reader_next(reader, &record, &err)) > 0)
            ;
        np_reader_free(reader);
        if (more == 0)
            fail_msg("bit %zu of byte %zu may be anything", bit % 8, bit / 8);
        file.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    free(file.bytes);
}

/* ---- what the engine writes ---- */

static const char *codec_of(const struct golden *golden)
{
    return strchr(golden->name, '-') + 1;
}

static void test_golden__engine_streams_come_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < engine_count; i++) {
        struct memory_file file = load(engines[i].name);
        check_by_pipe(&engines[i], &file);
        check_chain((const char *const[]){engines[i].name}, 1, &engines[i]);
        free(file.bytes);
    }
}

/* FORMAT.md, 7: the same disk, options, library and processor family give the same stream. */
static void check_engine(const struct golden *golden)
{
    struct chain chain;
    open_streams(&chain, (const char *const[]){golden->name}, 1);
    const char *recorded = np_stream_meta(chain.streams[0])->codec_lib, *linked = np_codec_libraries();
    bool compresses = strcmp(codec_of(golden), "none") != 0;
#if !defined(__x86_64__)
    linked = "the libraries of another processor family";
#endif
    if (compresses && strcmp(recorded, linked) != 0) {
        print_message("%s: not compared: made with %s, here is %s\n", golden->name, recorded, linked);
    } else {
        struct memory_file file = {0};
        engine_write(golden, codec_of(golden), recorded, &file);
        assert_true(file.size == chain.files[0].size);
        assert_memory_equal(file.bytes, chain.files[0].bytes, file.size);
        free(file.bytes);
    }
    close_streams(&chain);
}

static void test_golden__engine_writes_the_same_bytes_again(void **state)
{
    (void)state;
    assert_int_equal(engine_count, 3);
    for (size_t i = 0; i < engine_count; i++)
        check_engine(&engines[i]);
}

static int read_lists(void **state)
{
    (void)state;
    golden_count = golden_list("expected.txt", goldens, NP_ARRAY_SIZE(goldens));
    engine_count = golden_list("engine.txt", engines, NP_ARRAY_SIZE(engines));
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden__whole_streams_from_a_pipe),
        cmocka_unit_test(test_golden__increments_from_a_pipe),
        cmocka_unit_test(test_golden__streams_and_chains_by_index),
        cmocka_unit_test(test_golden__merged_streams_stand_in_for_their_parts),
        cmocka_unit_test(test_golden__chain_that_lacks_a_step_is_refused),
        cmocka_unit_test(test_golden__dead_granules_differ_from_the_disk),
        cmocka_unit_test(test_golden__merged_streams_say_what_they_were_made_from),
        cmocka_unit_test(test_golden__largest_disk_is_not_walked_by_granule),
        cmocka_unit_test(test_golden__files_of_a_stream),
        cmocka_unit_test(test_golden__every_single_bit_of_a_stream_counts),
        cmocka_unit_test(test_golden__engine_streams_come_back),
        cmocka_unit_test(test_golden__engine_writes_the_same_bytes_again),
    };
    return cmocka_run_group_tests(tests, read_lists, NULL);
}
