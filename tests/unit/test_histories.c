/*
 * Random histories of a disk on a random grid: a tree of fulls, increments by bitmap and by scan, and diffs,
 * with growth, shrinking and sizes that end anywhere. What each point stores is foretold by a model that
 * looks at single granules; then every point is restored and compared. NP_HISTORIES in the environment asks
 * for more of them.
 */
#include "test.h"

#include "memory.h"

#include "nbdpull/backup.h"
#include "nbdpull/restore.h"

#include <stdio.h>
#include <stdlib.h>

#define UNIT 512u /* what a guest writes */
#define ROOM (5u << 19)
#define UNITS (ROOM / UNIT)
#define POINTS 9
#define HISTORIES 40

struct point {
    struct memory_file file;
    struct np_meta *meta;
    struct np_stream *stream;
    const struct np_codec *codec;
    size_t parent; /* SIZE_MAX: it builds on nothing */
    uint64_t size;
    uint8_t content[ROOM];
    bool dirty[UNITS]; /* since this point, as its bitmap says: at least what was written */
};

struct world {
    struct np_geometry grid; /* size: now */
    uint64_t bitmap_unit;    /* granularity of the bitmaps */
    uint8_t bytes[ROOM];
    bool hole[UNITS]; /* reads as zero and is told so */
    struct np_extent extents[UNITS];
    struct point points[POINTS];
    size_t count;
};

static uint64_t pick(uint64_t below)
{
    return ((uint64_t)rand() << 24 ^ (uint64_t)rand()) % below;
}

static uint64_t pick_size(const struct world *world)
{
    uint64_t windows = ROOM / world->grid.chunk, size = pick(windows) * world->grid.chunk;
    switch (pick(4)) {
    case 0:
        return size + world->grid.chunk;
    case 1:
        return size + (1 + pick(world->grid.chunk / world->grid.granule)) * world->grid.granule;
    case 2:
        return size + (1 + pick(world->grid.chunk / UNIT)) * UNIT;
    default:
        return size + 1 + pick(world->grid.chunk);
    }
}

/* ---- what the guest does ---- */

static void mark_dirty(struct world *world, uint64_t from, uint64_t to)
{
    from = np_align_down(from, world->bitmap_unit);
    to = np_min_u64(np_align_up(to, world->bitmap_unit), ROOM);
    for (size_t p = 0; p < world->count; p++)
        for (uint64_t u = from / UNIT; u < to / UNIT; u++)
            world->points[p].dirty[u] = true;
}

enum kind { DATA, ZEROES, TRIM, SAME, KINDS };

static void guest_write(struct world *world, uint64_t from, uint64_t length, enum kind kind)
{
    uint64_t to = np_min_u64(from + length, world->grid.size);
    for (uint64_t i = from; i < to; i++) {
        if (kind == DATA)
            world->bytes[i] = (uint8_t)(pick(4) == 0 ? pick(256) : 1);
        else if (kind != SAME)
            world->bytes[i] = 0;
        if (i % UNIT == 0 && (kind != SAME || world->bytes[i] != 0))
            world->hole[i / UNIT] = kind == TRIM;
    }
    mark_dirty(world, from, to);
}

/* Whole granules become holes, and no bitmap knows: shrunk and grown again, or discarded from outside. */
static void lose(struct world *world)
{
    uint64_t granules = world->grid.size / world->grid.granule;
    if (granules == 0)
        return;
    uint64_t first = pick(granules), count = 1 + pick(np_min_u64(granules - first, 6));
    for (uint64_t i = first * world->grid.granule; i < (first + count) * world->grid.granule; i++) {
        world->bytes[i] = 0;
        world->hole[i / UNIT] = true;
    }
}

/* Data in a disk that has grown is new to a point from before it was shrunk: an honest bitmap knows that. */
static void mark_grown(struct world *world, uint64_t from)
{
    for (size_t p = 0; p < world->count; p++)
        for (uint64_t u = from / UNIT; u * UNIT < np_min_u64(world->points[p].size, world->grid.size); u++)
            world->points[p].dirty[u] = true;
}

