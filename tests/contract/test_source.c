/* The NBD source against real servers: qemu-nbd with images and dirty bitmaps, nbdkit for everything that is
 * odd. */
#include "contract/server.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"
#include "nbdpull/nbd.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>

#define KIB UINT64_C(1024)
#define MIB (KIB * KIB)
#define EXTENTS_MAX 4096

struct map {
    struct np_extent list[EXTENTS_MAX];
    size_t count;
};

/* A source with one reader. */
struct opened {
    struct np_source source;
    void *reader;
};

static void open_source(struct opened *opened, const struct server *server, const char *export_name,
                        const char *bitmap)
{
    struct np_error err = NP_ERROR_INIT;
    ok(np_nbd_source_open(server->listener.path, export_name, bitmap, NULL, &opened->source, &err));
    ok(opened->source.ops->reader_open(opened->source.ctx, &opened->reader, &err));
}

static void close_source(struct opened *opened)
{
    opened->source.ops->reader_close(opened->reader);
    np_nbd_source_close(&opened->source);
}

/* All extents of the disk, asked for in the way given, neighbours with equal flags as one. */
static void read_map(struct opened *opened, uint64_t step, size_t room, struct map *map)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_extent some[64];
    size_t count;
    map->count = 0;
    for (uint64_t pos = 0; pos < opened->source.size;) {
        uint64_t length = np_min_u64(step, opened->source.size - pos), end = pos + length;
        ok(opened->source.ops->extents(opened->reader, pos, length, some, room, &count, &err));
        assert_in_range(count, 1, room);
        for (size_t i = 0; i < count; i++) {
            assert_int_equal(some[i].offset, pos);
            assert_in_range(some[i].length, 1, end - pos);
            pos += some[i].length;
            if (map->count > 0 && map->list[map->count - 1].flags == some[i].flags) {
                map->list[map->count - 1].length += some[i].length;
            } else {
                assert_true(map->count < EXTENTS_MAX);
                map->list[map->count++] = some[i];
            }
        }
    }
}

static void assert_map(const struct map *map, const struct np_extent *expected, size_t count)
{
    assert_int_equal(map->count, count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(map->list[i].offset, expected[i].offset);
        assert_int_equal(map->list[i].length, expected[i].length);
        assert_int_equal(map->list[i].flags, expected[i].flags);
    }
}

/* The read must give `value` everywhere. */
static void assert_filled(struct opened *opened, uint64_t offset, size_t length, uint8_t value)
{
    struct np_error err = NP_ERROR_INIT;
    NP_AUTO_FREE uint8_t *buffer = malloc(length);
    assert_non_null(buffer);
    memset(buffer, (uint8_t)~value, length);
    ok(opened->source.ops->read(opened->reader, buffer, offset, length, &err));
    for (size_t i = 0; i < length; i++)
        assert_int_equal(buffer[i], value);
}

/* ---- images ---- */

static char directory[] = "/tmp/nbdpull-test-XXXXXX";
static char image[64];

static int make_image(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(directory));
    snprintf(image, sizeof(image), "%s/disk.qcow2", directory);
    run("qemu-img", "create", "-q", "-f", "qcow2", image, "8M");
    run("qemu-io", "-f", "qcow2", "-c", "write -P 0x11 0 1M", "-c", "write -z 1M 1M", "-c",
        "write -P 0x22 4M 1M", image);
    run("qemu-img", "bitmap", "--add", "-f", "qcow2", image, "base");
    run("qemu-io", "-f", "qcow2", "-c", "write -P 0x33 512k 64k", "-c", "write -z 4M 128k", image);
    return 0;
}

static int remove_image(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    ok(np_dir_remove(AT_FDCWD, directory, directory, &err));
    return 0;
}

