/* The set: made by the engine from disks in memory, as a backup run makes it. */
#include "damage.h"

#include "test.h"

#include "memory.h"

#include "nbdpull/backup.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"
#include "nbdpull/set.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define CHUNK NP_CHUNK_MIN
#define GRANULE NP_GRANULE_MIN
#define UNIT 512u /* what a guest writes */

static void fatal(const char *what, const struct np_error *err)
{
    fprintf(stderr, "damage: %s: %s\n", what, err != NULL ? err->message : strerror(errno));
    abort();
}

#define must(call)                                                                                           \
    do {                                                                                                     \
        if ((call) < 0)                                                                                      \
            fatal(#call, &err);                                                                              \
    } while (0)

void bytes_add(struct bytes *to, const void *from, size_t size)
{
    to->bytes = realloc(to->bytes, to->size + size + 1);
    if (to->bytes == NULL)
        fatal("out of memory", NULL);
    if (size > 0)
        memcpy(to->bytes + to->size, from, size);
    to->size += size;
}

struct bytes bytes_copy(const uint8_t *from, size_t size)
{
    struct bytes copy = {0};
    bytes_add(&copy, from, size);
    return copy;
}

/* ---- the guest ---- */

struct guest_disk {
    struct bytes now;
    bool *dirty; /* of each unit */
};

struct guest {
    struct guest_disk disks[DAMAGE_DISKS];
    uint64_t random;
};

static uint64_t draw(struct guest *guest, uint64_t below)
{
    guest->random = guest->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (guest->random >> 33) % below;
}

static void resize(struct guest_disk *disk, size_t size)
{
    size_t units = np_div_up(size, UNIT), before = np_div_up(disk->now.size, UNIT);
    disk->now.bytes = realloc(disk->now.bytes, size);
    disk->dirty = realloc(disk->dirty, units * sizeof(bool));
    if (disk->now.bytes == NULL || disk->dirty == NULL)
        fatal("out of memory", NULL);
    memset(disk->now.bytes + disk->now.size, 0, size - disk->now.size);
    for (size_t i = before; i < units; i++)
        disk->dirty[i] = true;
    disk->now.size = size;
}

/* What compresses, so that the streams are small; zeroes with a seed of 0. */
static void put(struct guest_disk *disk, size_t offset, size_t size, unsigned seed)
{
    for (size_t i = offset; i < offset + size && i < disk->now.size; i++) {
        disk->now.bytes[i] = seed == 0 ? 0 : (uint8_t)(seed + i / 512 % 7);
        disk->dirty[i / UNIT] = true;
    }
}

/* What does not compress. */
static void put_noise(struct guest *guest, struct guest_disk *disk, size_t offset, size_t size)
{
    put(disk, offset, size, 1);
    for (size_t i = offset; i < offset + size && i < disk->now.size; i++)
        disk->now.bytes[i] = (uint8_t)draw(guest, 256);
}

static void all_clean(struct guest *guest)
{
    for (size_t i = 0; i < DAMAGE_DISKS; i++)
        memset(guest->disks[i].dirty, 0, np_div_up(guest->disks[i].now.size, UNIT) * sizeof(bool));
}

/* Block status as QEMU gives it: dirty or not, and whether it is known to be zero. */
static struct np_extent *extents_of(const struct guest_disk *disk, size_t *count)
{
    size_t units = np_div_up(disk->now.size, UNIT);
    struct np_extent *list = calloc(units + 1, sizeof(*list));
    if (list == NULL)
        fatal("out of memory", NULL);
    *count = 0;
    for (size_t i = 0; i < units; i++) {
        size_t length = np_min_u64(UNIT, disk->now.size - i * UNIT);
        uint32_t flags = (disk->dirty[i] ? NP_EXTENT_DIRTY : 0) |
                         (np_is_zero(disk->now.bytes + i * UNIT, length) ? NP_EXTENT_ZERO : 0);
        if (*count > 0 && list[*count - 1].flags == flags)
            list[*count - 1].length += length;
        else
            list[(*count)++] = (struct np_extent){i * UNIT, length, flags};
    }
    return list;
}

/* ---- a run ---- */

struct maker {
    struct world *world;
    struct np_set *set;
    struct guest guest;
    struct np_point made[DAMAGE_POINTS];
    struct bytes streams[DAMAGE_POINTS][DAMAGE_DISKS];
    size_t count;
};

struct plan {
    const char *level;
    int parent; /* number of the point from 0, or -1 */
    uint8_t codec;
    bool stored[DAMAGE_DISKS];
};

static const char xml[] =
    "<domain type='kvm'>\n"
    "  <name>guest</name>\n"
    "  <uuid>0f3c1c9e-7a55-4a5e-9d0c-3b6d1c7f8a21</uuid>\n"
    "  <memory unit='KiB'>65536</memory>\n"
    "  <os><type arch='x86_64' machine='pc'>hvm</type><nvram>/var/lib/guest.fd</nvram></os>\n"
    "  <devices>\n"
    "    <disk type='file' device='disk'>\n"
    "      <driver name='qemu' type='qcow2'/><source file='/images/vda.qcow2'/><target dev='vda' "
    "bus='virtio'/>\n"
    "    </disk>\n"
    "    <disk type='file' device='disk'>\n"
    "      <driver name='qemu' type='raw'/><source file='/images/vdb.raw'/><target dev='vdb' bus='virtio'/>\n"
    "    </disk>\n"
    "  </devices>\n"
    "</domain>\n";
static const char nvram[] = "what the firmware keeps";

static const char *target_of(size_t disk)
{
    return disk == 0 ? "vda" : "vdb";
}

static struct np_uuid uuid_of(uint8_t what, size_t point, size_t disk, bool attempt)
{
    struct np_uuid uuid;
    for (size_t i = 0; i < sizeof(uuid.bytes); i++)
        uuid.bytes[i] = (uint8_t)(what * 16 + 7 * i + 31 * point + 101 * disk + (attempt ? 57 : 0));
    return uuid;
}

enum { STREAM_ID = 1, STATE_ID, POINT_ID };

static uint32_t chunk_of(const struct maker *maker)
{
    (void)maker;
    return CHUNK;
}

static struct np_meta *describe(const struct maker *maker, const struct plan *plan, size_t i, bool attempt)
{
    struct np_error err = NP_ERROR_INIT;
    size_t p = maker->count;
    struct np_meta *meta = np_meta_new(1, DAMAGE_DISKS, &err);
    if (meta == NULL)
        fatal("META", &err);
    meta->stream = uuid_of(STREAM_ID, p, i, attempt);
    meta->set = *np_set_uuid(maker->set);
    meta->point = uuid_of(POINT_ID, p, 0, attempt);
    np_uuid_parse("0f3c1c9e-7a55-4a5e-9d0c-3b6d1c7f8a21", &meta->domain);
    strcpy(meta->tool, "test");
    strcpy(meta->codec_lib, "test");
    strcpy(meta->domain_name, "guest");
    snprintf(meta->created, sizeof(meta->created), "2026-11-2%zuT03:00:00Z", p);
    snprintf(meta->point_id, sizeof(meta->point_id), "%04zu", p + 1);
    snprintf(meta->level, sizeof(meta->level), "%s", plan->level);
    snprintf(meta->checkpoint, sizeof(meta->checkpoint), "nbdpull-0123456789ab-%04zu", p + 1);
    meta->quiesced = p % 2 == 0;
    for (size_t k = 0; k < DAMAGE_DISKS; k++) {
        struct np_meta_point_disk *listed = &meta->point_disks[k];
        strcpy(listed->target, target_of(k));
        strcpy(listed->why, plan->stored[k] ? "asked for" : "left out: --exclude");
        if (!plan->stored[k])
            continue;
        listed->state = uuid_of(STATE_ID, p, k, attempt);
        listed->stream = uuid_of(STREAM_ID, p, k, attempt);
    }

    struct np_meta_disk *disk = &meta->disks[0];
    disk->geometry = (struct np_geometry){
        .size = maker->guest.disks[i].now.size, .chunk = chunk_of(maker), .granule = GRANULE};
    disk->logical_block = disk->physical_block = 512;
    strcpy(disk->target, target_of(i));
    strcpy(disk->source_format, "qcow2");
    strcpy(disk->level, plan->level);
    strcpy(disk->how, plan->parent < 0 ? "all" : "bitmap");
    strcpy(disk->why, "asked for");
    snprintf(disk->image, sizeof(disk->image), "/images/%s.qcow2", target_of(i));
    disk->image_dev = 64769;
    disk->image_ino = 1000 + i;
    snprintf(disk->checkpoint, sizeof(disk->checkpoint), "%s", meta->checkpoint);
    disk->state = uuid_of(STATE_ID, p, i, attempt);
    if (plan->parent < 0)
        return meta;
    const struct np_point *parent = &maker->made[plan->parent];
    const struct np_point_disk *base = np_point_disk_of(parent, target_of(i));
    snprintf(disk->base_checkpoint, sizeof(disk->base_checkpoint), "%s", base->checkpoint);
    snprintf(disk->base_point, sizeof(disk->base_point), "%s", parent->id);
    disk->base_state = base->state;
    disk->base_size = base->virtual_size;
    disk->base_digest_known = base->digest_known;
    disk->base_digest = base->digest;
    return meta;
}

static int read_bytes(void *ctx, void *buffer, size_t size, uint64_t pos, struct np_error *err)
{
    const struct bytes *bytes = ctx;
    if (pos > bytes->size || size > bytes->size - pos)
        return np_fail(err, NP_DAMAGED, "beyond the file's end");
    memcpy(buffer, bytes->bytes + pos, size);
    return 0;
}

/* The chain of a disk that ends in a point. */
struct base {
    struct np_stream *streams[DAMAGE_POINTS];
    struct np_base base;
};

static void base_open(struct maker *maker, int parent, size_t i, struct base *base)
{
    struct np_error err = NP_ERROR_INIT;
    static const uint16_t ids[DAMAGE_POINTS];
    size_t count = 0;
    *base = (struct base){0};
    const struct np_point_disk *first = np_point_disk_of(&maker->made[parent], target_of(i)), *disk = first;
    for (int p = parent; p >= 0; p = disk->parent[0] == '\0' ? -1 : atoi(disk->parent) - 1) {
        disk = np_point_disk_of(&maker->made[p], target_of(i));
        const struct np_input_at input = {
            .read_at = read_bytes, .ctx = &maker->streams[p][i], .size = maker->streams[p][i].size};
        must(np_stream_open(&input, "base", &base->streams[count++], &err));
    }
    must(np_chain_open(base->streams, ids, count, target_of(i), true, &base->base.chain, &err));
    base->base.size = first->virtual_size;
    base->base.digest_known = first->digest_known;
    base->base.digest = first->digest;
}

static void base_close(struct base *base)
{
    np_chain_close(base->base.chain);
    for (size_t i = 0; i < DAMAGE_POINTS; i++)
        np_stream_close(base->streams[i]);
}

static void write_stream(struct maker *maker, const struct plan *plan, size_t i, bool attempt,
                         const struct np_sink *sink, struct np_point_disk *to)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_meta *meta = describe(maker, plan, i, attempt);
    struct guest_disk *guest = &maker->guest.disks[i];
    struct memory_disk disk = {.bytes = guest->now.bytes,
                               .size = guest->now.size,
                               .fail_read = NP_NO_OFFSET,
                               .fail_extents = NP_NO_OFFSET};
    disk.extents = extents_of(guest, &disk.extent_count);
    const struct np_source source = memory_source(&disk);
    struct base base = {0};
    if (plan->parent >= 0)
        base_open(maker, plan->parent, i, &base);
    const struct np_backup_options options = {.workers = 1,
                                              .codec = np_codec_find(plan->codec),
                                              .scope = plan->parent < 0 ? NP_SCOPE_ALL : NP_SCOPE_DIRTY,
                                              .base = plan->parent < 0 ? NULL : &base.base};
    struct np_backup_counts counts;
    struct np_writer *writer;
    must(np_writer_new(sink, meta, &writer, &err));
    must(np_backup_run(&options, &source, &meta->disks[0].geometry, 0, target_of(i), writer, &counts, &err));
    must(np_writer_disk_end(writer, 0, plan->parent < 0 ? NULL : &counts.replaced, &err));
    must(np_writer_blob(writer, "domain.xml", xml, strlen(xml), &err));
    must(np_writer_blob(writer, "nvram", nvram, strlen(nvram), &err));
    must(np_writer_finish(writer, &err));

    const struct np_totals *totals = np_writer_totals(writer, 0);
    const struct np_meta_disk *from = &meta->disks[0];
    *to = (struct np_point_disk){.stored = true,
                                 .stream_uuid = meta->stream,
                                 .state = from->state,
                                 .virtual_size = guest->now.size,
                                 .stream_size = np_writer_size(writer),
                                 .data_bytes = totals->data_bytes,
                                 .zero_bytes = totals->zero_bytes,
                                 .stored_bytes = totals->stored_bytes,
                                 .digest_known = totals->digest_known,
                                 .digest = totals->digest,
                                 .image_dev = from->image_dev,
                                 .image_ino = from->image_ino};
    strcpy(to->target, from->target);
    strcpy(to->level, from->level);
    strcpy(to->how, from->how);
    strcpy(to->why, from->why);
    strcpy(to->parent, from->base_point);
    strcpy(to->codec, options.codec->name);
    strcpy(to->checkpoint, from->checkpoint);
    strcpy(to->image, from->image);
    np_writer_free(writer);
    np_meta_free(meta);
    free((void *)(uintptr_t)disk.extents);
    base_close(&base);
}

