#include "writer.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"

#include <errno.h>

int np_writer_check_open(const struct np_writer *writer, struct np_error *err)
{
    if (!writer->closed)
        return 0;
    return np_fail(err, NP_FAILED,
                   "internal error: the stream has ended, by its end or by an error, and is written on");
}

int np_writer_settle(struct np_writer *writer, int result)
{
    if (result < 0)
        writer->closed = true;
    return result;
}

/* What the readers' rules say of our own record is our own mistake, not damage. */
static int own_mistake(const struct np_writer_disk *disk, struct np_error *err)
{
    err->class = NP_FAILED;
    np_error_context(err, "disk %s: internal error: refused to write a wrong stream", disk->meta->target);
    return np_error_where(err, disk->meta->target, NP_NO_OFFSET);
}

int np_writer_put_meta(struct np_writer *writer, const char *results, struct np_place *place,
                       struct np_error *err)
{
    struct np_record_header header = np_emitter_begin(&writer->emitter, NP_RECORD_META, NP_DISK_NONE);
    size_t table_len = strlen(writer->meta_text), data_len = results != NULL ? strlen(results) : 0;
    if (table_len > NP_TABLE_MAX || data_len > NP_TABLE_MAX)
        return np_fail(err, NP_FAILED, "the description of the stream takes %zu bytes; the format holds %u",
                       np_max_u64(table_len, data_len), NP_TABLE_MAX);
    header.table_len = (uint32_t)table_len;
    header.data_len = (uint32_t)data_len;
    if (np_emitter_put(&writer->emitter, &header, writer->meta_text, results, err) < 0)
        return -1;
    *place = np_place_of(&header);
    return 0;
}

