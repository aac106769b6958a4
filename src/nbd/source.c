#include "client.h"
#include "status.h"

#include "nbdpull/cleanup.h"
#include "nbdpull/log.h"
#include "nbdpull/nbd.h"

#include <errno.h>
#include <string.h>

static const char lost_hint[] =
    "the guest was stopped, its QEMU or qemu-nbd died, or somebody ended the backup job";

/* What all readers of one disk share. */
struct disk {
    struct np_nbd_group group;
    char *socket;
    char *export_name;
    char *bitmap; /* or NULL */
    uint64_t size;
    uint32_t minimum, preferred;
};

struct reader {
    struct np_nbd_client *client;
    struct np_nbd_status status;
};

static void disk_free(struct disk *disk)
{
    if (disk == NULL)
        return;
    np_nbd_group_clear(&disk->group);
    free(disk->bitmap);
    free(disk->export_name);
    free(disk->socket);
    free(disk);
}

static void cleanup_disk(struct disk **disk)
{
    disk_free(*disk);
}

static int connect_to(struct disk *disk, struct np_nbd_client **client, struct np_error *err)
{
    struct np_nbd_address address = {
        .socket = disk->socket,
        .export_name = disk->export_name,
        .allocation = true,
        .bitmap = disk->bitmap,
        .lost = lost_hint,
    };
    return np_nbd_client_open(&address, &disk->group, client, err);
}

static void reader_close(void *reader)
{
    struct reader *closed = reader;
    if (closed == NULL)
        return;
    np_nbd_client_close(closed->client);
    np_nbd_status_clear(&closed->status);
    free(closed);
}

static void cleanup_reader(struct reader **reader)
{
    reader_close(*reader);
}

static int reader_open(void *ctx, void **reader, struct np_error *err)
{
    struct disk *disk = ctx;
    NP_CLEANUP(cleanup_reader) struct reader *made = calloc(1, sizeof(*made));
    if (made == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "export '%s'", disk->export_name);
    if (connect_to(disk, &made->client, err) < 0)
        return -1;
    if (np_nbd_client_size(made->client) != disk->size)
        return np_fail(err, NP_FAILED, "export '%s' on %s: had %ju bytes and has %ju now", disk->export_name,
                       disk->socket, (uintmax_t)disk->size, (uintmax_t)np_nbd_client_size(made->client));
    *reader = NP_STEAL(made);
    return 0;
}

static int reader_extents(void *reader, uint64_t offset, uint64_t length, struct np_extent *extents,
                          size_t room, size_t *count, struct np_error *err)
{
    struct reader *from = reader;
    return np_nbd_status_extents(&from->status, from->client, offset, length, extents, room, count, err);
}

static int reader_read(void *reader, void *buffer, uint64_t offset, size_t length, struct np_error *err)
{
    struct reader *from = reader;
    return np_nbd_client_read(from->client, buffer, offset, length, err);
}

static void interrupt(void *ctx)
{
    struct disk *disk = ctx;
    np_nbd_group_interrupt(&disk->group);
}

static const struct np_source_ops nbd_source = {
    .reader_open = reader_open,
    .extents = reader_extents,
    .read = reader_read,
    .reader_close = reader_close,
    .interrupt = interrupt,
};

static int disk_new(const char *socket, const char *export_name, const char *bitmap, struct np_cancel *cancel,
                    struct disk **disk, struct np_error *err)
{
    NP_CLEANUP(cleanup_disk) struct disk *made = calloc(1, sizeof(*made));
    if (made == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "export '%s'", export_name);
    np_nbd_group_init(&made->group, cancel);
    made->socket = strdup(socket);
    made->export_name = strdup(export_name);
    made->bitmap = bitmap == NULL ? NULL : strdup(bitmap);
    if (made->socket == NULL || made->export_name == NULL || (bitmap != NULL && made->bitmap == NULL))
        return np_fail_errno(err, NP_FAILED, ENOMEM, "export '%s'", export_name);
    *disk = NP_STEAL(made);
    return 0;
}

int np_nbd_source_open(const char *socket, const char *export_name, const char *bitmap,
                       struct np_cancel *cancel, struct np_source *source, struct np_error *err)
{
    NP_CLEANUP(cleanup_disk) struct disk *disk = NULL;
    struct np_nbd_client *client;
    if (disk_new(socket, export_name, bitmap, cancel, &disk, err) < 0 || connect_to(disk, &client, err) < 0)
        return -1;
    disk->size = np_nbd_client_size(client);
    np_nbd_client_blocks(client, &disk->minimum, &disk->preferred);
    np_nbd_client_close(client);

    np_log_debug("export '%s' on %s: %ju bytes, blocks of %u (preferred %u) bytes, bitmap %s", export_name,
                 socket, (uintmax_t)disk->size, disk->minimum, disk->preferred,
                 bitmap == NULL ? "none" : bitmap);
    source->ops = &nbd_source;
    source->size = disk->size;
    source->ctx = NP_STEAL(disk);
    return 0;
}

void np_nbd_source_close(struct np_source *source)
{
    disk_free(source->ctx);
    *source = (struct np_source){.ops = NULL};
}

void np_nbd_source_blocks(const struct np_source *source, uint32_t *minimum, uint32_t *preferred)
{
    const struct disk *disk = source->ctx;
    *minimum = disk->minimum;
    *preferred = disk->preferred;
}
