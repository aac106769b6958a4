/*
 * Increments by the dirty bitmap and by scanning, against a model: random histories of writes, zeroing and
 * growth; every point is restored and compared, and every digest recomputed.
 */
#include "test.h"

#include "memory.h"

#include "stream_parts.h"

#include "nbdpull/backup.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/restore.h"

#include <stdio.h>

#define CHUNK NP_CHUNK_MIN
#define GRANULE NP_GRANULE_MIN
#define SECTOR 512u
#define SIZE_MAX_ (40 * CHUNK)
#define POINTS 9
#define RIVALS 2

/* The disk as the guest has it, and what block status would say of it. */
struct guest {
    uint8_t bytes[SIZE_MAX_];
    bool dirty[SIZE_MAX_ / SECTOR];
    bool hole[SIZE_MAX_ / SECTOR]; /* reads as zero and is told so; zeroes that are not told are data */
    uint64_t size;
    struct np_extent extents[SIZE_MAX_ / SECTOR];
};

struct point {
    struct memory_file file;
    struct np_meta *meta;
    struct np_stream *stream;
    uint8_t *content;
    uint64_t size;
    struct np_hash128 digest;
};

struct history {
    struct guest guest;
    struct point points[POINTS];
    size_t count;
    uint32_t granule;               /* of its points */
    struct np_backup_counts counts; /* of the last one */
};

static void guest_write(struct guest *guest, uint64_t offset, uint64_t length, int kind)
{
    length = np_min_u64(length, guest->size - offset) / SECTOR * SECTOR;
    for (uint64_t s = offset / SECTOR; s < (offset + length) / SECTOR; s++) {
        guest->dirty[s] = true;
        guest->hole[s] = kind == 2;
        for (unsigned i = 0; i < SECTOR; i++)
            guest->bytes[s * SECTOR + i] = (uint8_t)(kind == 0 ? rand() % 5 + 1 : 0);
    }
}

static void guest_random(struct guest *guest, unsigned writes)
{
    for (unsigned i = 0; i < writes; i++) {
        uint64_t offset = (uint64_t)rand() % (guest->size / SECTOR) * SECTOR;
        guest_write(guest, offset, (uint64_t)(rand() % 200 + 1) * SECTOR, rand() % 3);
    }
}

static void guest_grow(struct guest *guest)
{
    uint64_t grown = np_min_u64(guest->size + (uint64_t)(rand() % 300) * SECTOR, SIZE_MAX_);
    for (uint64_t s = guest->size / SECTOR; s < grown / SECTOR; s++)
        guest->hole[s] = true, guest->dirty[s] = false; /* growth marks nothing dirty */
    guest->size = grown;
}

static struct memory_disk guest_disk(struct guest *guest)
{
    size_t count = 0;
    for (uint64_t s = 0; s < guest->size / SECTOR; s++) {
        uint32_t flags = (guest->dirty[s] ? NP_EXTENT_DIRTY : 0) | (guest->hole[s] ? NP_EXTENT_ZERO : 0);
        if (count > 0 && guest->extents[count - 1].flags == flags)
            guest->extents[count - 1].length += SECTOR;
        else
            guest->extents[count++] = (struct np_extent){s * SECTOR, SECTOR, flags};
    }
    return (struct memory_disk){.bytes = guest->bytes,
                                .size = guest->size,
                                .extents = guest->extents,
                                .extent_count = count,
                                .cut = rand() % 2 ? 0 : 3 * CHUNK + SECTOR,
                                .fail_read = NP_NO_OFFSET,
                                .fail_extents = NP_NO_OFFSET};
}

static struct np_hash128 recompute(const uint8_t *bytes, uint64_t size)
{
    struct np_hash128 sum = {0};
    for (uint64_t g = 0; g * GRANULE < size; g++) {
        uint64_t length = np_min_u64(GRANULE, size - g * GRANULE);
        if (!np_is_zero(bytes + g * GRANULE, length))
            np_digest_add(&sum, g, length, np_hash128(bytes + g * GRANULE, length));
    }
    return sum;
}