static struct bytes read_file(const struct world *world, const char *name)
{
    struct np_error err = NP_ERROR_INIT;
    char path[DAMAGE_PATH * 2], *text;
    size_t size;
    snprintf(path, sizeof(path), "%s/%s", world->set, name);
    must(np_file_read_whole(AT_FDCWD, path, path, 256u << 20, &text, &size, &err));
    return (struct bytes){.bytes = (uint8_t *)text, .size = size};
}

static struct set_file *add_file(struct world *world, const char *name, enum kind kind, unsigned point,
                                 char disk)
{
    struct set_file *file = &world->files[world->file_count++];
    *file = (struct set_file){.kind = kind, .point = point, .disk = disk};
    snprintf(file->name, sizeof(file->name), "%s", name);
    file->good = read_file(world, name);
    return file;
}

static void add_config(struct maker *maker, const char *id, const char *name, const char *bytes)
{
    struct np_error err = NP_ERROR_INIT;
    char path[64];
    must(np_set_config_write(maker->set, id, name, bytes, strlen(bytes), &err));
    snprintf(path, sizeof(path), "config/%s/%s", id, name);
    add_file(maker->world, path, CONFIG, (unsigned)maker->count + 1, 0);
}

static void take_disk(struct maker *maker, const struct plan *plan, size_t i, const char *id,
                      struct np_point_disk *to)
{
    struct np_error err = NP_ERROR_INIT;
    struct memory_file attempt = {0};
    struct np_stream_file *file;
    struct np_sink sink = memory_sink(&attempt);
    if (!plan->stored[i]) {
        strcpy(to->target, target_of(i));
        strcpy(to->why, "left out: --exclude");
        return;
    }
    write_stream(maker, plan, i, true, &sink, to);
    must(np_set_stream_create(maker->set, id, target_of(i), &file, &err));
    np_stream_file_sink(file, &sink);
    write_stream(maker, plan, i, false, &sink, to);
    snprintf(to->file, sizeof(to->file), "%s", np_stream_file_name(file));
    must(np_stream_file_sync(file, &err));
    np_stream_file_close(file);
    struct set_file *added =
        add_file(maker->world, to->file, STREAM, (unsigned)maker->count + 1, (char)('a' + i));
    added->attempt = bytes_copy(attempt.bytes, attempt.size);
    free(attempt.bytes);
    maker->streams[maker->count][i] = bytes_copy(added->good.bytes, added->good.size);
    maker->world->disks[maker->count][i] =
        bytes_copy(maker->guest.disks[i].now.bytes, maker->guest.disks[i].now.size);
}

