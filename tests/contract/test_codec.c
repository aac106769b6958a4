#include "test.h"

#include "nbdpull/bytes.h"
#include "nbdpull/codec.h"

#include <stdlib.h>

/* The contract of codec.h, on every codec of the table. */

enum { GUARD = 64, MOST = 1 << 20 };

static const size_t sizes[] = {1, 2, 511, 512, 4096, 65535, 65536, 65537, 300000, MOST};

static uint64_t random_state;

static uint8_t next_byte(void)
{
    random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (uint8_t)(random_state >> 56);
}

/* Kinds of content: equal bytes, text-like, noise, noise with repeats far apart. */
enum { KINDS = 4 };

static void fill(uint8_t *bytes, size_t size, int kind)
{
    random_state = size * 4 + (size_t)kind;
    for (size_t i = 0; i < size; i++) {
        if (kind == 0)
            bytes[i] = 'x';
        else if (kind == 1)
            bytes[i] = (uint8_t) "the quick brown fox, "[next_byte() % 21 * (i / 7 % 3) % 21];
        else if (kind == 3 && i >= 5000)
            bytes[i] = bytes[i - 5000];
        else
            bytes[i] = next_byte();
    }
}

struct work {
    uint8_t *from, *packed, *guarded, *to;
};

static int begin(void **state)
{
    struct work *work = calloc(1, sizeof(*work));
    work->from = malloc(MOST);
    work->packed = malloc(MOST + GUARD);
    work->guarded = malloc(MOST + 2 * GUARD);
    work->to = work->guarded + GUARD;
    *state = work;
    return 0;
}

static int end(void **state)
{
    struct work *work = *state;
    free(work->from);
    free(work->packed);
    free(work->guarded);
    free(work);
    return 0;
}

/* Expand between guards, whatever comes; the guards must be whole. */
static int expand(const struct np_codec *codec, struct work *work, const void *from, size_t stored,
                  size_t size)
{
    struct np_error err = NP_ERROR_INIT;
    memset(work->to - GUARD, 0xa5, GUARD);
    memset(work->to + size, 0x5a, GUARD);
    int result = codec->expand(from, stored, work->to, size, &err);
    for (size_t i = 0; i < GUARD; i++) {
        assert_int_equal((work->to - GUARD)[i], 0xa5);
        assert_int_equal(work->to[size + i], 0x5a);
    }
    if (result < 0) {
        assert_int_equal(err.class, NP_DAMAGED);
        assert_true(err.message[0] != '\0');
    }
    return result;
}

static void *new_state(const struct np_codec *codec, int level)
{
    struct np_error err = NP_ERROR_INIT;
    void *context = NULL;
    ok(codec->state_new(level, MOST, &context, &err));
    return context;
}

/* As the packer does: less than the size, or stored raw. */
static size_t pack(const struct np_codec *codec, void *context, struct work *work, size_t size)
{
    memset(work->packed + size - 1, 0xa5, GUARD);
    size_t stored = codec->compress(context, work->from, size, work->packed, size - 1);
    assert_true(stored < size);
    for (size_t i = 0; i < GUARD; i++)
        assert_int_equal(work->packed[size - 1 + i], 0xa5);
    return stored;
}

static void test_codec__round_trip_of_all_sizes_and_contents(void **state)
{
    struct work *work = *state;
    for (const struct np_codec *const *codec = np_codec_all(); *codec != NULL; codec++) {
        void *context = new_state(*codec, 0);
        for (size_t s = 0; s < NP_ARRAY_SIZE(sizes); s++)
            for (int kind = 0; kind < KINDS; kind++) {
                fill(work->from, sizes[s], kind);
                size_t stored = pack(*codec, context, work, sizes[s]);
                if (stored == 0)
                    continue;
                assert_int_equal(expand(*codec, work, work->packed, stored, sizes[s]), 0);
                assert_memory_equal(work->to, work->from, sizes[s]);
            }
        (*codec)->state_free(context);
    }
}

static void test_codec__every_level_round_trips(void **state)
{
    struct work *work = *state;
    size_t size = 65537;
    for (const struct np_codec *const *codec = np_codec_all(); *codec != NULL; codec++)
        for (int level = (*codec)->level_min; level <= (*codec)->level_max && level != 0; level++) {
            void *context = new_state(*codec, level);
            fill(work->from, size, 1);
            size_t stored = pack(*codec, context, work, size);
            assert_true(stored > 0);
            assert_int_equal(expand(*codec, work, work->packed, stored, size), 0);
            assert_memory_equal(work->to, work->from, size);
            (*codec)->state_free(context);
        }
}

