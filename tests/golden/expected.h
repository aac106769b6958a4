/*
 * What the golden streams hold: expected.txt and engine.txt, and the pattern they are written in. The other
 * half is model.py. Lines of these files:
 *
 *     stream NAME [on BASE]                    BASE: the stream that it builds on
 *     disk ID SIZE CHUNK GRANULE
 *     fill OFFSET LENGTH TAG                   later ones over earlier ones; the rest reads as zeroes
 *     file NAME SIZE
 */
#ifndef NBDPULL_TEST_EXPECTED_H
#define NBDPULL_TEST_EXPECTED_H

#include "test.h"

#include "nbdpull/window.h"

#include <stdio.h>
#include <stdlib.h>

#define GOLDEN_DIR TEST_SOURCE_DIR "/golden/"
#define GOLDEN_MEMORY_MAX (UINT64_C(1) << 30) /* larger disks are compared in parts */

struct golden_fill {
    uint64_t offset, length;
    unsigned tag;
};

struct golden_disk {
    uint16_t id;
    struct np_geometry geometry;
    struct golden_fill fills[64];
    size_t fill_count;
};

struct golden {
    char name[32], base[32];
    struct golden_disk disks[16];
    size_t disk_count;
    char files[8][256];
    uint64_t file_sizes[8];
    size_t file_count;
};

/* The byte at `offset` that was written with `tag`; model.py says how. */
static inline uint8_t golden_byte(uint64_t offset, unsigned tag)
{
    if (tag == 0)
        return 0;
    uint64_t unit = offset / 16, v = tag >= 128 ? unit : unit / 64;
    uint64_t a = tag * UINT64_C(0x9E3779B97F4A7C15) + v * UINT64_C(0xBF58476D1CE4E5B9);
    uint64_t half = offset % 16 < 8 ? a : a ^ a >> 29;
    return (uint8_t)(half >> offset % 8 * 8);
}

/* The bytes [offset, offset + length) of the disk. */
static inline void golden_read(const struct golden_disk *disk, uint64_t offset, uint8_t *to, size_t length)
{
    memset(to, 0, length);
    for (size_t f = 0; f < disk->fill_count; f++) {
        const struct golden_fill *fill = &disk->fills[f];
        uint64_t from = fill->offset > offset ? fill->offset : offset;
        uint64_t end = fill->offset + fill->length;
        for (uint64_t i = from; i < end && i < offset + length; i++)
            to[i - offset] = golden_byte(i, fill->tag);
    }
}

static inline void golden_line(const char *line, struct golden *list, size_t room, size_t *count)
{
    char name[256], base[256] = "";
    unsigned long long a, b, c, d;
    struct golden *last = *count > 0 ? &list[*count - 1] : NULL;
    if (sscanf(line, "stream %31s on %31s", name, base) >= 1) {
        assert_true(*count < room);
        snprintf(list[*count].name, sizeof(list->name), "%.31s", name);
        snprintf(list[(*count)++].base, sizeof(list->base), "%.31s", base);
    } else if (sscanf(line, "disk %llu %llu %llu %llu", &a, &b, &c, &d) == 4) {
        assert_true(last->disk_count < sizeof(last->disks) / sizeof(last->disks[0]));
        last->disks[last->disk_count++] =
            (struct golden_disk){.id = (uint16_t)a, .geometry = {b, (uint32_t)c, (uint32_t)d}};
    } else if (sscanf(line, "fill %llu %llu %llu", &a, &b, &c) == 3) {
        struct golden_disk *disk = &last->disks[last->disk_count - 1];
        assert_true(disk->fill_count < sizeof(disk->fills) / sizeof(disk->fills[0]));
        disk->fills[disk->fill_count++] = (struct golden_fill){a, b, (unsigned)c};
    } else if (sscanf(line, "file %255s %llu", name, &a) == 2) {
        assert_true(last->file_count < sizeof(last->files) / sizeof(last->files[0]));
        snprintf(last->files[last->file_count], sizeof(last->files[0]), "%s", name);
        last->file_sizes[last->file_count++] = a;
    } else {
        fail_msg("not understood: %s", line);
    }
}

/* All streams of one of the two files, or of one with an absolute path, in its order. */
static inline size_t golden_list(const char *file, struct golden *list, size_t room)
{
    char path[4096], line[512];
    size_t count = 0;
    snprintf(path, sizeof(path), "%s%s", file[0] == '/' ? "" : GOLDEN_DIR, file);
    FILE *in = fopen(path, "r");
    if (in == NULL)
        fail_msg("cannot open %s", path);
    memset(list, 0, room * sizeof(*list));
    while (fgets(line, sizeof(line), in) != NULL)
        golden_line(line, list, room, &count);
    fclose(in);
    return count;
}

/* The file NAME.nbp. Owned. */
static inline uint8_t *golden_load(const char *name, size_t *size)
{
    char path[4096];
    snprintf(path, sizeof(path), GOLDEN_DIR "%s.nbp", name);
    FILE *in = fopen(path, "rb");
    if (in == NULL)
        fail_msg("cannot open %s", path);
    assert_int_equal(fseek(in, 0, SEEK_END), 0);
    *size = (size_t)ftell(in);
    rewind(in);
    uint8_t *bytes = malloc(*size + 1);
    assert_int_equal(fread(bytes, 1, *size, in), *size);
    fclose(in);
    return bytes;
}

#endif