static void test_source__a_bitmap_and_allocation_give_one_map(void **state)
{
    (void)state;
    const uint32_t zero = NP_EXTENT_ZERO, dirty = NP_EXTENT_DIRTY;
    const struct np_extent expected[] = {
        {0, 512 * KIB, 0},        {512 * KIB, 64 * KIB, dirty},       {576 * KIB, 448 * KIB, 0},
        {1 * MIB, 3 * MIB, zero}, {4 * MIB, 128 * KIB, zero | dirty}, {4 * MIB + 128 * KIB, 896 * KIB, 0},
        {5 * MIB, 3 * MIB, zero},
    };
    struct server server;
    struct opened opened;
    static struct map map;
    server_run(&server, "qemu-nbd", "-r", "-t", "-e", "4", "-f", "qcow2", "-x", "vda", "-B", "base", image);
    open_source(&opened, &server, "vda", "base");
    assert_int_equal(opened.source.size, 8 * MIB);

    const struct {
        uint64_t step;
        size_t room;
    } ways[] = {{8 * MIB, 64}, {8 * MIB, 1}, {1000003, 2}, {64 * KIB, 1}, {UINT64_MAX, 3}};
    for (size_t i = 0; i < NP_ARRAY_SIZE(ways); i++) {
        read_map(&opened, ways[i].step, ways[i].room, &map);
        assert_map(&map, expected, NP_ARRAY_SIZE(expected));
    }
    assert_filled(&opened, 512 * KIB, 64 * KIB, 0x33);
    assert_filled(&opened, 576 * KIB + 1, 448 * KIB - 1, 0x11);
    assert_filled(&opened, 4 * MIB, 128 * KIB, 0);
    assert_filled(&opened, 5 * MIB - 3, 3, 0x22);
    close_source(&opened);
    server_stop(&server);
}

static void test_source__without_a_bitmap_nothing_is_dirty(void **state)
{
    (void)state;
    struct server server;
    struct opened opened;
    static struct map map;
    server_run(&server, "qemu-nbd", "-r", "-t", "-f", "qcow2", "-B", "base", image);
    open_source(&opened, &server, "", NULL);
    read_map(&opened, UINT64_MAX, 64, &map);
    assert_int_equal(map.count, 4);
    for (size_t i = 0; i < map.count; i++)
        assert_int_equal(map.list[i].flags & ~(uint32_t)NP_EXTENT_ZERO, 0);
    close_source(&opened);
    server_stop(&server);
}

static void test_source__a_bitmap_that_is_not_offered_is_an_error(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_source source;
    struct server server;
    server_run(&server, "qemu-nbd", "-r", "-t", "-f", "qcow2", "-B", "base", image);
    fails(NP_FAILED, np_nbd_source_open(server.listener.path, "", "other", NULL, &source, &err));
    assert_non_null(strstr(err.message, "does not offer qemu:dirty-bitmap:other"));
    server_stop(&server);
}

static void test_source__errors_name_export_and_socket(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_source source;
    struct server server;
    server_run(&server, "qemu-nbd", "-r", "-t", "-f", "qcow2", "-x", "vda", image);
    fails(NP_FAILED, np_nbd_source_open(server.listener.path, "vdb", NULL, NULL, &source, &err));
    assert_non_null(strstr(err.message, "export 'vdb' on /"));
    assert_non_null(strstr(err.message, "No such file"));
    server_stop(&server);
    fails(NP_FAILED, np_nbd_source_open(server.listener.path, "vda", NULL, NULL, &source, &err));
    assert_non_null(strstr(err.message, "No such file"));
    char longer[200] = {[0 ... 150] = 'x'};
    fails(NP_FAILED, np_nbd_source_open(longer, "vda", NULL, NULL, &source, &err));
    assert_non_null(strstr(err.message, "longer than 107 bytes"));
}

/* QEMU shows whole sectors: a raw file of 1000 bytes is a disk of 1024. */
static void test_source__a_raw_disk_of_odd_size_is_read_to_its_end(void **state)
{
    (void)state;
    char raw[64];
    struct server server;
    struct opened opened;
    snprintf(raw, sizeof(raw), "%s/odd.raw", directory);
    run("sh", "-c", "head -c 132072 /dev/zero | tr '\\0' A > \"$1\"", "sh", raw); /* 128 KiB + 1000 */
    server_run(&server, "qemu-nbd", "-r", "-t", "-f", "raw", raw);
    open_source(&opened, &server, "", NULL);
    assert_int_equal(opened.source.size, 128 * KIB + 1024);
    assert_filled(&opened, 128 * KIB, 1000, 'A');
    assert_filled(&opened, 128 * KIB + 1000, 24, 0);
    assert_filled(&opened, 1, 128 * KIB, 'A');
    close_source(&opened);
    server_stop(&server);
}