static void open_chain(const struct history *history, size_t newest, struct np_stream **streams,
                       uint16_t *ids, struct np_chain **chain)
{
    struct np_error err = NP_ERROR_INIT;
    for (size_t i = 0; i <= newest; i++) {
        streams[i] = history->points[newest - i].stream;
        ids[i] = 0;
    }
    ok(np_chain_open(streams, ids, newest + 1, "vda", true, chain, &err));
}

static struct np_base base_of(const struct history *history, struct np_chain *chain)
{
    const struct point *last = &history->points[history->count - 1];
    return (struct np_base){.chain = chain, .size = last->size, .digest_known = true, .digest = last->digest};
}

static uint64_t digest_error; /* added to the digest of the next increments: as if the base were another */

/* What is foretold, with a sample of everything, is what is done. */
static void foretell(const struct history *history, const struct np_backup_options *options,
                     const struct np_source *source, const struct np_geometry *geometry,
                     struct np_backup_sums *sums, struct np_backup_sample *sample)
{
    struct np_error err = NP_ERROR_INIT;
    for (int pass = 0; pass < 2; pass++) {
        struct np_stream *streams[POINTS];
        uint16_t ids[POINTS];
        struct np_chain *chain = NULL;
        struct np_base base;
        struct np_backup_options own = *options;
        if (options->base != NULL) {
            open_chain(history, history->count - 1, streams, ids, &chain);
            base = base_of(history, chain);
            own.base = &base;
        }
        if (pass == 0)
            ok(np_backup_measure(source, geometry, own.scope, own.base, NULL, sums, &err));
        else
            ok(np_backup_sample(&own, source, geometry, sums->data, sums->data, sample, &err));
        np_chain_close(chain);
    }
}

static void check_foretold(const struct np_backup_sums *sums, const struct np_backup_sample *sample,
                           const struct np_backup_counts *counts, enum np_scope scope)
{
    assert_int_equal(sums->data, counts->read);
    assert_int_equal(sample->read, counts->read);
    assert_int_equal(sample->data, counts->data);
    assert_int_equal(sample->stored, counts->stored);
    if (scope == NP_SCOPE_SCAN) /* what is read and zero may have been so before */
        assert_in_range(counts->zero, sums->zero, sums->zero + sample->read - sample->data);
    else
        assert_int_equal(counts->zero, sums->zero + sample->read - sample->data);
}

/* Take a point of the guest as it is; clears the bitmap. */
static void take(struct history *history, enum np_scope scope)
{
    struct np_error err = NP_ERROR_INIT;
    struct point *point = &history->points[history->count];
    struct memory_disk disk = guest_disk(&history->guest);
    struct np_source source = memory_source(&disk);
    struct np_geometry geometry = {disk.size, CHUNK, history->granule};
    struct np_stream *streams[POINTS];
    uint16_t ids[POINTS];
    struct np_chain *chain = NULL;
    struct np_base base;
    struct np_writer *writer;
    struct np_sink sink = memory_sink(&point->file);
    struct np_backup_options options = {.workers = 3, .codec = np_codec_find(1), .scope = scope};
    struct np_backup_sums sums;
    struct np_backup_sample sample;

    point->meta = memory_meta(&geometry, 1, &err);
    point->meta->disks[0].state.bytes[1] = (uint8_t)(history->count + 1);
    point->meta->stream.bytes[15] = (uint8_t)history->count;
    point->meta->point_disks[0].state = point->meta->disks[0].state;
    point->meta->point_disks[0].stream = point->meta->stream;
    if (scope != NP_SCOPE_ALL) {
        const struct point *last = &history->points[history->count - 1];
        struct np_meta_disk *to = &point->meta->disks[0];
        strcpy(point->meta->level, "inc");
        strcpy(to->level, "inc");
        strcpy(to->how, scope == NP_SCOPE_SCAN ? "scan" : "bitmap");
        strcpy(to->base_point, "0001");
        to->base_state = last->meta->disks[0].state;
        to->base_size = last->size;
        to->base_digest_known = true;
        to->base_digest = last->digest;
        open_chain(history, history->count - 1, streams, ids, &chain);
        base = base_of(history, chain);
        options.base = &base;
    }
    foretell(history, &options, &source, &geometry, &sums, &sample);
    ok(np_writer_new(&sink, point->meta, &writer, &err));
    ok(np_backup_run(&options, &source, &geometry, 0, "vda", writer, &history->counts, &err));
    history->counts.replaced.low += digest_error;

    check_foretold(&sums, &sample, &history->counts, scope);
    ok(np_writer_disk_end(writer, 0, scope == NP_SCOPE_ALL ? NULL : &history->counts.replaced, &err));
    ok(np_writer_finish(writer, &err));
    point->digest = np_writer_totals(writer, 0)->digest;
    assert_true(np_writer_totals(writer, 0)->digest_known);
    np_writer_free(writer);
    np_chain_close(chain);

    struct np_input_at input = memory_input_at(&point->file);
    ok(np_stream_open(&input, "point", &point->stream, &err));
    point->size = disk.size;
    point->content = malloc(disk.size + 1);
    memcpy(point->content, history->guest.bytes, disk.size);
    history->count++;
    memset(history->guest.dirty, 0, sizeof(history->guest.dirty));
}

