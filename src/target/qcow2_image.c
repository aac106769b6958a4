#include "qcow2_image.h"

#include "nbdpull/bytes.h"
#include "nbdpull/file.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define CLUSTER_MIN (UINT64_C(1) << 9)
#define CLUSTER_MAX (UINT64_C(1) << 21)
#define ENTRY 8u                                /* bytes of an entry of the L1, L2 and refcount table */
#define REFCOUNT 2u                             /* bytes of a refcount */
#define COPIED (UINT64_C(1) << 63)              /* the refcount is 1: QEMU may write in place */
#define L1_BYTES_MAX (UINT64_C(32) << 20)       /* QEMU refuses more */
#define REFCOUNT_TABLE_MAX (UINT64_C(8) << 20)  /* the same */
#define HEADER_SIZE 104u                        /* of version 3 */
#define ENTRIES_AT_ONCE 512u                    /* L2 entries looked at in one go */
#define PIECE (ENTRIES_AT_ONCE * (size_t)ENTRY) /* tables are written in pieces of so many bytes */

/* Bytes of the disk below one L2 table. */
static uint64_t l2_reach(uint64_t cluster)
{
    return cluster * (cluster / ENTRY);
}

static bool is_too_small(uint64_t cluster, uint64_t size)
{
    return np_div_up(size, l2_reach(cluster)) > L1_BYTES_MAX / ENTRY;
}

static int check_cluster(const struct np_qcow2_image *image, struct np_error *err)
{
    uint64_t fits = image->cluster;
    if (!np_is_power_of_two(fits) || fits < CLUSTER_MIN || fits > CLUSTER_MAX)
        return np_fail(err, NP_USAGE,
                       "the clusters of a qcow2 image have 512 to 2M bytes, a power of two, not %ju",
                       (uintmax_t)fits);
    while (is_too_small(fits, image->size) && fits < CLUSTER_MAX)
        fits *= 2;
    if (fits == image->cluster)
        return 0;
    return np_fail(err, NP_USAGE,
                   "%s: clusters of %ju bytes are too small for a disk of %ju bytes; use --cluster-size %ju",
                   image->path, (uintmax_t)image->cluster, (uintmax_t)image->size, (uintmax_t)fits);
}