/* ---- what nbdkit can be made to do ---- */

/* The pattern plugin: each 8 bytes hold their offset, big-endian. */
static void assert_pattern(struct opened *opened, uint64_t offset, size_t length)
{
    struct np_error err = NP_ERROR_INIT;
    NP_AUTO_FREE uint8_t *buffer = calloc(1, length);
    assert_non_null(buffer);
    ok(opened->source.ops->read(opened->reader, buffer, offset, length, &err));
    for (size_t i = 0; i < length; i++) {
        uint64_t at = offset + i;
        uint64_t word = np_align_down(at, 8);
        assert_int_equal(buffer[i], (uint8_t)(word >> (56 - 8 * (at % 8))));
    }
}

static void test_source__a_size_that_is_odd_is_kept(void **state)
{
    (void)state;
    struct server server;
    struct opened opened;
    static struct map map;
    server_run(&server, "nbdkit", "-f", "pattern", "size=1000003");
    open_source(&opened, &server, "", NULL);
    assert_int_equal(opened.source.size, 1000003);
    read_map(&opened, UINT64_MAX, 64, &map);
    assert_map(&map, (const struct np_extent[]){{0, 1000003, 0}}, 1);
    assert_pattern(&opened, 0, 1000003);
    assert_pattern(&opened, 1000002, 1);
    close_source(&opened);
    server_stop(&server);
}

/* The policy filter refuses every request that breaks the limits. */
static void test_source__block_limits_of_the_server_are_kept(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct server server;
    struct opened opened;
    struct np_extent extent;
    size_t count;
    uint32_t minimum, preferred;
    server_run(&server, "nbdkit", "-f", "--filter=blocksize-policy", "pattern", "size=1M",
               "blocksize-minimum=4096", "blocksize-preferred=32K", "blocksize-maximum=64K",
               "blocksize-error-policy=error");
    open_source(&opened, &server, "", NULL);
    np_nbd_source_blocks(&opened.source, &minimum, &preferred);
    assert_int_equal(minimum, 4096);
    assert_int_equal(preferred, 32 * KIB);
    assert_pattern(&opened, 0, MIB);
    assert_pattern(&opened, 4095, 2);
    assert_pattern(&opened, 1, 300001);
    assert_pattern(&opened, MIB - 5000, 5000);
    ok(opened.source.ops->extents(opened.reader, 1, 10, &extent, 1, &count, &err));
    assert_int_equal(extent.offset, 1);
    assert_int_equal(extent.length, 10);
    close_source(&opened);
    server_stop(&server);
}

static void test_source__a_disk_that_ends_inside_a_block_is_refused(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_source source;
    struct server server;
    server_run(&server, "nbdkit", "-f", "--filter=blocksize-policy", "pattern", "size=6000",
               "blocksize-minimum=512");
    fails(NP_FAILED, np_nbd_source_open(server.listener.path, "", NULL, NULL, &source, &err));
    assert_non_null(strstr(err.message, "no multiple of the server's minimum block"));
    server_stop(&server);
}

static void test_source__no_structured_replies_is_an_error(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct np_source source;
    struct server server;
    server_run(&server, "nbdkit", "-f", "--no-sr", "memory", "1M");
    fails(NP_FAILED, np_nbd_source_open(server.listener.path, "", NULL, NULL, &source, &err));
    assert_non_null(strstr(err.message, "structured replies"));
    server_stop(&server);
}

static void test_source__a_failed_read_is_an_error_with_its_place(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct server server;
    struct opened opened;
    char buffer[512];
    server_run(&server, "nbdkit", "-f", "--filter=error", "memory", "1M", "error-pread=EIO",
               "error-pread-rate=100%");
    open_source(&opened, &server, "", NULL);
    fails(NP_FAILED, opened.source.ops->read(opened.reader, buffer, 4096, 512, &err));
    assert_non_null(strstr(err.message, "Input/output error"));
    assert_int_equal(err.offset, 4096);
    close_source(&opened);
    server_stop(&server);
}