static void check_point(const struct history *history, size_t index)
{
    struct np_error err = NP_ERROR_INIT;
    const struct point *point = &history->points[index];
    struct np_stream *streams[POINTS];
    uint16_t ids[POINTS];
    struct np_chain *chain;
    struct memory_image image;
    struct np_restore_counts counts;
    struct np_restore_options options = {.workers = 2};
    memory_image_init(&image, point->size);
    struct np_restore_disk disk = {.target_name = "vda",
                                   .geometry = {point->size, CHUNK, GRANULE},
                                   .ops = &memory_target_ops,
                                   .target = &image};
    open_chain(history, index, streams, ids, &chain);
    ok(np_restore_chain(&options, chain, streams, ids, &disk, &counts, &err));
    assert_int_equal(memcmp(image.bytes, point->content, point->size), 0);
    assert_true(np_hash128_equal(point->digest, recompute(point->content, point->size)));
    np_chain_close(chain);
    memory_image_clear(&image);
}

static void clear(struct history *history)
{
    for (size_t i = 0; i < history->count; i++) {
        np_stream_close(history->points[i].stream);
        np_meta_free(history->points[i].meta);
        free(history->points[i].file.bytes);
        free(history->points[i].content);
    }
    free(history);
}

static struct history *begin(uint64_t size)
{
    struct history *history = calloc(1, sizeof(*history));
    history->guest.size = size;
    history->granule = GRANULE;
    for (uint64_t s = 0; s < SIZE_MAX_ / SECTOR; s++)
        history->guest.hole[s] = true;
    return history;
}

static void test_increment__random_histories_are_exact_at_every_point(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 60; seed++) {
        srand(seed);
        struct history *history = begin(((uint64_t)rand() % 200 + 1) * 13 * SECTOR);
        guest_random(&history->guest, 12);
        take(history, NP_SCOPE_ALL);
        while (history->count < POINTS) {
            if (rand() % 4 == 0)
                guest_grow(&history->guest);
            guest_random(&history->guest, (unsigned)rand() % 6);
            take(history, rand() % 3 == 0 ? NP_SCOPE_SCAN : NP_SCOPE_DIRTY);
        }
        for (size_t i = 0; i < history->count; i++)
            check_point(history, i);
        clear(history);
    }
}

static void test_increment__nothing_dirty_stores_and_reads_nothing(void **state)
{
    (void)state;
    srand(7);
    struct history *history = begin(SIZE_MAX_);
    guest_random(&history->guest, 30);
    take(history, NP_SCOPE_ALL);
    take(history, NP_SCOPE_DIRTY);
    assert_true(history->counts.read == 0 && history->counts.data == 0 && history->counts.zero == 0);
    take(history, NP_SCOPE_SCAN);
    assert_true(history->counts.read > 0 && history->counts.data == 0 && history->counts.zero == 0);
    check_point(history, 2);
    clear(history);
}