static void take_point(struct maker *maker, const struct plan *plan)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_point *point = &maker->made[maker->count];
    char name[64];
    must(np_set_next_id(maker->set, point->id, &err));
    point->uuid = uuid_of(POINT_ID, maker->count, 0, false);
    strcpy(point->level, plan->level);
    snprintf(point->time, sizeof(point->time), "2026-11-2%zuT03:00:00Z", maker->count);
    snprintf(point->checkpoint, sizeof(point->checkpoint), "nbdpull-0123456789ab-%04zu", maker->count + 1);
    point->quiesced = maker->count % 2 == 0;
    point->disk_count = DAMAGE_DISKS;
    point->disks = calloc(DAMAGE_DISKS, sizeof(*point->disks));
    for (size_t i = 0; i < DAMAGE_DISKS; i++)
        take_disk(maker, plan, i, point->id, &point->disks[i]);
    add_config(maker, point->id, "domain.xml", xml);
    add_config(maker, point->id, "nvram", nvram);
    must(np_set_commit(maker->set, point, &err));
    snprintf(name, sizeof(name), "points/%s.json", point->id);
    add_file(maker->world, name, RECORD, (unsigned)maker->count + 1, 0);
    maker->count++;
    maker->world->points++;
    all_clean(&maker->guest);
}