static int add_disks(struct np_writer *writer, struct np_error *err)
{
    const struct np_meta *meta = writer->meta;
    if (meta->disk_count < 1 || meta->disk_count > NP_DISKS_MAX)
        return np_fail(err, NP_FAILED, "a stream of %zu disks; the format holds 1 to %d", meta->disk_count,
                       NP_DISKS_MAX);
    writer->disks = calloc(meta->disk_count, sizeof(*writer->disks));
    if (writer->disks == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot begin a stream");
    for (size_t i = 0; i < meta->disk_count; i++) {
        struct np_writer_disk *disk = &writer->disks[i];
        disk->meta = &meta->disks[i];
        if (np_geometry_check(&disk->meta->geometry, err) < 0)
            return own_mistake(disk, err);
        if (disk->meta->id >= NP_DISKS_MAX || (i > 0 && disk->meta->id <= meta->disks[i - 1].id))
            return np_fail(err, NP_FAILED, "internal error: disk numbers do not rise, or reach %d",
                           NP_DISKS_MAX);
        np_track_init(&disk->track, disk->meta);
        writer->by_id[disk->meta->id] = disk;
    }
    return 0;
}

static void cleanup(struct np_writer **writer)
{
    np_writer_free(*writer);
}

int np_writer_new(const struct np_sink *sink, const struct np_meta *meta, struct np_writer **writer,
                  struct np_error *err)
{
    NP_CLEANUP(cleanup) struct np_writer *made = calloc(1, sizeof(*made));
    if (made == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot begin a stream");
    made->meta = meta;
    struct np_place place;
    if (np_emitter_init(&made->emitter, sink, &meta->stream, err) < 0 || add_disks(made, err) < 0 ||
        np_meta_format(meta, &made->meta_text, err) < 0 || np_writer_put_meta(made, NULL, &place, err) < 0)
        return -1;
    *writer = NP_STEAL(made);
    return 0;
}

void np_writer_free(struct np_writer *writer)
{
    if (writer == NULL)
        return;
    for (size_t i = 0; writer->disks != NULL && i < writer->meta->disk_count; i++)
        np_index_writer_free(writer->disks[i].index);
    for (size_t i = 0; i < writer->blob_count; i++)
        free(writer->blobs[i].name);
    free(writer->blobs);
    free(writer->disks);
    free(writer->meta_text);
    np_emitter_clear(&writer->emitter);
    free(writer);
}

uint64_t np_writer_size(const struct np_writer *writer)
{
    return writer->emitter.pos;
}

const struct np_totals *np_writer_totals(const struct np_writer *writer, uint16_t disk)
{
    const struct np_writer_disk *found = disk < NP_DISKS_MAX ? writer->by_id[disk] : NULL;
    return found != NULL ? &found->track.totals : NULL;
}

static int find_disk(struct np_writer *writer, uint16_t id, struct np_writer_disk **disk,
                     struct np_error *err)
{
    if (np_writer_check_open(writer, err) < 0)
        return -1;
    *disk = id < NP_DISKS_MAX ? writer->by_id[id] : NULL;
    if (*disk == NULL)
        return np_fail(err, NP_FAILED, "internal error: the stream has no disk %u", id);
    if ((*disk)->ended)
        return np_fail(err, NP_FAILED, "disk %s: internal error: written on after its end",
                       (*disk)->meta->target);
    return 0;
}

/* Put a DATA or ZERO record and all that follows from it. A full leaf goes out before the record. */
static int put(struct np_writer *writer, struct np_writer_disk *disk, struct np_record *record,
               struct np_error *err)
{
    struct np_record_header *header = &record->header;
    const struct np_geometry *geometry = &disk->meta->geometry;
    if (np_track_check(&disk->track, record, "the stream", err) < 0)
        return own_mistake(disk, err);
    if (disk->index == NULL &&
        np_index_writer_new(&writer->emitter, disk->meta->id, geometry, &disk->index, err) < 0)
        return -1;

    bool is_data = header->type == NP_RECORD_DATA;
    unsigned hashes = is_data ? (header->table_len - np_map_bytes(geometry)) / NP_HASH128_SIZE : 0;
    if (np_index_writer_reserve(disk->index, hashes, err) < 0 ||
        np_emitter_put(&writer->emitter, header, record->table, record->data, err) < 0)
        return np_error_where(err, disk->meta->target, header->offset);
    np_index_writer_add(disk->index, header, record->table);
    np_track_add(&disk->track, record);
    return 0;
}

static struct np_record zero_record(const struct np_writer *writer, const struct np_writer_disk *disk,
                                    uint64_t offset, uint64_t length)
{
    struct np_record record = {.header = np_emitter_begin(&writer->emitter, NP_RECORD_ZERO, disk->meta->id)};
    record.header.offset = offset;
    record.header.length = length;
    return record;
}

static int flush_zero(struct np_writer *writer, struct np_writer_disk *disk, struct np_error *err)
{
    if (disk->zero_length == 0)
        return 0;
    struct np_record record = zero_record(writer, disk, disk->zero_offset, disk->zero_length);
    disk->zero_length = 0;
    return put(writer, disk, &record, err);
}

static int write_data(struct np_writer *writer, uint16_t id, const struct np_packed *packed,
                      struct np_error *err)
{
    struct np_writer_disk *disk;
    if (find_disk(writer, id, &disk, err) < 0 || flush_zero(writer, disk, err) < 0)
        return -1;

    struct np_record record = {
        .header = np_emitter_begin(&writer->emitter, NP_RECORD_DATA, id),
        .table = packed->table,
        .data = packed->data,
    };
    record.header.codec = packed->codec;
    record.header.offset = packed->offset;
    record.header.length = packed->length;
    record.header.table_len = packed->table_len;
    record.header.data_len = packed->data_len;
    record.header.data_sum = packed->data_sum;
    if (np_window_check(&disk->meta->geometry, &record, "the stream", err) < 0)
        return own_mistake(disk, err);
    return put(writer, disk, &record, err);
}

int np_writer_data(struct np_writer *writer, uint16_t disk, const struct np_packed *packed,
                   struct np_error *err)
{
    return np_writer_settle(writer, write_data(writer, disk, packed, err));
}

static int write_zero(struct np_writer *writer, uint16_t id, uint64_t offset, uint64_t length,
                      struct np_error *err)
{
    struct np_writer_disk *disk;
    if (find_disk(writer, id, &disk, err) < 0)
        return -1;
    if (offset != disk->zero_offset + disk->zero_length && flush_zero(writer, disk, err) < 0)
        return -1;
    if (disk->zero_length == 0)
        disk->zero_offset = offset;

    /* Checked here with its neighbours already in it, so that the fault is seen where it is made. */
    uint64_t joined;
    if (length == 0 || !np_add_u64(disk->zero_length, length, &joined))
        joined = 0; /* which no ZERO may have */
    struct np_record record = zero_record(writer, disk, disk->zero_offset, joined);
    if (np_track_check(&disk->track, &record, "the stream", err) < 0)
        return own_mistake(disk, err);
    disk->zero_length = joined;
    return 0;
}

int np_writer_zero(struct np_writer *writer, uint16_t disk, uint64_t offset, uint64_t length,
                   struct np_error *err)
{
    return np_writer_settle(writer, write_zero(writer, disk, offset, length, err));
}

/* Own terms alone, or on top of what the increment keeps of its base, or unknown. */
static int set_digest(struct np_writer_disk *disk, const struct np_hash128 *replaced, struct np_error *err)
{
    struct np_totals *totals = &disk->track.totals;
    bool based = !np_uuid_is_nil(&disk->meta->base_state);
    if (!based && replaced != NULL)
        return np_fail(err, NP_FAILED, "disk %s: internal error: a digest to build on, but no base",
                       disk->meta->target);
    totals->digest_known = !based || replaced != NULL;
    if (!totals->digest_known)
        totals->digest = (struct np_hash128){0, 0};
    else if (replaced != NULL)
        np_digest_join(&totals->digest, *replaced);
    return 0;
}

static int end_disk(struct np_writer *writer, uint16_t id, const struct np_hash128 *replaced,
                    struct np_error *err)
{
    struct np_writer_disk *disk;
    if (find_disk(writer, id, &disk, err) < 0 || flush_zero(writer, disk, err) < 0)
        return -1;
    if (np_track_end(&disk->track, "the stream", err) < 0)
        return own_mistake(disk, err);
    if (set_digest(disk, replaced, err) < 0)
        return -1;
    if (disk->index != NULL && np_index_writer_finish(disk->index, &disk->dir, err) < 0)
        return np_error_where(err, disk->meta->target, NP_NO_OFFSET);
    np_index_writer_free(disk->index);
    disk->index = NULL;
    disk->dir.id = id;
    disk->dir.totals = disk->track.totals;
    disk->ended = true;
    return 0;
}

int np_writer_disk_end(struct np_writer *writer, uint16_t disk, const struct np_hash128 *replaced,
                       struct np_error *err)
{
    return np_writer_settle(writer, end_disk(writer, disk, replaced, err));
}