static void resize(struct world *world)
{
    uint64_t old = world->grid.size, size = pick_size(world);
    if (pick(3) > 0 && size < old)
        size = np_min_u64(old + pick(3 * world->grid.granule), ROOM);
    bool filled = pick(2) == 0;
    for (uint64_t i = np_min_u64(old, size); i < ROOM; i++) {
        world->bytes[i] = filled && i < size ? 7 : 0;
        if (i % UNIT == 0 || world->bytes[i] != 0)
            world->hole[i / UNIT] = world->bytes[i] == 0;
    }
    if (size < old) /* the unit with the end */
        mark_dirty(world, size - 1, size);
    world->grid.size = size;
    if (filled)
        mark_grown(world, old);
}

static void live(struct world *world)
{
    if (pick(4) == 0)
        resize(world);
    for (uint64_t writes = pick(8); writes > 0; writes--) {
        uint64_t from = pick(world->grid.size) / UNIT * UNIT;
        uint64_t most = pick(4) == 0 ? world->grid.size : 4 * world->grid.granule;
        guest_write(world, from, (1 + pick(most) / UNIT) * UNIT, (enum kind)pick(KINDS));
    }
    if (pick(4) == 0)
        lose(world);
}

/* ---- the source ---- */

static struct memory_disk disk_now(struct world *world, const bool *dirty)
{
    static const uint64_t cuts[] = {0, 0, UNIT, 7 * UNIT, 65536 + UNIT, 1 << 20};
    size_t count = 0;
    for (uint64_t at = 0; at < world->grid.size; at += UNIT) {
        uint64_t length = np_min_u64(UNIT, world->grid.size - at);
        uint32_t flags = (dirty != NULL && dirty[at / UNIT] ? NP_EXTENT_DIRTY : 0) |
                         (world->hole[at / UNIT] ? NP_EXTENT_ZERO : 0);
        if (count > 0 && world->extents[count - 1].flags == flags)
            world->extents[count - 1].length += length;
        else
            world->extents[count++] = (struct np_extent){at, length, flags};
    }
    return (struct memory_disk){.bytes = world->bytes,
                                .size = world->grid.size,
                                .extents = world->extents,
                                .extent_count = count,
                                .cut = cuts[pick(NP_ARRAY_SIZE(cuts))],
                                .fail_read = NP_NO_OFFSET,
                                .fail_extents = NP_NO_OFFSET};
}

/* ---- the model: what a point stores ---- */

static uint64_t model_stored(const struct world *world, const struct point *base, enum np_scope scope)
{
    uint64_t stored = 0, granule = world->grid.granule;
    for (uint64_t at = 0; at < world->grid.size; at += granule) {
        uint64_t length = np_min_u64(granule, world->grid.size - at);
        bool holes = true, dirty = false;
        for (uint64_t u = at / UNIT; u * UNIT < at + length; u++) {
            holes &= world->hole[u];
            dirty |= base != NULL && base->dirty[u];
        }
        bool same_shape = base != NULL && at < base->size && np_min_u64(granule, base->size - at) == length;
        bool differs = !same_shape || memcmp(base->content + at, world->bytes + at, length) != 0;
        if (scope == NP_SCOPE_DIRTY)
            differs = !same_shape || dirty || (holes && !np_is_zero(base->content + at, length));
        stored += differs ? length : 0;
    }
    return stored;
}

static struct np_hash128 model_digest(const struct world *world, const struct point *point)
{
    struct np_hash128 sum = {0};
    uint64_t granule = world->grid.granule;
    for (uint64_t g = 0; g * granule < point->size; g++) {
        uint64_t length = np_min_u64(granule, point->size - g * granule);
        if (!np_is_zero(point->content + g * granule, length))
            np_digest_add(&sum, g, (uint32_t)length, np_hash128(point->content + g * granule, length));
    }
    return sum;
}

/* ---- points ---- */

static size_t open_path(const struct world *world, size_t index, struct np_stream **streams,
                        struct np_chain **chain)
{
    struct np_error err = NP_ERROR_INIT;
    static const uint16_t ids[POINTS];
    size_t count = 0;
    for (; index != SIZE_MAX; index = world->points[index].parent)
        streams[count++] = world->points[index].stream;
    ok(np_chain_open(streams, ids, count, "vda", true, chain, &err));
    return count;
}