static void begin(struct maker *maker, struct world *world)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_uuid domain;
    struct stat st;
    *world = (struct world){0};
    *maker = (struct maker){.world = world, .guest = {.random = 1}};
    bool memory = stat("/dev/shm", &st) == 0 && S_ISDIR(st.st_mode);
    snprintf(world->top, sizeof(world->top), "%s/nbdpull-damage.XXXXXX", memory ? "/dev/shm" : "/tmp");
    if (mkdtemp(world->top) == NULL)
        fatal(world->top, NULL);
    snprintf(world->set, sizeof(world->set), "%s/set", world->top);
    snprintf(world->out, sizeof(world->out), "%s/out", world->top);
    must(np_set_open(world->set, NP_SET_CREATE, "test", &maker->set, &err));
    np_uuid_parse("0f3c1c9e-7a55-4a5e-9d0c-3b6d1c7f8a21", &domain);
    must(np_set_bind(maker->set, "guest", &domain, &err));
}

static void finish(struct maker *maker)
{
    np_set_close(maker->set);
    add_file(maker->world, "set.json", SET_JSON, 0, 0);
    for (size_t p = 0; p < maker->count; p++) {
        np_point_clear(&maker->made[p]);
        for (size_t i = 0; i < DAMAGE_DISKS; i++)
            free(maker->streams[p][i].bytes);
    }
    for (size_t i = 0; i < DAMAGE_DISKS; i++) {
        free(maker->guest.disks[i].now.bytes);
        free(maker->guest.disks[i].dirty);
    }
}

