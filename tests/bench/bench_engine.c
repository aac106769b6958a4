/*
 * What the engine alone can do, without QEMU, NBD and files: a source in memory, a stream that goes nowhere.
 *
 *   bench_engine pack FILE CODEC
 *       processor seconds of zero test, hash and codec over the file's data
 *   bench_engine scale FILE CODEC WORKERS
 *       the whole engine on the file, with 1, 2, 4, ... workers
 *   bench_engine pull SOCKET EXPORT CODEC WORKERS
 *       the whole engine on an NBD export
 *   bench_engine extents COUNT CODEC
 *       COUNT separate dirty granules of 64 KiB, every other one of a disk
 *
 * Prints one JSON object a line. Run by tools/bench; no test, it only measures.
 */
#include "memory.h"

#include "backup/pack.h"

#include "nbdpull/backup.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/nbd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define GRANULE NP_GRANULE_DEFAULT
#define CHUNK NP_CHUNK_DEFAULT

static void die(const char *what)
{
    fprintf(stderr, "bench_engine: %s\n", what);
    exit(1);
}

static double seconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* ---- a file as a disk ---- */

struct disk {
    int fd;
    const uint8_t *bytes;
    uint64_t size;
};

static void open_disk(const char *path, struct disk *disk)
{
    struct stat st;
    disk->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (disk->fd < 0 || fstat(disk->fd, &st) < 0)
        die(path);
    disk->size = (uint64_t)st.st_size;
    disk->bytes = mmap(NULL, disk->size, PROT_READ, MAP_SHARED, disk->fd, 0);
    if (disk->bytes == MAP_FAILED)
        die("mmap");
}

static int disk_open(void *ctx, void **reader, struct np_error *err)
{
    (void)err;
    *reader = ctx;
    return 0;
}

static void disk_close(void *reader)
{
    (void)reader;
}

static void disk_interrupt(void *ctx)
{
    (void)ctx;
}

/* One extent: data up to the next hole, or the hole. */
static int disk_extents(void *reader, uint64_t offset, uint64_t length, struct np_extent *extents,
                        size_t room, size_t *count, struct np_error *err)
{
    (void)room;
    (void)err;
    const struct disk *disk = reader;
    off_t data = lseek(disk->fd, (off_t)offset, SEEK_DATA);
    bool hole = data < 0 || (uint64_t)data > offset;
    uint64_t end = disk->size;
    if (hole && data >= 0)
        end = (uint64_t)data;
    else if (!hole)
        end = (uint64_t)lseek(disk->fd, (off_t)offset, SEEK_HOLE);
    extents[0] = (struct np_extent){offset, np_min_u64(end - offset, length), hole ? NP_EXTENT_ZERO : 0};
    *count = 1;
    return 0;
}

static int disk_read(void *reader, void *buffer, uint64_t offset, size_t length, struct np_error *err)
{
    (void)err;
    memcpy(buffer, ((const struct disk *)reader)->bytes + offset, length);
    return 0;
}

static const struct np_source_ops disk_ops = {disk_open, disk_extents, disk_read, disk_close, disk_interrupt};

/* ---- a disk of separate extents, whose content is a part of this program ---- */

static int alternate_extents(void *reader, uint64_t offset, uint64_t length, struct np_extent *extents,
                             size_t room, size_t *count, struct np_error *err)
{
    (void)reader;
    (void)err;
    for (*count = 0; *count < room && length > 0; (*count)++) {
        uint64_t part = np_min_u64(GRANULE - offset % GRANULE, length);
        bool dirty = offset / GRANULE % 2 == 0;
        extents[*count] = (struct np_extent){offset, part, dirty ? NP_EXTENT_DIRTY : 0};
        offset += part;
        length -= part;
    }
    return 0;
}

static int pattern_read(void *reader, void *buffer, uint64_t offset, size_t length, struct np_error *err)
{
    (void)err;
    memcpy(buffer, ((const struct disk *)reader)->bytes + offset % CHUNK, length);
    return 0;
}

static const struct np_source_ops alternate_ops = {disk_open, alternate_extents, pattern_read, disk_close,
                                                   disk_interrupt};

/* ---- the engine ---- */

static int drop(void *ctx, struct iovec *pieces, int count, struct np_error *err)
{
    (void)err;
    uint64_t *size = ctx;
    for (int i = 0; i < count; i++)
        *size += pieces[i].iov_len;
    return 0;
}

static void make_increment(struct np_meta *meta)
{
    struct np_meta_disk *disk = &meta->disks[0];
    snprintf(disk->level, sizeof(disk->level), "inc");
    snprintf(disk->how, sizeof(disk->how), "bitmap");
    snprintf(disk->base_point, sizeof(disk->base_point), "0001");
    disk->base_state.bytes[0] = 0x77;
    disk->base_size = disk->geometry.size;
}