/* Trap 1 of the field: what was data and is trimmed must come back as zeroes. */
static void test_increment__dirty_and_zero_is_stored_as_zero(void **state)
{
    (void)state;
    struct history *history = begin(4 * CHUNK);
    guest_write(&history->guest, 0, 4 * CHUNK, 0);
    take(history, NP_SCOPE_ALL);
    guest_write(&history->guest, CHUNK, 2 * CHUNK, 2);
    take(history, NP_SCOPE_DIRTY);
    assert_true(history->counts.zero == 2 * CHUNK && history->counts.read == 0);
    check_point(history, 1);
    clear(history);
}

/* Shrink, then grow: the bitmap calls the lost part clean, block status calls it zero. */
static void test_increment__clean_zero_over_data_is_stored_as_zero(void **state)
{
    (void)state;
    struct history *history = begin(4 * CHUNK);
    guest_write(&history->guest, 0, 4 * CHUNK, 0);
    take(history, NP_SCOPE_ALL);
    guest_write(&history->guest, CHUNK + 4096, 2 * CHUNK, 2);
    memset(history->guest.dirty, 0, sizeof(history->guest.dirty));
    take(history, NP_SCOPE_DIRTY);
    check_point(history, 1);
    clear(history);
}

/* A disk that was grown preallocated: block status tells old and new part in one breath, as clean data. */
static void test_increment__clean_data_behind_the_old_end_is_stored(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 8; seed++) { /* block status is cut, or it is not */
        srand(seed);
        struct history *history = begin(4 * CHUNK);
        guest_write(&history->guest, 0, 4 * CHUNK, 0);
        take(history, NP_SCOPE_ALL);
        history->guest.size = 8 * CHUNK;
        guest_write(&history->guest, 4 * CHUNK, 4 * CHUNK, 0);
        memset(history->guest.dirty, 0, sizeof(history->guest.dirty));
        take(history, NP_SCOPE_DIRTY);
        assert_true(history->counts.data == 4 * CHUNK);
        check_point(history, 1);
        clear(history);
    }
}

static void test_increment__a_chain_that_does_not_add_up_is_refused(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct history *history = begin(4 * CHUNK);
    struct np_stream *streams[POINTS];
    uint16_t ids[POINTS];
    struct np_chain *chain;
    struct memory_image image;
    struct np_restore_counts counts;
    struct np_restore_options options = {.workers = 2};
    guest_write(&history->guest, 0, 4 * CHUNK, 0);
    take(history, NP_SCOPE_ALL);
    guest_write(&history->guest, CHUNK, 4096, 0);
    digest_error = 1;
    take(history, NP_SCOPE_DIRTY);
    digest_error = 0;
    memory_image_init(&image, 4 * CHUNK);
    struct np_restore_disk disk = {.target_name = "vda",
                                   .geometry = {4 * CHUNK, CHUNK, GRANULE},
                                   .ops = &memory_target_ops,
                                   .target = &image};
    open_chain(history, 1, streams, ids, &chain);
    fails(NP_DAMAGED, np_restore_chain(&options, chain, streams, ids, &disk, &counts, &err));
    assert_non_null(strstr(err.message, "digest"));
    np_chain_close(chain);
    memory_image_clear(&image);
    clear(history);
}

/* @param rivals other disks, at most RIVALS */
static struct np_trust trust_among(struct history *history, const struct history *const *rivals, size_t count,
                                   uint64_t seed)
{
    struct np_error err = NP_ERROR_INIT;
    struct memory_disk disk = guest_disk(&history->guest);
    struct np_source source = memory_source(&disk);
    struct np_geometry geometry = {disk.size, CHUNK, history->granule};
    struct np_stream *streams[1 + RIVALS][POINTS];
    uint16_t ids[1 + RIVALS][POINTS];
    struct np_chain *chain, *other[RIVALS];
    struct np_trust verdict;
    open_chain(history, history->count - 1, streams[RIVALS], ids[RIVALS], &chain);
    struct np_base base = base_of(history, chain), others[RIVALS];
    for (size_t i = 0; i < count; i++) {
        open_chain(rivals[i], rivals[i]->count - 1, streams[i], ids[i], &other[i]);
        others[i] = base_of(rivals[i], other[i]);
    }
    ok(np_backup_trust(&source, &geometry, &base, others, count, seed, NULL, &verdict, &err));
    assert_int_equal(disk.open_readers, 0);
    np_chain_close(chain);
    for (size_t i = 0; i < count; i++)
        np_chain_close(other[i]);
    return verdict;
}