void world_make_small(struct world *world)
{
    struct maker maker;
    begin(&maker, world);
    struct guest_disk *vda = &maker.guest.disks[0], *vdb = &maker.guest.disks[1];

    resize(vda, 4 * CHUNK + GRANULE + UNIT + 24);
    put(vda, 0, 3 * GRANULE, 3);
    put_noise(&maker.guest, vda, CHUNK + GRANULE, UNIT);
    put(vda, CHUNK + 5 * GRANULE, 6 * GRANULE, 40);
    put(vda, 4 * CHUNK, CHUNK, 90);
    resize(vdb, 1536);
    put(vdb, 0, UNIT, 7);
    take_point(&maker, &(struct plan){"full", -1, 2, {true, true}});

    put(vda, GRANULE, GRANULE, 0);               /* a granule of zeroes between data */
    put(vda, CHUNK, CHUNK, 0);                   /* a window discarded */
    put(vda, 2 * CHUNK + 100, 2 * GRANULE, 200); /* data where nothing was */
    put(vda, 4 * CHUNK + 10, 30, 5);
    take_point(&maker, &(struct plan){"inc", 0, 1, {true, true}}); /* of vdb nothing */

    resize(vda, 6 * CHUNK + 100);
    put(vda, 6 * CHUNK + 10, 80, 60);
    put(vdb, 1000, 500, 9);
    take_point(&maker, &(struct plan){"inc", 1, 0, {true, true}});

    put(vda, 3 * CHUNK, UNIT, 21);
    for (size_t i = 0; i < vda->now.size / UNIT; i++) /* a diff has all since its base */
        vda->dirty[i] = true;
    take_point(&maker, &(struct plan){"diff", 0, 2, {true, false}});
    finish(&maker);
}

void world_make_large(struct world *world)
{
    struct maker maker;
    begin(&maker, world);
    world->large = true;
    struct guest_disk *vda = &maker.guest.disks[0];
    resize(&maker.guest.disks[1], UNIT);
    resize(vda, 3000 * (size_t)CHUNK - 77);
    for (size_t i = 0; i < 2000; i++) {
        size_t offset = draw(&maker.guest, vda->now.size);
        if (i % 64 == 0)
            put_noise(&maker.guest, vda, offset, 3000);
        else
            put(vda, offset, 1 + draw(&maker.guest, 3 * GRANULE), 1 + (unsigned)draw(&maker.guest, 250));
    }
    take_point(&maker, &(struct plan){"full", -1, 2, {true, false}});
    finish(&maker);
}

void world_clear(struct world *world)
{
    struct np_error err = NP_ERROR_INIT;
    for (size_t i = 0; i < world->file_count; i++) {
        free(world->files[i].good.bytes);
        free(world->files[i].attempt.bytes);
    }
    for (size_t p = 0; p < DAMAGE_POINTS; p++)
        for (size_t i = 0; i < DAMAGE_DISKS; i++)
            free(world->disks[p][i].bytes);
    must(np_dir_remove(AT_FDCWD, world->top, world->top, &err));
}

/* ---- its files ---- */

void world_write(const struct world *world, const char *name, const uint8_t *bytes, size_t size)
{
    char path[DAMAGE_PATH * 2];
    snprintf(path, sizeof(path), "%s/%s", world->set, name);
    NP_AUTO_FD int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, bytes, size) != (ssize_t)size)
        fatal(path, NULL);
}

void world_heal(const struct world *world, const struct set_file *file)
{
    world_write(world, file->name, file->good.bytes, file->good.size);
}

void world_remove(const struct world *world, const char *name)
{
    char path[DAMAGE_PATH * 2];
    snprintf(path, sizeof(path), "%s/%s", world->set, name);
    if (unlink(path) < 0 && rmdir(path) < 0)
        fatal(path, NULL);
}
