#include "test.h"

#include "chain_history.h"

#include "nbdpull/verify.h"

/* ---- an image in memory ---- */

struct image {
    uint8_t *bytes;
    uint64_t size, fail_at;
    bool zeroes_known; /* block status tells of zero granules */
};

static int open_image(void *ctx, void **reader, struct np_error *err)
{
    (void)err;
    *reader = ctx;
    return 0;
}

static int image_extents(void *reader, uint64_t offset, uint64_t length, struct np_extent *extents,
                         size_t room, size_t *count, struct np_error *err)
{
    (void)err, (void)room;
    const struct image *image = reader;
    uint64_t end = np_min_u64(offset + length, np_align_up(offset + 1, GRANULE));
    bool zero = image->zeroes_known && np_is_zero(image->bytes + offset, end - offset);
    extents[0] = (struct np_extent){offset, end - offset, zero ? NP_EXTENT_ZERO : 0};
    *count = 1;
    return 0;
}

static int image_read(void *reader, void *buffer, uint64_t offset, size_t length, struct np_error *err)
{
    const struct image *image = reader;
    if (offset + length > image->size)
        return np_fail(err, NP_FAILED, "read beyond the image");
    if (image->fail_at >= offset && image->fail_at < offset + length)
        return np_fail(err, NP_FAILED, "cannot read byte %ju", (uintmax_t)image->fail_at);
    memcpy(buffer, image->bytes + offset, length);
    return 0;
}

static void nothing(void *reader)
{
    (void)reader;
}

static const struct np_source_ops image_ops = {.reader_open = open_image,
                                               .extents = image_extents,
                                               .read = image_read,
                                               .reader_close = nothing,
                                               .interrupt = nothing};

/* ---- a chain of three, with zeroes over data and data over zeroes ---- */

struct bench {
    struct history history;
    struct content content;
    struct image image;
};

#define WINDOWS 6
#define SIZE (WINDOWS * CHUNK - GRANULE - 512) /* a short granule at the end, of whole sectors */

static void image_of(struct bench *bench)
{
    bench->image = (struct image){
        .bytes = calloc(1, SIZE + 1024), .size = SIZE, .fail_at = UINT64_MAX, .zeroes_known = true};
    for (uint64_t i = 0; i < content_count(&bench->content); i++)
        content_bytes(&bench->content, i, bench->image.bytes + i * GRANULE);
}

static void bench_begin(struct bench *bench)
{
    *bench = (struct bench){.content = content_new(SIZE, CHUNK, GRANULE)};
    uint64_t count = content_count(&bench->content);
    bool *described = malloc(count);
    assert_non_null(described);
    memset(described, true, count);
    for (uint64_t i = 0; i < count; i++)
        bench->content.granules[i] = i % 5 == 0 || i / PER_WINDOW == 2 ? 0 : 1;
    add_stream(&bench->history, &bench->content, described);
    for (uint32_t value = 2; value <= 3; value++) {
        for (uint64_t i = 0; i < count; i++) {
            described[i] = i % 7 == value || i / PER_WINDOW == value + 1;
            if (described[i])
                bench->content.granules[i] = i % 3 == 0 ? 0 : value;
        }
        add_stream(&bench->history, &bench->content, described);
    }
    free(described);
    image_of(bench);
}

static void bench_end(struct bench *bench)
{
    history_clear(&bench->history);
    content_clear(&bench->content);
    free(bench->image.bytes);
}

static int compare(struct bench *bench, unsigned workers, struct np_error *out)
{
    struct np_error err = NP_ERROR_INIT;
    CHAIN(chain, &bench->history, bench->history.count - 1);
    const struct np_verify_image_options options = {.workers = workers, .target = "vda", .image = "vda.raw"};
    const struct np_source source = {&image_ops, &bench->image, bench->image.size};
    *out = (struct np_error)NP_ERROR_INIT;
    return np_verify_image(&options, chain, &source, out);
}

#define BENCH(name)                                                                                          \
    NP_CLEANUP(bench_end) struct bench name;                                                                 \
    bench_begin(&name)

static void test_verify_image__the_disk_itself_is_the_disk(void **state)
{
    (void)state;
    struct np_error err;
    BENCH(bench);
    ok(compare(&bench, 1, &err));
    ok(compare(&bench, 3, &err));
    bench.image.zeroes_known = false;
    ok(compare(&bench, 3, &err));
}

static void test_verify_image__one_flipped_byte_anywhere_is_named(void **state)
{
    (void)state;
    struct np_error err;
    BENCH(bench);
    for (uint64_t at = 0; at < SIZE; at += at + 1 < SIZE && at + 1531 >= SIZE ? SIZE - 1 - at : 1531) {
        bench.image.bytes[at] ^= 0x40;
        fails(NP_DAMAGED, compare(&bench, 2, &err));
        assert_true(err.offset <= at && at < err.offset + GRANULE);
        if (bench.content.granules[at / GRANULE] == 0)
            assert_int_equal(err.offset, at); /* of zeroes, the byte itself */
        bench.image.bytes[at] ^= 0x40;
    }
}

static void test_verify_image__the_first_of_many_is_named(void **state)
{
    (void)state;
    struct np_error err;
    BENCH(bench);
    for (uint64_t at = 70000; at < SIZE; at += 3000)
        bench.image.bytes[at] ^= 1;
    for (unsigned workers = 1; workers <= 4; workers++) {
        fails(NP_DAMAGED, compare(&bench, workers, &err));
        assert_true(err.offset <= 70000 && 70000 < err.offset + GRANULE);
    }
}

static void test_verify_image__another_size_is_no_match(void **state)
{
    (void)state;
    struct np_error err;
    BENCH(bench);
    bench.image.size = SIZE - 512;
    fails(NP_DAMAGED, compare(&bench, 1, &err));
    bench.image.size = SIZE + 512;
    fails(NP_DAMAGED, compare(&bench, 1, &err));
}

static void test_verify_image__what_cannot_be_read_is_no_difference(void **state)
{
    (void)state;
    struct np_error err;
    BENCH(bench);
    bench.image.fail_at = 3 * GRANULE;
    bench.image.zeroes_known = false;
    fails(NP_FAILED, compare(&bench, 2, &err));
    assert_string_equal(err.disk, "vda");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verify_image__the_disk_itself_is_the_disk),
        cmocka_unit_test(test_verify_image__one_flipped_byte_anywhere_is_named),
        cmocka_unit_test(test_verify_image__the_first_of_many_is_named),
        cmocka_unit_test(test_verify_image__another_size_is_no_match),
        cmocka_unit_test(test_verify_image__what_cannot_be_read_is_no_difference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