static void run(const struct np_source *source, enum np_scope scope, const char *codec, unsigned workers)
{
    struct np_error err = NP_ERROR_INIT;
    const struct np_geometry geometry = {source->size, CHUNK, GRANULE};
    struct np_meta *meta = memory_meta(&geometry, 1, &err);
    if (meta == NULL)
        die(err.message);
    if (scope == NP_SCOPE_DIRTY)
        make_increment(meta);
    uint64_t size = 0;
    const struct np_sink sink = {.append = drop, .ctx = &size};
    struct np_writer *writer;
    struct np_backup_options options = {.workers = workers, .scope = scope};
    struct np_backup_counts counts;
    options.codec = np_codec_parse(codec, &options.level, &err);
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    double wall = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    if (options.codec == NULL || np_writer_new(&sink, meta, &writer, &err) < 0 ||
        np_backup_run(&options, source, &geometry, 0, "vda", writer, &counts, &err) < 0 ||
        np_writer_disk_end(writer, 0, NULL, &err) < 0 || np_writer_finish(writer, &err) < 0)
        die(err.message);
    wall = seconds(CLOCK_MONOTONIC) - wall;
    cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    getrusage(RUSAGE_SELF, &after);
    printf("{\"workers\": %u, \"read_bytes\": %ju, \"stream_bytes\": %ju, \"wall\": %.4f, \"cpu\": %.4f, "
           "\"waits\": %ld, \"peak_kib\": %ld}\n",
           workers, (uintmax_t)counts.read, (uintmax_t)size, wall, cpu, after.ru_nvcsw - before.ru_nvcsw,
           after.ru_maxrss);
    np_writer_free(writer);
    np_meta_free(meta);
}

static void scale(const char *path, const char *codec, unsigned most)
{
    struct disk disk;
    open_disk(path, &disk);
    const struct np_source source = {&disk_ops, &disk, disk.size};
    for (unsigned workers = 1; workers <= most; workers *= 2)
        run(&source, NP_SCOPE_ALL, codec, workers);
}

static void pull(const char *socket, const char *export_name, const char *codec, unsigned workers)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_source source;
    if (np_nbd_source_open(socket, export_name, NULL, NULL, &source, &err) < 0)
        die(err.message);
    run(&source, NP_SCOPE_ALL, codec, workers);
    np_nbd_source_close(&source);
}

/* A disk of COUNT dirty granules; before it one of half as many, so that a growth beyond linear shows. */
static void extents(uint64_t count, const char *codec)
{
    uint8_t *pattern = malloc(CHUNK);
    if (pattern == NULL)
        die("out of memory");
    for (size_t i = 0; i < CHUNK; i++)
        pattern[i] = (uint8_t)((i * 2654435761u >> 13) % 23);
    struct disk disk = {.bytes = pattern};
    for (uint64_t n = count / 2; n <= count; n += count - count / 2) {
        const struct np_source source = {&alternate_ops, &disk, n * 2 * GRANULE};
        run(&source, NP_SCOPE_DIRTY, codec, np_backup_default_workers());
    }
    free(pattern);
}

/* What the limit of a backup is reckoned from: the bytes are there, only the processor works on them. */
static void pack(const char *path, const char *codec)
{
    static uint8_t payload[CHUNK], spare[CHUNK], table[NP_DATA_TABLE_MAX];
    struct np_error err = NP_ERROR_INIT;
    struct disk disk;
    open_disk(path, &disk);
    const struct np_geometry geometry = {disk.size, CHUNK, GRANULE};
    struct np_packer packer;
    int level;
    const struct np_codec *chosen = np_codec_parse(codec, &level, &err);
    if (chosen == NULL || np_packer_init(&packer, chosen, level, &geometry, &err) < 0)
        die(err.message);

    double cpu = 0;
    uint64_t bytes = 0, stored = 0;
    for (uint64_t offset = 0; offset < disk.size; offset += CHUNK) {
        off_t data = lseek(disk.fd, (off_t)offset, SEEK_DATA); /* looking at a hole would fill it, in tmpfs */
        if (data < 0)
            break;
        offset = np_align_down((uint64_t)data, CHUNK);
        uint8_t map[NP_MAP_BYTES_MAX] = {0};
        struct np_packed packed;
        uint32_t used = 0;
        for (unsigned i = 0; i < np_window_granules(&geometry, offset); i++) {
            uint32_t length = np_granule_length(&geometry, offset, i);
            const uint8_t *from = disk.bytes + offset + (uint64_t)i * GRANULE;
            if (np_is_zero(from, length))
                continue;
            np_map_set(map, i, NP_GRANULE_DATA);
            memcpy(payload + used, from, length);
            used += length;
        }
        if (used == 0)
            continue;
        double began = seconds(CLOCK_THREAD_CPUTIME_ID);
        np_pack_window(&packer, offset, map, payload, spare, table, NULL, &packed);
        cpu += seconds(CLOCK_THREAD_CPUTIME_ID) - began;
        bytes += used;
        stored += packed.data_len;
    }
    printf("{\"bytes\": %ju, \"stored\": %ju, \"cpu\": %.4f}\n", (uintmax_t)bytes, (uintmax_t)stored, cpu);
    np_packer_clear(&packer);
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "pack") == 0)
        pack(argv[2], argv[3]);
    else if (argc == 5 && strcmp(argv[1], "scale") == 0)
        scale(argv[2], argv[3], (unsigned)strtoul(argv[4], NULL, 10));
    else if (argc == 6 && strcmp(argv[1], "pull") == 0)
        pull(argv[2], argv[3], argv[4], (unsigned)strtoul(argv[5], NULL, 10));
    else if (argc == 4 && strcmp(argv[1], "extents") == 0)
        extents(strtoull(argv[2], NULL, 10), argv[3]);
    else
        die("usage: bench_engine pack FILE CODEC | scale FILE CODEC WORKERS | "
            "pull SOCKET EXPORT CODEC WORKERS | extents COUNT CODEC");
    return 0;
}