static void test_codec__text_shrinks_and_noise_does_not(void **state)
{
    struct work *work = *state;
    for (const struct np_codec *const *codec = np_codec_all(); *codec != NULL; codec++) {
        void *context = new_state(*codec, 0);
        fill(work->from, 65536, 2);
        assert_int_equal(pack(*codec, context, work, 65536), 0);
        fill(work->from, 65536, 1);
        size_t stored = pack(*codec, context, work, 65536);
        assert_true((*codec)->number == 0 ? stored == 0 : stored > 0 && stored < 60000);
        (*codec)->state_free(context);
    }
}

static void test_codec__no_room_is_no_fit(void **state)
{
    struct work *work = *state;
    for (const struct np_codec *const *codec = np_codec_all(); *codec != NULL; codec++) {
        void *context = new_state(*codec, 0);
        fill(work->from, 4096, 0);
        memset(work->packed, 0xa5, GUARD);
        assert_int_equal((*codec)->compress(context, work->from, 4096, work->packed, 0), 0);
        assert_int_equal((*codec)->compress(context, work->from, 1, work->packed, 0), 0);
        for (size_t i = 0; i < GUARD; i++)
            assert_int_equal(work->packed[i], 0xa5);
        (*codec)->state_free(context);
    }
}

/* What a state has seen before, failures included, must not show in its output. */
static void test_codec__used_state_gives_the_bytes_of_a_new_one(void **state)
{
    struct work *work = *state;
    uint8_t *again = malloc(MOST);
    for (const struct np_codec *const *codec = np_codec_all(); *codec != NULL; codec++) {
        void *used = new_state(*codec, 0);
        for (size_t round = 0; round < 2 * NP_ARRAY_SIZE(sizes) * KINDS; round++) {
            size_t size = sizes[round * 7 % NP_ARRAY_SIZE(sizes)];
            fill(work->from, size, (int)(round % KINDS));
            size_t stored = pack(*codec, used, work, size);
            void *fresh = new_state(*codec, 0);
            size_t fresh_stored = (*codec)->compress(fresh, work->from, size, again, size - 1);
            (*codec)->state_free(fresh);
            assert_int_equal(stored, fresh_stored);
            assert_memory_equal(work->packed, again, stored);
        }
        (*codec)->state_free(used);
    }
    free(again);
}

static void test_codec__truncated_input_is_refused(void **state)
{
    struct work *work = *state;
    size_t size = 4096;
    for (const struct np_codec *const *codec = np_codec_all(); *codec != NULL; codec++) {
        void *context = new_state(*codec, 0);
        fill(work->from, size, 1);
        size_t stored = (*codec)->compress(context, work->from, size, work->packed, size);
        (*codec)->state_free(context);
        assert_true(stored > 0);
        for (size_t cut = 0; cut < stored; cut++) {
            uint8_t *exact = malloc(cut + 1); /* so that the address sanitiser sees a read beyond */
            memcpy(exact + 1, work->packed, cut);
            assert_int_equal(expand(*codec, work, exact + 1, cut, size), -1);
            free(exact);
        }
    }
}

static void test_codec__trailing_bytes_are_refused(void **state)
{
    struct work *work = *state;
    size_t size = 4096;
    for (const struct np_codec *const *codec = np_codec_all(); *codec != NULL; codec++) {
        void *context = new_state(*codec, 0);
        fill(work->from, size, 1);
        size_t stored = (*codec)->compress(context, work->from, size, work->packed, size);
        (*codec)->state_free(context);
        memset(work->packed + stored, 0, 16);
        for (size_t more = 1; more <= 16; more++)
            assert_int_equal(expand(*codec, work, work->packed, stored + more, size), -1);
    }
}

static void test_codec__wrong_size_is_refused(void **state)
{
    struct work *work = *state;
    size_t size = 4096;
    static const int off[] = {-4096, -4095, -100, -1, 1, 2, 100, 60000};
    for (const struct np_codec *const *codec = np_codec_all(); *codec != NULL; codec++) {
        void *context = new_state(*codec, 0);
        fill(work->from, size, 1);
        size_t stored = (*codec)->compress(context, work->from, size, work->packed, size);
        (*codec)->state_free(context);
        for (size_t i = 0; i < NP_ARRAY_SIZE(off); i++)
            assert_int_equal(expand(*codec, work, work->packed, stored, size + (size_t)off[i]), -1);
    }
}