static struct np_trust trust_beside(struct history *history, const struct history *rival, uint64_t seed)
{
    return trust_among(history, &rival, 1, seed);
}

static struct np_trust trust(struct history *history, uint64_t seed)
{
    return trust_among(history, NULL, 0, seed);
}

static void test_trust__an_honest_bitmap_is_believed(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 40; seed++) {
        srand(seed);
        struct history *history = begin(((uint64_t)rand() % 200 + 1) * 13 * SECTOR);
        guest_random(&history->guest, 12);
        take(history, NP_SCOPE_ALL);
        guest_grow(&history->guest);
        guest_random(&history->guest, 4);
        struct np_trust verdict = trust(history, seed);
        if (!verdict.believed)
            fail_msg("seed %u: %s at %ju", seed, verdict.why, (uintmax_t)verdict.offset);
        clear(history);
    }
}

static void test_trust__clean_data_over_zero_is_a_proof(void **state)
{
    (void)state;
    struct history *history = begin(16 * CHUNK);
    guest_write(&history->guest, 0, 2 * CHUNK, 0);
    take(history, NP_SCOPE_ALL);
    guest_write(&history->guest, 9 * CHUNK + 8192, SECTOR, 0);
    memset(history->guest.dirty, 0, sizeof(history->guest.dirty));
    struct np_trust verdict = trust(history, 1);
    assert_false(verdict.believed);
    assert_true(verdict.offset == 9 * CHUNK + 8192);
    clear(history);
}

static void test_trust__an_image_that_was_swapped_is_seen_by_the_sample(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 20; seed++) {
        srand(seed);
        struct history *history = begin(16 * CHUNK);
        guest_write(&history->guest, 0, 8 * CHUNK, 0);
        take(history, NP_SCOPE_ALL);
        guest_write(&history->guest, 0, 8 * CHUNK, 0);
        memset(history->guest.dirty, 0, sizeof(history->guest.dirty));
        assert_false(trust(history, seed).believed);
        clear(history);
    }
}

/* A guest of its own with the same content, but for a change there. @param offset NP_NO_OFFSET: none */
static struct history *twin_of(const struct history *history, uint64_t offset)
{
    struct history *twin = begin(history->guest.size);
    memcpy(&twin->guest, &history->guest, sizeof(twin->guest));
    if (offset != NP_NO_OFFSET)
        twin->guest.bytes[offset] ^= 0xff;
    take(twin, NP_SCOPE_ALL);
    return twin;
}

static void become(struct history *history, const struct history *other)
{
    memcpy(history->guest.bytes, other->guest.bytes, history->guest.size);
}

/*
 * Two halves of a mirror, images swapped, each with its clean bitmap: chance finds one granule of 640 seldom,
 * and must have no part in it.
 */
static void test_trust__an_image_of_a_rival_is_always_seen(void **state)
{
    (void)state;
    unsigned missed = 0;
    for (unsigned seed = 1; seed <= 40; seed++) {
        srand(seed);
        struct history *history = begin(SIZE_MAX_);
        guest_write(&history->guest, 0, SIZE_MAX_, 0);
        uint64_t offset = (uint64_t)(1 + rand() % 100) * GRANULE + 7;
        struct history *twin = twin_of(history, offset);
        take(history, NP_SCOPE_ALL);
        assert_true(trust_beside(history, twin, seed).believed);
        assert_true(trust_beside(twin, history, seed).believed);
        become(history, twin);
        missed += trust(history, seed).believed;
        struct np_trust verdict = trust_beside(history, twin, seed);
        assert_false(verdict.believed);
        assert_true(verdict.offset == np_align_down(offset, GRANULE));
        clear(twin);
        clear(history);
    }
    assert_in_range(missed, 20, 40);
}