static void test_source__a_failed_block_status_is_an_error(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct server server;
    struct opened opened;
    struct np_extent extent;
    size_t count;
    server_run(&server, "nbdkit", "-f", "--filter=error", "memory", "1M", "error-extents=EIO",
               "error-extents-rate=100%");
    open_source(&opened, &server, "", NULL);
    fails(NP_FAILED, opened.source.ops->extents(opened.reader, 0, MIB, &extent, 1, &count, &err));
    assert_non_null(strstr(err.message, "Input/output error"));
    assert_filled(&opened, 0, 4096, 0);
    close_source(&opened);
    server_stop(&server);
}

/* Every 1000 bytes another state, for whatever range is asked for: holes that do not read as zeroes among
 * them. */
static void test_source__extents_with_odd_cuts(void **state)
{
    (void)state;
    struct server server;
    struct opened opened;
    static struct map map;
    server_run(&server, "nbdkit", "-f", "eval", "get_size=echo 99999", "pread=head -c $3 /dev/zero",
               "can_extents=exit 0",
               "extents=o=$4; e=$(($3+$4)); while [ $o -lt $e ]; do n=$(($o/1000)); "
               "echo $o $(( ($n+1)*1000 - $o )) $(($n%4)); o=$((($n+1)*1000)); done");
    open_source(&opened, &server, "", NULL);
    read_map(&opened, 33333, 7, &map);
    assert_int_equal(map.count, 50);
    for (size_t i = 0; i < map.count; i++) {
        assert_int_equal(map.list[i].offset, 2000 * i);
        assert_int_equal(map.list[i].flags, i % 2 == 0 ? 0 : NP_EXTENT_ZERO);
    }
    close_source(&opened);
    server_stop(&server);
}

/* ---- a connection that ends ---- */

struct read_later {
    struct opened *opened;
    struct np_error err;
    int status;
};

static void *read_in_thread(void *ctx)
{
    struct read_later *later = ctx;
    char buffer[512];
    later->err = (struct np_error)NP_ERROR_INIT;
    later->status = later->opened->source.ops->read(later->opened->reader, buffer, 0, 512, &later->err);
    return NULL;
}

static void let_it_begin(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 100 * 1000 * 1000}, NULL);
}

static void test_source__a_server_that_dies_in_a_read_is_a_lost_connection(void **state)
{
    (void)state;
    struct server server;
    struct opened opened;
    struct read_later later = {.opened = &opened};
    pthread_t thread;
    server_run(&server, "nbdkit", "-f", "--filter=delay", "memory", "1M", "rdelay=60");
    open_source(&opened, &server, "", NULL);
    assert_int_equal(pthread_create(&thread, NULL, read_in_thread, &later), 0);
    let_it_begin();
    server_kill(&server);
    pthread_join(thread, NULL);
    assert_int_equal(later.status, -1);
    assert_int_equal(later.err.class, NP_FAILED);
    assert_non_null(strstr(later.err.message, "the NBD connection was lost"));
    assert_non_null(strstr(later.err.message, "the guest was stopped"));

    struct np_error err = NP_ERROR_INIT;
    struct np_extent extent;
    size_t count;
    fails(NP_FAILED, opened.source.ops->extents(opened.reader, 0, MIB, &extent, 1, &count, &err));
    assert_non_null(strstr(err.message, "the NBD connection was lost"));
    close_source(&opened);
    server_stop(&server);
}

static void test_source__interrupt_ends_a_read_and_later_readers(void **state)
{
    (void)state;
    struct np_error err = NP_ERROR_INIT;
    struct server server;
    struct opened opened;
    struct read_later later = {.opened = &opened};
    struct timespec begin, end;
    pthread_t thread;
    void *reader = NULL;
    server_run(&server, "nbdkit", "-f", "--filter=delay", "memory", "1M", "rdelay=60");
    open_source(&opened, &server, "", NULL);
    assert_int_equal(pthread_create(&thread, NULL, read_in_thread, &later), 0);
    let_it_begin();
    clock_gettime(CLOCK_MONOTONIC, &begin);
    opened.source.ops->interrupt(opened.source.ctx);
    pthread_join(thread, NULL);
    clock_gettime(CLOCK_MONOTONIC, &end);
    assert_true(end.tv_sec - begin.tv_sec < 5);
    assert_int_equal(later.status, -1);
    assert_non_null(strstr(later.err.message, "interrupted"));
    fails(NP_FAILED, opened.source.ops->reader_open(opened.source.ctx, &reader, &err));
    close_source(&opened);
    server_kill(&server); /* it would finish its delay first */
    server_stop(&server);
}