static void test_codec__garbage_never_writes_beyond(void **state)
{
    struct work *work = *state;
    uint8_t garbage[300];
    for (const struct np_codec *const *codec = np_codec_all(); *codec != NULL; codec++)
        for (int round = 0; round < 20000; round++) {
            random_state = (uint64_t)round;
            size_t stored = 1 + next_byte(), size = next_byte() * 4u;
            for (size_t i = 0; i < stored; i++)
                garbage[i] = next_byte();
            if ((*codec)->number == 2 && stored >= 12)
                memcpy(garbage, "\x28\xb5\x2f\xfd\x60", 5); /* reach behind the frame's magic */
            expand(*codec, work, garbage, stored, size);
        }
}

static void test_codec__flipped_bits_never_write_beyond(void **state)
{
    struct work *work = *state;
    size_t size = 4096;
    for (const struct np_codec *const *codec = np_codec_all(); *codec != NULL; codec++) {
        void *context = new_state(*codec, 0);
        fill(work->from, size, 1);
        size_t stored = (*codec)->compress(context, work->from, size, work->packed, size);
        (*codec)->state_free(context);
        for (size_t bit = 0; bit < 8 * stored; bit++) {
            work->packed[bit / 8] ^= (uint8_t)(1 << bit % 8);
            expand(*codec, work, work->packed, stored, size);
            work->packed[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
    }
}

static const struct np_codec *zstd_codec(void)
{
    const struct np_codec *codec = np_codec_find(2);
    assert_non_null(codec);
    assert_string_equal(codec->name, "zstd");
    return codec;
}

/* 5 bytes in one raw block, by hand. Flags: single segment, so the content size follows in one byte. */
static const uint8_t frame[] = {0x28, 0xb5, 0x2f, 0xfd, 0x20, 5, 0x29, 0, 0, 'h', 'e', 'l', 'l', 'o'};

static void test_zstd__frame_made_by_hand_expands(void **state)
{
    struct work *work = *state;
    assert_int_equal(expand(zstd_codec(), work, frame, sizeof(frame), 5), 0);
    assert_memory_equal(work->to, "hello", 5);
}

static void test_zstd__frame_without_content_size_is_refused(void **state)
{
    struct work *work = *state;
    static const uint8_t bytes[] = {0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58, 0x29, 0, 0, 'h', 'e', 'l', 'l', 'o'};
    assert_int_equal(expand(zstd_codec(), work, bytes, sizeof(bytes), 5), -1);
}

static void test_zstd__dictionary_is_refused(void **state)
{
    struct work *work = *state;
    static const uint8_t bytes[] = {0x28, 0xb5, 0x2f, 0xfd, 0x21, 7, 5, 0x29, 0, 0, 'h', 'e', 'l', 'l', 'o'};
    assert_int_equal(expand(zstd_codec(), work, bytes, sizeof(bytes), 5), -1);
}

static void test_zstd__skippable_frame_is_refused_before_and_behind(void **state)
{
    struct work *work = *state;
    static const uint8_t skippable[] = {0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 'x'};
    uint8_t both[sizeof(frame) + sizeof(skippable)];
    memcpy(both, skippable, sizeof(skippable));
    memcpy(both + sizeof(skippable), frame, sizeof(frame));
    assert_int_equal(expand(zstd_codec(), work, both, sizeof(both), 5), -1);
    memcpy(both, frame, sizeof(frame));
    memcpy(both + sizeof(frame), skippable, sizeof(skippable));
    assert_int_equal(expand(zstd_codec(), work, both, sizeof(both), 5), -1);
    assert_int_equal(expand(zstd_codec(), work, skippable, sizeof(skippable), 0), -1);
}

static void test_zstd__two_frames_are_refused(void **state)
{
    struct work *work = *state;
    uint8_t both[2 * sizeof(frame)];
    memcpy(both, frame, sizeof(frame));
    memcpy(both + sizeof(frame), frame, sizeof(frame));
    assert_int_equal(expand(zstd_codec(), work, both, sizeof(both), 10), -1);
    assert_int_equal(expand(zstd_codec(), work, both, sizeof(both), 5), -1);
}

static void test_zstd__frames_carry_content_size_and_no_checksum(void **state)
{
    struct work *work = *state;
    const struct np_codec *codec = zstd_codec();
    void *context = new_state(codec, 0);
    fill(work->from, 65536, 1);
    assert_true(pack(codec, context, work, 65536) > 8);
    codec->state_free(context);
    assert_memory_equal(work->packed, "\x28\xb5\x2f\xfd", 4);
    uint8_t flags = work->packed[4];
    assert_true((flags & 0x20) != 0 || flags >> 6 != 0); /* content size */
    assert_int_equal(flags & 0x04, 0);                   /* checksum */
    assert_int_equal(flags & 0x03, 0);                   /* dictionary */
}

static void test_codec__numbers_and_names_are_unique_and_found(void **state)
{
    (void)state;
    size_t count = 0;
    for (const struct np_codec *const *codec = np_codec_all(); *codec != NULL; codec++, count++) {
        assert_ptr_equal(np_codec_find((*codec)->number), *codec);
        int level = -1;
        struct np_error err = NP_ERROR_INIT;
        assert_ptr_equal(np_codec_parse((*codec)->name, &level, &err), *codec);
        assert_int_equal(level, 0);
    }
    assert_int_equal(count, 3);
    assert_null(np_codec_find(3));
    assert_null(np_codec_find(255));
}

static void test_codec__parse_takes_levels_in_range(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    int level;
    assert_string_equal(np_codec_parse("zstd:9", &level, &err)->name, "zstd");
    assert_int_equal(level, 9);
    assert_non_null(np_codec_parse("zstd:1", &level, &err));
    assert_non_null(np_codec_parse("zstd:19", &level, &err));
    assert_int_equal(level, 19);
}

static void test_codec__parse_refuses_with_what_there_is(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"", "none, lz4, zstd"},       {"gzip", "none, lz4, zstd"},
        {"LZ4", "none, lz4, zstd"},    {"zst", "none, lz4, zstd"},
        {"zstd9", "none, lz4, zstd"},  {"lz4:1", "no levels"},
        {"none:0", "no levels"},       {"lz4:", "no levels"},
        {"zstd:", "levels 1 to 19"},   {"zstd:0", "levels 1 to 19"},
        {"zstd:20", "levels 1 to 19"}, {"zstd:-1", "levels 1 to 19"},
        {"zstd:+3", "levels 1 to 19"}, {"zstd: 3", "levels 1 to 19"},
        {"zstd:3x", "levels 1 to 19"}, {"zstd:99999999999", "levels 1 to 19"},
    };
    for (size_t i = 0; i < NP_ARRAY_SIZE(bad); i++) {
        struct np_error err = NP_ERROR_INIT;
        int level;
        assert_null(np_codec_parse(bad[i].text, &level, &err));
        assert_int_equal(err.class, NP_USAGE);
        assert_non_null(strstr(err.message, bad[i].says));
    }
}