/* It differs from this disk elsewhere than the first one does: each is looked at. */
static void test_trust__an_image_of_the_second_rival_is_seen(void **state)
{
    (void)state;
    unsigned missed = 0;
    for (unsigned seed = 1; seed <= 10; seed++) {
        srand(seed);
        struct history *history = begin(SIZE_MAX_);
        guest_write(&history->guest, 0, SIZE_MAX_, 0);
        struct history *first = twin_of(history, 20 * GRANULE), *second = twin_of(history, 40 * GRANULE);
        const struct history *const rivals[] = {first, second};
        take(history, NP_SCOPE_ALL);
        become(history, second);
        missed += trust_beside(history, first, seed).believed;
        struct np_trust verdict = trust_among(history, rivals, 2, seed);
        assert_false(verdict.believed);
        assert_true(verdict.offset == 40 * GRANULE);
        clear(first);
        clear(second);
        clear(history);
    }
    assert_in_range(missed, 5, 10);
}

/*
 * Its own is in the granule within which it ended, and behind it lies what this disk holds (it was cut there,
 * and has been grown). Hashes do not tell that granule's likeness, so it is read.
 */
static void test_trust__a_granule_that_a_rival_ended_in_is_read(void **state)
{
    (void)state;
    unsigned missed = 0;
    for (unsigned seed = 1; seed <= 10; seed++) {
        srand(seed);
        const uint64_t end = 40 * GRANULE + SECTOR;
        struct history *history = begin(SIZE_MAX_);
        guest_write(&history->guest, 0, SIZE_MAX_, 0);
        struct history *twin = begin(end);
        memcpy(&twin->guest, &history->guest, sizeof(twin->guest));
        twin->guest.size = end;
        twin->guest.bytes[end - SECTOR] ^= 0xff;
        take(twin, NP_SCOPE_ALL);
        take(history, NP_SCOPE_ALL);
        assert_true(trust_beside(history, twin, seed).believed);
        become(history, twin);
        missed += trust(history, seed).believed;
        struct np_trust verdict = trust_beside(history, twin, seed);
        assert_false(verdict.believed);
        assert_true(verdict.offset == 40 * GRANULE);
        clear(twin);
        clear(history);
    }
    assert_in_range(missed, 5, 10);
}

/* Where they differ is dirty, so it is read: whose image it is makes no difference. Nor does it of equal
 * ones. */
static void test_trust__a_rival_that_differs_where_it_is_dirty_is_none(void **state)
{
    (void)state;
    for (unsigned differing = 0; differing < 2; differing++) {
        srand(differing + 1);
        struct history *history = begin(SIZE_MAX_);
        guest_write(&history->guest, 0, SIZE_MAX_, 0);
        struct history *twin = twin_of(history, differing ? 5 * GRANULE : NP_NO_OFFSET);
        take(history, NP_SCOPE_ALL);
        become(history, twin);
        history->guest.dirty[5 * GRANULE / SECTOR + 3] = true;
        assert_true(trust_beside(history, twin, 1).believed);
        clear(twin);
        clear(history);
    }
}

/* Zero on one side, shorter, another history below it. */
static void test_trust__a_rival_of_another_history_is_always_seen(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 40; seed++) {
        srand(seed);
        struct history *history = begin(SIZE_MAX_ - (uint64_t)(rand() % 100) * SECTOR);
        guest_random(&history->guest, 30);
        take(history, NP_SCOPE_ALL);
        struct history *twin = begin(history->guest.size);
        memcpy(&twin->guest, &history->guest, sizeof(twin->guest));
        take(twin, NP_SCOPE_ALL);
        for (unsigned i = 0; i < 4; i++) {
            guest_random(&history->guest, 1 + seed % 2);
            take(history, NP_SCOPE_DIRTY);
            guest_random(&twin->guest, 1);
            take(twin, NP_SCOPE_DIRTY);
        }
        assert_true(trust_beside(history, twin, seed).believed);
        bool same = true; /* in granules that hold data */
        for (uint64_t at = 0; at < twin->guest.size; at += GRANULE) {
            uint64_t end = np_min_u64(at + GRANULE, twin->guest.size);
            bool data = false;
            for (uint64_t s = at / SECTOR; s < end / SECTOR; s++)
                data |= !twin->guest.hole[s];
            same &= !data || memcmp(history->guest.bytes + at, twin->guest.bytes + at, end - at) == 0;
        }
        memcpy(&history->guest, &twin->guest, sizeof(twin->guest));
        assert_true(trust_beside(history, twin, seed).believed == same);
        clear(twin);
        clear(history);
    }
}