static struct np_base base_of(const struct world *world, size_t parent, bool digest)
{
    struct np_base base = {.size = world->points[parent].size};
    struct np_stream *streams[POINTS];
    const struct np_totals *totals = np_stream_totals(world->points[parent].stream, 0);
    open_path(world, parent, streams, &base.chain);
    base.digest_known = digest && totals->digest_known;
    base.digest = totals->digest;
    return base;
}

static void describe(struct world *world, struct point *point, const struct np_base *base)
{
    struct np_error err = NP_ERROR_INIT;
    point->meta = memory_meta(&world->grid, 1, &err);
    struct np_meta_disk *disk = &point->meta->disks[0];
    disk->state.bytes[1] = point->meta->stream.bytes[15] = (uint8_t)(world->count + 1);
    point->meta->point_disks[0].state = disk->state;
    point->meta->point_disks[0].stream = point->meta->stream;
    if (base == NULL)
        return;
    strcpy(disk->level, "inc");
    strcpy(disk->how, "bitmap");
    strcpy(disk->base_point, "0001");
    disk->base_state = world->points[point->parent].meta->disks[0].state;
    disk->base_size = base->size;
    disk->base_digest_known = base->digest_known;
    disk->base_digest = base->digest_known ? base->digest : (struct np_hash128){0};
}

static void write_stream(struct point *point, const struct np_backup_options *options,
                         const struct np_source *source, const struct np_geometry *grid,
                         struct np_backup_counts *counts)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_sink sink = memory_sink(&point->file);
    struct np_writer *writer;
    bool digest = options->base != NULL && options->base->digest_known;
    ok(np_writer_new(&sink, point->meta, &writer, &err));
    ok(np_backup_run(options, source, grid, 0, "vda", writer, counts, &err));
    ok(np_writer_disk_end(writer, 0, digest ? &counts->replaced : NULL, &err));
    ok(np_writer_finish(writer, &err));
    np_writer_free(writer);
    struct np_input_at input = memory_input_at(&point->file);
    ok(np_stream_open(&input, "point", &point->stream, &err));
}

/* Is data of the parent zero now, of which its bitmap knows nothing? */
static bool model_lost(const struct world *world, const struct point *base)
{
    uint64_t granule = world->grid.granule;
    for (uint64_t at = 0; at < world->grid.size && at < base->size; at += granule) {
        uint64_t length = np_min_u64(granule, world->grid.size - at);
        bool lost = np_min_u64(granule, base->size - at) == length && !np_is_zero(base->content + at, length);
        for (uint64_t u = at / UNIT; u * UNIT < at + length; u++)
            lost &= world->hole[u] && !base->dirty[u];
        if (lost)
            return true;
    }
    return false;
}

/* An honest bitmap is believed, and what the pull stores of one that is not is right all the same. */
static void check_trust(struct world *world, size_t parent, const struct np_source *source)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_base base = base_of(world, parent, true);
    struct np_trust trust;
    ok(np_backup_trust(source, &world->grid, &base, NULL, 0, pick(1000), NULL, &trust, &err));
    if (trust.believed == model_lost(world, &world->points[parent]))
        fail_msg("believed: %d, %s at %ju", trust.believed, trust.why, (uintmax_t)trust.offset);
    np_chain_close(base.chain);
}

static size_t pick_parent(const struct world *world)
{
    if (world->count == 0 || pick(12) == 0)
        return SIZE_MAX;
    size_t parent = pick(3) == 0 ? pick(world->count) : world->count - 1;
    return world->points[parent].size <= world->grid.size ? parent : SIZE_MAX; /* shrunk: a full */
}