int np_qcow2_image_init(struct np_qcow2_image *image, struct np_error *err)
{
    const uint64_t blocks = REFCOUNT_TABLE_MAX / ENTRY;
    pthread_mutex_init(&image->lock, NULL);
    if (image->cluster == 0)
        image->cluster = NP_QCOW2_CLUSTER_DEFAULT;
    if (check_cluster(image, err) < 0)
        return -1;
    image->l1_count = np_div_up(image->size, l2_reach(image->cluster));
    image->l1 = calloc(image->l1_count + 1, sizeof(*image->l1));
    if (image->l1 == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s", image->path);
    image->next = 1 + np_div_up(image->l1_count * ENTRY, image->cluster);
    image->clusters_max = blocks * (image->cluster / REFCOUNT) - blocks - REFCOUNT_TABLE_MAX / image->cluster;
    return 0;
}

void np_qcow2_image_clear(struct np_qcow2_image *image)
{
    free(image->l1);
    image->l1 = NULL;
    pthread_mutex_destroy(&image->lock);
}

/* ---- the map ---- */

static int take_clusters(struct np_qcow2_image *image, uint64_t count, uint64_t *pos, struct np_error *err)
{
    if (count > image->clusters_max - image->next)
        return np_fail(err, NP_FAILED, "%s: more than %ju clusters of %ju bytes; use a larger --cluster-size",
                       image->path, (uintmax_t)image->clusters_max, (uintmax_t)image->cluster);
    *pos = image->next * image->cluster;
    image->next += count;
    return 0;
}

/* Its last entry is written so that the file reaches to its end; what lies before is a hole. */
static int make_l2(struct np_qcow2_image *image, uint64_t *table, struct np_error *err)
{
    static const uint8_t zero[ENTRY];
    uint64_t pos = 0;
    if (take_clusters(image, 1, &pos, err) < 0 ||
        np_file_write_at(image->fd, image->path, zero, ENTRY, pos + image->cluster - ENTRY, err) < 0)
        return -1;
    *table = pos;
    return 0;
}

static uint64_t entry_at(const uint8_t *entries, size_t i)
{
    return np_get_be64(entries + i * ENTRY) & ~COPIED;
}

/* How many clusters from the first one on lie side by side. */
static size_t count_present(const struct np_qcow2_image *image, const uint8_t *entries, size_t count)
{
    size_t n = 1;
    while (n < count && entry_at(entries, n) == entry_at(entries, 0) + n * image->cluster)
        n++;
    return n;
}

static size_t count_absent(const uint8_t *entries, size_t count)
{
    size_t n = 1;
    while (n < count && entry_at(entries, n) == 0)
        n++;
    return n;
}

/* The place of up to *count clusters whose entries lie at entry_pos in the file; *count becomes how many. */
static int map_clusters(struct np_qcow2_image *image, uint64_t entry_pos, size_t *count, uint64_t *pos,
                        struct np_error *err)
{
    uint8_t entries[PIECE];
    if (np_file_read_at(image->fd, image->path, entries, *count * ENTRY, entry_pos, err) < 0)
        return -1;
    *pos = entry_at(entries, 0);
    if (*pos != 0) {
        *count = count_present(image, entries, *count);
        return 0;
    }
    *count = count_absent(entries, *count);
    if (take_clusters(image, *count, pos, err) < 0)
        return -1;
    for (size_t i = 0; i < *count; i++)
        np_put_be64(entries + i * ENTRY, (*pos + i * image->cluster) | COPIED);
    return np_file_write_at(image->fd, image->path, entries, *count * ENTRY, entry_pos, err);
}

static int map_locked(struct np_qcow2_image *image, uint64_t cluster, size_t *count, uint64_t *pos,
                      struct np_error *err)
{
    const uint64_t per_table = image->cluster / ENTRY;
    uint64_t *table = &image->l1[cluster / per_table];
    if (*table == 0 && make_l2(image, table, err) < 0)
        return -1;
    *count = np_min_u64(*count, per_table - cluster % per_table);
    return map_clusters(image, *table + cluster % per_table * ENTRY, count, pos, err);
}

int np_qcow2_image_map(struct np_qcow2_image *image, uint64_t offset, uint64_t length,
                       struct np_qcow2_run *run, struct np_error *err)
{
    const uint64_t inside = offset % image->cluster;
    size_t count = np_min_u64(ENTRIES_AT_ONCE, np_div_up(inside + length, image->cluster));
    uint64_t pos = 0;
    pthread_mutex_lock(&image->lock);
    int result = map_locked(image, offset / image->cluster, &count, &pos, err);
    pthread_mutex_unlock(&image->lock);
    run->pos = pos + inside;
    run->length = np_min_u64(length, count * image->cluster - inside);
    return result;
}

/* ---- the end ---- */

/* Entries that count up, in pieces: the refcount table. */
static int write_refcount_table(const struct np_qcow2_image *image, uint64_t pos, uint64_t blocks,
                                uint64_t first_block, struct np_error *err)
{
    uint8_t piece[PIECE];
    for (uint64_t done = 0, step; done < blocks; done += step) {
        step = np_min_u64(ENTRIES_AT_ONCE, blocks - done);
        for (uint64_t i = 0; i < step; i++)
            np_put_be64(piece + i * ENTRY, first_block + (done + i) * image->cluster);
        if (np_file_write_at(image->fd, image->path, piece, step * ENTRY, pos + done * ENTRY, err) < 0)
            return -1;
    }
    return 0;
}

/* A 1 for every cluster; the blocks are neighbours. */
static int write_refcounts(const struct np_qcow2_image *image, uint64_t pos, uint64_t clusters,
                           struct np_error *err)
{
    uint8_t piece[PIECE];
    for (size_t i = 0; i < PIECE; i += REFCOUNT)
        np_put_be16(piece + i, 1);
    for (uint64_t done = 0, step; done < clusters * REFCOUNT; done += step) {
        step = np_min_u64(PIECE, clusters * REFCOUNT - done);
        if (np_file_write_at(image->fd, image->path, piece, step, pos + done, err) < 0)
            return -1;
    }
    return 0;
}

static int write_l1(const struct np_qcow2_image *image, struct np_error *err)
{
    uint8_t piece[PIECE];
    for (uint64_t done = 0, step; done < image->l1_count; done += step) {
        step = np_min_u64(ENTRIES_AT_ONCE, image->l1_count - done);
        for (uint64_t i = 0; i < step; i++) {
            uint64_t table = image->l1[done + i];
            np_put_be64(piece + i * ENTRY, table == 0 ? 0 : table | COPIED);
        }
        if (np_file_write_at(image->fd, image->path, piece, step * ENTRY, image->cluster + done * ENTRY,
                             err) < 0)
            return -1;
    }
    return 0;
}

/* Everything that is not named here is zero: no backing file, no snapshots, no features, no extensions. */
static int write_header(const struct np_qcow2_image *image, uint64_t refcount_table,
                        uint64_t refcount_table_clusters, struct np_error *err)
{
    uint8_t header[HEADER_SIZE] = "QFI\xfb";
    np_put_be32(header + 4, image->version);
    np_put_be32(header + 20, (uint32_t)__builtin_ctzll(image->cluster));
    np_put_be64(header + 24, image->size);
    np_put_be32(header + 36, (uint32_t)image->l1_count);
    np_put_be64(header + 40, image->cluster);
    np_put_be64(header + 48, refcount_table);
    np_put_be32(header + 56, (uint32_t)refcount_table_clusters);
    if (image->version >= 3) {
        np_put_be32(header + 96, 4); /* refcounts have 1 << 4 bits */
        np_put_be32(header + 100, HEADER_SIZE);
    }
    return np_file_write_at(image->fd, image->path, header, HEADER_SIZE, 0, err);
}

int np_qcow2_image_finish(struct np_qcow2_image *image, struct np_error *err)
{
    const uint64_t per_block = image->cluster / REFCOUNT;
    uint64_t total = image->next, blocks = 0, table = 0, before;
    do { /* until the refcounts count themselves too; it only grows */
        before = total;
        blocks = np_div_up(total, per_block);
        table = np_div_up(blocks * ENTRY, image->cluster);
        total = image->next + table + blocks;
    } while (total != before);

    uint64_t table_pos = image->next * image->cluster, first_block = table_pos + table * image->cluster;
    if (write_refcount_table(image, table_pos, blocks, first_block, err) < 0 ||
        write_refcounts(image, first_block, total, err) < 0 || write_l1(image, err) < 0)
        return -1;
    if (ftruncate(image->fd, (off_t)(total * image->cluster)) < 0)
        return np_fail_errno(err, NP_FAILED, errno, "%s: cannot make a file of %ju bytes", image->path,
                             (uintmax_t)(total * image->cluster));
    return write_header(image, table_pos, table, err);
}