static void test_trust__a_rival_whose_index_is_damaged_cannot_be_told_from(void **state)
{
    (void)state;
    srand(1);
    struct history *history = begin(SIZE_MAX_);
    guest_write(&history->guest, 0, SIZE_MAX_, 0);
    struct history *twin = twin_of(history, NP_NO_OFFSET);
    take(history, NP_SCOPE_ALL);
    uint64_t leaf = np_stream_dir_disk(twin->points[0].stream, 0)->root.place.pos;
    twin->points[0].file.bytes[leaf + NP_RECORD_HEADER_SIZE] ^= 1;
    struct np_trust verdict = trust_beside(history, twin, 1);
    assert_false(verdict.believed);
    assert_non_null(strstr(verdict.why, "another disk"));
    clear(twin);
    clear(history);
}

/* More hashes than this disk's windows have. */
static void test_trust__a_rival_of_smaller_granules_cannot_be_told_from(void **state)
{
    (void)state;
    srand(1);
    struct history *history = begin(SIZE_MAX_), *twin = begin(SIZE_MAX_);
    guest_write(&history->guest, 0, SIZE_MAX_, 0);
    memcpy(&twin->guest, &history->guest, sizeof(twin->guest));
    history->granule = 2 * GRANULE;
    take(history, NP_SCOPE_ALL);
    take(twin, NP_SCOPE_ALL);
    struct np_trust verdict = trust_beside(history, twin, 1);
    assert_false(verdict.believed);
    assert_non_null(strstr(verdict.why, "cannot be compared"));
    clear(twin);
    clear(history);
}

/* Far from the first and the last ones the random part of the sample must see it. */
static void test_trust__a_change_in_the_middle_is_seen_by_the_sample(void **state)
{
    (void)state;
    srand(1);
    struct history *history = begin(SIZE_MAX_);
    guest_write(&history->guest, 0, SIZE_MAX_, 0);
    take(history, NP_SCOPE_ALL);
    for (uint64_t offset = GRANULE; offset < SIZE_MAX_ - (2u << 20); offset += GRANULE)
        history->guest.bytes[offset] ^= 0xff;
    struct np_trust verdict = trust(history, 1);
    assert_false(verdict.believed);
    clear(history);
}

/* The disk is cut there and grown again: behind it, and behind the cluster's rest, nothing is left. */
static void cut(struct guest *guest, uint64_t from, uint64_t cluster_end)
{
    for (uint64_t s = from / SECTOR; s < guest->size / SECTOR; s++) {
        guest->dirty[s] = false;
        guest->hole[s] |= s >= cluster_end / SECTOR;
    }
    if (cluster_end < guest->size)
        memset(guest->bytes + cluster_end, 0, guest->size - cluster_end);
}

/*
 * Shrunk inside a granule and grown again: the granule is the last one with clean data, half of it gone.
 * Chance must have no part in finding it.
 */
static void test_trust__half_a_granule_lost_by_shrinking_is_seen(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 20; seed++) {
        srand(seed);
        struct history *history = begin(SIZE_MAX_);
        uint64_t half = SIZE_MAX_ / GRANULE / 2 * GRANULE + SECTOR;
        guest_write(&history->guest, half - SECTOR + GRANULE, SIZE_MAX_, 2);
        guest_write(&history->guest, 0, half - SECTOR + GRANULE, 0);
        take(history, NP_SCOPE_ALL);
        cut(&history->guest, half, half);
        memset(history->guest.dirty, 0, sizeof(history->guest.dirty));
        struct np_trust verdict = trust(history, seed);
        assert_false(verdict.believed);
        assert_true(verdict.offset == half - SECTOR);
        clear(history);
    }
}

/*
 * Shrunk and grown twice: the rest of the first cluster is not among the last granules with clean data, which
 * are the rest of the second one, written anew. But between them clean data became clean zeroes.
 */