/* ---- several readers ---- */

struct sweep {
    struct opened opened;
    pthread_t thread;
    uint64_t data; /* bytes that are not zero extents */
    bool wrong;
};

static void *sweep_disk(void *ctx)
{
    struct sweep *sweep = ctx;
    struct np_error err = NP_ERROR_INIT;
    const struct np_source *source = &sweep->opened.source;
    static const size_t room = 16;
    struct np_extent extents[16];
    size_t count = 0;
    NP_AUTO_FREE uint8_t *buffer = malloc(MIB);
    void *reader = NULL;
    sweep->wrong = buffer == NULL || source->ops->reader_open(source->ctx, &reader, &err) < 0;
    for (uint64_t pos = 0; !sweep->wrong && pos < source->size;) {
        sweep->wrong = source->ops->extents(reader, pos, source->size - pos, extents, room, &count, &err) < 0;
        for (size_t i = 0; i < count && !sweep->wrong; i++) {
            size_t length = np_min_u64(extents[i].length, MIB);
            sweep->wrong = source->ops->read(reader, buffer, extents[i].offset, length, &err) < 0;
            bool zero = (extents[i].flags & NP_EXTENT_ZERO) != 0;
            sweep->wrong = sweep->wrong || (zero && !np_is_zero(buffer, length));
            sweep->data += zero ? 0 : extents[i].length;
            pos += extents[i].length;
        }
    }
    source->ops->reader_close(reader);
    return NULL;
}

static void test_source__readers_of_several_threads_see_the_same(void **state)
{
    (void)state;
    struct server server;
    struct sweep sweeps[3] = {0};
    server_run(&server, "nbdkit", "-f", "sparse-random", "size=256M", "seed=3", "runlength=65536",
               "percent=20");
    for (size_t i = 0; i < 3; i++) {
        open_source(&sweeps[i].opened, &server, "", NULL);
        assert_int_equal(pthread_create(&sweeps[i].thread, NULL, sweep_disk, &sweeps[i]), 0);
    }
    for (size_t i = 0; i < 3; i++) {
        pthread_join(sweeps[i].thread, NULL);
        assert_false(sweeps[i].wrong);
        assert_true(sweeps[i].data > 0);
        assert_int_equal(sweeps[i].data, sweeps[0].data);
        close_source(&sweeps[i].opened);
    }
    server_stop(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_source__a_bitmap_and_allocation_give_one_map),
        cmocka_unit_test(test_source__without_a_bitmap_nothing_is_dirty),
        cmocka_unit_test(test_source__a_bitmap_that_is_not_offered_is_an_error),
        cmocka_unit_test(test_source__errors_name_export_and_socket),
        cmocka_unit_test(test_source__a_raw_disk_of_odd_size_is_read_to_its_end),
        cmocka_unit_test(test_source__a_size_that_is_odd_is_kept),
        cmocka_unit_test(test_source__block_limits_of_the_server_are_kept),
        cmocka_unit_test(test_source__a_disk_that_ends_inside_a_block_is_refused),
        cmocka_unit_test(test_source__no_structured_replies_is_an_error),
        cmocka_unit_test(test_source__a_failed_read_is_an_error_with_its_place),
        cmocka_unit_test(test_source__a_failed_block_status_is_an_error),
        cmocka_unit_test(test_source__extents_with_odd_cuts),
        cmocka_unit_test(test_source__a_server_that_dies_in_a_read_is_a_lost_connection),
        cmocka_unit_test(test_source__interrupt_ends_a_read_and_later_readers),
        cmocka_unit_test(test_source__readers_of_several_threads_see_the_same),
    };
    return cmocka_run_group_tests(tests, make_image, remove_image);
}