static void take(struct world *world)
{
    struct point *point = &world->points[world->count];
    point->parent = pick_parent(world);
    bool based = point->parent != SIZE_MAX;
    const struct point *parent = based ? &world->points[point->parent] : NULL;
    enum np_scope scope = !based ? NP_SCOPE_ALL : pick(2) == 0 ? NP_SCOPE_SCAN : NP_SCOPE_DIRTY;
    struct memory_disk disk = disk_now(world, based ? parent->dirty : NULL);
    struct np_source source = memory_source(&disk);
    struct np_base base = {0};
    if (scope == NP_SCOPE_DIRTY)
        check_trust(world, point->parent, &source);
    if (based)
        base = base_of(world, point->parent, pick(8) > 0);

    struct np_backup_counts counts;
    const struct np_backup_options options = {.workers = 1 + (unsigned)pick(4),
                                              .codec = np_codec_find((uint8_t)pick(3)),
                                              .scope = scope,
                                              .base = based ? &base : NULL};
    describe(world, point, options.base);
    write_stream(point, &options, &source, &world->grid, &counts);
    assert_int_equal(counts.data + counts.zero, model_stored(world, parent, scope));
    assert_int_equal(counts.covered, world->grid.size);
    np_chain_close(base.chain);

    point->size = world->grid.size;
    memcpy(point->content, world->bytes, sizeof(point->content));
    world->count++;
}

static void check_point(const struct world *world, size_t index)
{
    struct np_error err = NP_ERROR_INIT;
    const struct point *point = &world->points[index];
    static const uint16_t ids[POINTS];
    struct np_stream *streams[POINTS];
    struct np_chain *chain;
    struct memory_image image;
    struct np_restore_counts counts;
    const struct np_restore_options options = {.workers = 1 + (unsigned)pick(4)};
    memory_image_init(&image, point->size);
    struct np_restore_disk disk = {
        .target_name = "vda", .geometry = world->grid, .ops = &memory_target_ops, .target = &image};
    disk.geometry.size = point->size;
    open_path(world, index, streams, &chain);
    ok(np_restore_chain(&options, chain, streams, ids, &disk, &counts, &err));
    for (uint64_t i = 0; i < point->size; i++)
        if (image.bytes[i] != point->content[i] || image.written[i] > 1)
            fail_msg("point %zu, byte %ju: %u, not %u; written %u times", index, (uintmax_t)i, image.bytes[i],
                     point->content[i], image.written[i]);
    const struct np_totals *totals = np_stream_totals(point->stream, 0);
    assert_true(!totals->digest_known || np_hash128_equal(totals->digest, model_digest(world, point)));
    assert_true(totals->digest_known || point->parent != SIZE_MAX);
    np_chain_close(chain);
    memory_image_clear(&image);
}

static void run_history(unsigned seed)
{
    srand(seed);
    struct world *world = calloc(1, sizeof(*world));
    assert_non_null(world);
    world->grid.chunk = NP_CHUNK_MIN << pick(5);
    do
        world->grid.granule = NP_GRANULE_MIN << pick(9);
    while (world->grid.granule > world->grid.chunk ||
           world->grid.chunk / world->grid.granule > NP_GRANULES_MAX);
    world->bitmap_unit = UNIT << pick(8);
    world->grid.size = pick_size(world);
    memset(world->hole, true, sizeof(world->hole));
    while (world->count < POINTS) {
        live(world);
        take(world);
    }
    for (size_t i = 0; i < world->count; i++)
        check_point(world, i);
    for (size_t i = 0; i < world->count; i++) {
        np_stream_close(world->points[i].stream);
        np_meta_free(world->points[i].meta);
        free(world->points[i].file.bytes);
    }
    free(world);
}

static void test_histories__every_point_stores_what_differs_and_comes_back_exactly(void **state)
{
    (void)state;
    const char *asked = getenv("NP_HISTORIES"), *from = getenv("NP_HISTORIES_FROM");
    unsigned first = from != NULL ? (unsigned)strtoul(from, NULL, 10) : 1;
    unsigned count = asked != NULL ? (unsigned)strtoul(asked, NULL, 10) : HISTORIES;
    for (unsigned seed = first; seed < first + count; seed++) {
        run_history(seed);
        if (asked != NULL && seed % 100 == 0)
            print_message("seed %u\n", seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_histories__every_point_stores_what_differs_and_comes_back_exactly),
    };
    return cmocka_run_group_tests_name("histories", tests, NULL, NULL);
}