static void test_trust__the_first_of_two_cuts_is_seen(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 20; seed++) {
        srand(seed);
        const uint64_t cluster = (uint64_t)2 << 20, first = 30 * GRANULE;
        struct history *history = begin(SIZE_MAX_);
        struct guest *guest = &history->guest;
        guest_write(guest, 0, SIZE_MAX_, 0);
        take(history, NP_SCOPE_ALL);
        guest_write(guest, first + 5 * GRANULE, SECTOR, 0);
        cut(guest, first, 50 * GRANULE);
        memcpy(guest->bytes + SIZE_MAX_ - cluster, history->points[0].content + SIZE_MAX_ - cluster, cluster);
        for (uint64_t s = (SIZE_MAX_ - cluster) / SECTOR; s < SIZE_MAX_ / SECTOR; s++)
            guest->hole[s] = false, guest->dirty[s] = true;
        cut(guest, SIZE_MAX_ - cluster, SIZE_MAX_);
        struct np_trust verdict = trust(history, seed);
        assert_false(verdict.believed);
        assert_true(verdict.offset == 50 * GRANULE);
        clear(history);
    }
}

/*
 * What is dirty all over needs no look at the base to be believed, but the pull will walk the base's index:
 * that it is damaged must come out while the disk can still be stored whole.
 */
static void test_trust__a_damaged_index_is_found_where_the_bitmap_needs_no_look(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct history *history = begin(16 * CHUNK);
    guest_write(&history->guest, 8 * CHUNK, CHUNK, 0);
    take(history, NP_SCOPE_ALL);
    uint64_t leaf = np_stream_dir_disk(history->points[0].stream, 0)->root.place.pos;
    guest_write(&history->guest, 0, 16 * CHUNK, 0);

    struct np_stream *streams[POINTS];
    uint16_t ids[POINTS];
    struct np_chain *chain;
    struct np_trust verdict;
    struct memory_disk disk = guest_disk(&history->guest);
    struct np_source source = memory_source(&disk);
    struct np_geometry geometry = {disk.size, CHUNK, GRANULE};
    open_chain(history, 0, streams, ids, &chain);
    struct np_base base = base_of(history, chain);
    history->points[0].file.bytes[leaf + NP_RECORD_HEADER_SIZE] ^= 1;
    fails(NP_DAMAGED, np_backup_trust(&source, &geometry, &base, NULL, 0, 1, NULL, &verdict, &err));
    assert_int_equal(disk.open_readers, 0);
    np_chain_close(chain);
    clear(history);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_increment__random_histories_are_exact_at_every_point),
        cmocka_unit_test(test_increment__nothing_dirty_stores_and_reads_nothing),
        cmocka_unit_test(test_increment__dirty_and_zero_is_stored_as_zero),
        cmocka_unit_test(test_increment__clean_zero_over_data_is_stored_as_zero),
        cmocka_unit_test(test_increment__clean_data_behind_the_old_end_is_stored),
        cmocka_unit_test(test_increment__a_chain_that_does_not_add_up_is_refused),
        cmocka_unit_test(test_trust__an_honest_bitmap_is_believed),
        cmocka_unit_test(test_trust__an_image_of_a_rival_is_always_seen),
        cmocka_unit_test(test_trust__an_image_of_the_second_rival_is_seen),
        cmocka_unit_test(test_trust__a_granule_that_a_rival_ended_in_is_read),
        cmocka_unit_test(test_trust__a_rival_that_differs_where_it_is_dirty_is_none),
        cmocka_unit_test(test_trust__a_rival_of_another_history_is_always_seen),
        cmocka_unit_test(test_trust__a_rival_whose_index_is_damaged_cannot_be_told_from),
        cmocka_unit_test(test_trust__a_rival_of_smaller_granules_cannot_be_told_from),
        cmocka_unit_test(test_trust__clean_data_over_zero_is_a_proof),
        cmocka_unit_test(test_trust__an_image_that_was_swapped_is_seen_by_the_sample),
        cmocka_unit_test(test_trust__a_change_in_the_middle_is_seen_by_the_sample),
        cmocka_unit_test(test_trust__half_a_granule_lost_by_shrinking_is_seen),
        cmocka_unit_test(test_trust__the_first_of_two_cuts_is_seen),
        cmocka_unit_test(test_trust__a_damaged_index_is_found_where_the_bitmap_needs_no_look),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