static void test_codec__libraries_are_named_with_versions(void **state)
{
    (void)state;
    const char *text = np_codec_libraries();
    assert_memory_equal(text, "lz4 1.", 6);
    assert_non_null(strstr(text, ", zstd 1."));
    assert_ptr_equal(np_codec_libraries(), text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_codec__round_trip_of_all_sizes_and_contents),
        cmocka_unit_test(test_codec__every_level_round_trips),
        cmocka_unit_test(test_codec__text_shrinks_and_noise_does_not),
        cmocka_unit_test(test_codec__no_room_is_no_fit),
        cmocka_unit_test(test_codec__used_state_gives_the_bytes_of_a_new_one),
        cmocka_unit_test(test_codec__truncated_input_is_refused),
        cmocka_unit_test(test_codec__trailing_bytes_are_refused),
        cmocka_unit_test(test_codec__wrong_size_is_refused),
        cmocka_unit_test(test_codec__garbage_never_writes_beyond),
        cmocka_unit_test(test_codec__flipped_bits_never_write_beyond),
        cmocka_unit_test(test_zstd__frame_made_by_hand_expands),
        cmocka_unit_test(test_zstd__frame_without_content_size_is_refused),
        cmocka_unit_test(test_zstd__dictionary_is_refused),
        cmocka_unit_test(test_zstd__skippable_frame_is_refused_before_and_behind),
        cmocka_unit_test(test_zstd__two_frames_are_refused),
        cmocka_unit_test(test_zstd__frames_carry_content_size_and_no_checksum),
        cmocka_unit_test(test_codec__numbers_and_names_are_unique_and_found),
        cmocka_unit_test(test_codec__parse_takes_levels_in_range),
        cmocka_unit_test(test_codec__parse_refuses_with_what_there_is),
        cmocka_unit_test(test_codec__libraries_are_named_with_versions),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
