#include "nbdpull/restore.h"

#include "replay.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"

#include <errno.h>
#include <stdlib.h>

static const struct np_restore_disk *find_disk(const struct np_restore_disk *disks, size_t count, uint16_t id)
{
    for (size_t i = 0; i < count; i++)
        if (disks[i].id == id)
            return &disks[i];
    return NULL;
}

struct feeder {
    struct np_replay *replay;
    const struct np_restore_options *options;
    struct np_reader *reader;
    const struct np_restore_disk *disks;
    size_t disk_count;
    np_restore_blob *blob;
    void *blob_ctx;
    struct np_restore_counts *counts;
};

/* @return 1 the item went to the workers, 0 a worker has failed, -1 error */
static int feed_data(struct feeder *f, const struct np_restore_disk *disk, const struct np_record *record,
                     struct np_error *err)
{
    struct np_replay_item *item = np_replay_get(f->replay);
    if (item == NULL)
        return 0;
    item->disk = disk;
    item->geometry = &disk->geometry;
    item->stream = NULL;
    item->header = record->header;
    item->name = "the stream";
    memcpy(item->table, record->table, record->header.table_len);
    memset(item->take, 0, sizeof(item->take));
    memcpy(item->take, record->table, np_map_bytes(&disk->geometry));
    if (np_reader_data(f->reader, item->data, disk->geometry.chunk, err) < 0)
        return -1;
    const uint64_t bytes = np_map_add_up(&disk->geometry, record->header.offset, item->take).data_bytes;
    f->counts->written += bytes;
    f->counts->read += record->header.data_len;
    np_replay_put(f->replay, item, bytes);
    return 1;
}

static int feed_blob(struct feeder *f, const struct np_record *record, struct np_error *err)
{
    const char *name;
    uint64_t total, offset;
    if (np_reader_blob(f->reader, &name, &total, &offset) < 0)
        return np_fail(err, NP_DAMAGED, "a BLOB record without a blob");
    NP_AUTO_FREE void *bytes = malloc(record->header.data_len + 1);
    if (bytes == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "blob %s", name);
    if (np_reader_data(f->reader, bytes, record->header.data_len, err) < 0)
        return -1;
    return f->blob(f->blob_ctx, name, total, offset, bytes, record->header.data_len, err);
}

static int feed(struct feeder *f, struct np_error *err)
{
    struct np_record record;
    for (int more; (more = np_reader_next(f->reader, &record, err)) != 0;) {
        if (more < 0)
            return -1;
        const struct np_restore_disk *disk = find_disk(f->disks, f->disk_count, record.header.disk);
        if (record.header.type == NP_RECORD_BLOB && f->blob != NULL) {
            if (feed_blob(f, &record, err) < 0)
                return -1;
        } else if (record.header.type == NP_RECORD_DATA && disk != NULL) {
            int fed = feed_data(f, disk, &record, err);
            if (fed <= 0)
                return fed;
        }
        f->counts->covered = np_reader_pos(f->reader);
        if (f->options->progress != NULL)
            f->options->progress(f->options->progress_ctx, f->counts);
    }
    return 0;
}

int np_restore_reader(const struct np_restore_options *options, struct np_reader *reader,
                      const struct np_restore_disk *disks, size_t disk_count, np_restore_blob *blob,
                      void *blob_ctx, struct np_restore_counts *counts, struct np_error *err)
{
    uint32_t chunk = NP_CHUNK_MIN;
    for (size_t i = 0; i < disk_count; i++)
        if (disks[i].geometry.chunk > chunk)
            chunk = disks[i].geometry.chunk;

    struct feeder f = {.options = options,
                       .reader = reader,
                       .disks = disks,
                       .disk_count = disk_count,
                       .blob = blob,
                       .blob_ctx = blob_ctx,
                       .counts = counts};
    *counts = (struct np_restore_counts){0};
    if (np_replay_start(options, disks, disk_count, chunk, &f.replay, err) < 0)
        return -1;

    struct np_error mine = NP_ERROR_INIT;
    if (feed(&f, &mine) < 0)
        np_replay_fail(f.replay, &mine);
    return np_replay_finish(f.replay, NULL, err);
}
