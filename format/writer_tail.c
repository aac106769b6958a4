#include "blob_table.h"
#include "results.h"
#include "writer.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"

#include <errno.h>

/* What follows the disks' records: BLOBs, the second META, DIR, END. */

enum { PART = 1 << 20 }; /* of a blob; less than the format allows, so that a reader needs little memory */

static int check_ended(const struct np_writer *writer, struct np_error *err)
{
    if (np_writer_check_open(writer, err) < 0)
        return -1;
    for (size_t i = 0; i < writer->meta->disk_count; i++)
        if (!writer->disks[i].ended)
            return np_fail(err, NP_FAILED, "disk %s: internal error: the stream goes on before its end",
                           writer->disks[i].meta->target);
    return 0;
}

static int check_name(const struct np_writer *writer, const char *name, struct np_error *err)
{
    if (!np_blob_table_name_is_good(name))
        return np_fail(
            err, NP_FAILED,
            "a file cannot be stored under this name; it takes 1 to 255 letters, digits and \"._-\", "
            "without a dot in front");
    for (size_t i = 0; i < writer->blob_count; i++)
        if (strcmp(writer->blobs[i].name, name) == 0)
            return np_fail(err, NP_FAILED, "two files to be stored are named %s", name);
    if (np_trailer_dir_size((uint32_t)writer->meta->disk_count, (uint32_t)writer->blob_count + 1) >
        NP_TABLE_MAX)
        return np_fail(err, NP_FAILED, "%s: more files than a stream can hold", name);
    return 0;
}

static int list_blob(struct np_writer *writer, const char *name, struct np_error *err)
{
    if (writer->blob_count == writer->blob_room) {
        size_t room = writer->blob_room > 0 ? 2 * writer->blob_room : 8;
        struct np_writer_blob *more = realloc(writer->blobs, room * sizeof(*more));
        if (more == NULL)
            return np_fail_errno(err, NP_FAILED, ENOMEM, "%s: cannot store", name);
        writer->blobs = more;
        writer->blob_room = room;
    }
    char *copy = strdup(name);
    if (copy == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s: cannot store", name);
    writer->blobs[writer->blob_count++] = (struct np_writer_blob){.name = copy};
    return 0;
}

static int write_blob(struct np_writer *writer, const char *name, const void *bytes, size_t size,
                      struct np_error *err)
{
    if (check_ended(writer, err) < 0 || check_name(writer, name, err) < 0 || list_blob(writer, name, err) < 0)
        return -1;
    struct np_blob_table table = {.total = size, .sum = np_hash128(bytes, size)};
    memcpy(table.name, name, strlen(name) + 1);
    uint8_t table_bytes[NP_BLOB_TABLE_MAX];
    uint32_t table_len = np_blob_table_put(table_bytes, &table);

    size_t at = 0;
    do {
        struct np_record_header header = np_emitter_begin(&writer->emitter, NP_RECORD_BLOB, NP_DISK_NONE);
        header.offset = at;
        header.length = np_min_u64(size - at, PART);
        header.table_len = table_len;
        header.data_len = (uint32_t)header.length;
        const uint8_t *part = size > 0 ? (const uint8_t *)bytes + at : NULL;
        if (np_emitter_put(&writer->emitter, &header, table_bytes, part, err) < 0)
            return np_error_context(err, "%s", name);
        if (at == 0)
            writer->blobs[writer->blob_count - 1].place = np_place_of(&header);
        at += header.data_len;
    } while (at < size);
    return 0;
}

int np_writer_blob(struct np_writer *writer, const char *name, const void *bytes, size_t size,
                   struct np_error *err)
{
    return np_writer_settle(writer, write_blob(writer, name, bytes, size, err));
}

static int put_results(struct np_writer *writer, struct np_place *place, struct np_error *err)
{
    size_t count = writer->meta->disk_count;
    NP_AUTO_FREE struct np_totals *totals = calloc(count, sizeof(*totals));
    if (totals == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot end the stream");
    for (size_t i = 0; i < count; i++)
        totals[i] = writer->disks[i].track.totals;

    NP_AUTO_FREE char *text = NULL;
    if (np_results_format(writer->meta, totals, writer->blob_count, &text, err) < 0)
        return -1;
    return np_writer_put_meta(writer, text, place, err);
}

static int put_dir(struct np_writer *writer, struct np_place *place, struct np_error *err)
{
    uint32_t disks = (uint32_t)writer->meta->disk_count, blobs = (uint32_t)writer->blob_count;
    size_t size = (size_t)np_trailer_dir_size(disks, blobs);
    NP_AUTO_FREE uint8_t *table = malloc(size);
    if (table == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot end the stream");

    uint8_t *to = table;
    np_trailer_put_dir_head(to, disks, blobs, writer->emitter.last_index);
    to += NP_DIR_HEAD_SIZE;
    for (uint32_t i = 0; i < disks; i++, to += NP_DIR_DISK_SIZE)
        np_trailer_put_dir_disk(to, &writer->disks[i].dir);
    for (uint32_t i = 0; i < blobs; i++, to += NP_PLACE_SIZE)
        np_place_put(to, &writer->blobs[i].place);

    struct np_record_header header = np_emitter_begin(&writer->emitter, NP_RECORD_DIR, NP_DISK_NONE);
    header.table_len = (uint32_t)size;
    if (np_emitter_put(&writer->emitter, &header, table, NULL, err) < 0)
        return -1;
    *place = np_place_of(&header);
    return 0;
}

static int put_end(struct np_writer *writer, const struct np_place *meta, const struct np_place *dir,
                   struct np_error *err)
{
    struct np_emitter *emitter = &writer->emitter;
    struct np_end end = {
        .size = emitter->pos + NP_END_SIZE,
        .records = emitter->number + 1,
        .dir = *dir,
        .meta = *meta,
        .digest = np_hash_stream_get(emitter->headers),
        .stream = writer->meta->stream,
    };
    uint8_t table[NP_END_TABLE_SIZE];
    np_trailer_put_end(table, &end);

    struct np_record_header header = np_emitter_begin(emitter, NP_RECORD_END, NP_DISK_NONE);
    header.table_len = sizeof(table);
    return np_emitter_put(emitter, &header, table, NULL, err);
}

static int finish(struct np_writer *writer, struct np_error *err)
{
    struct np_place meta, dir;
    if (check_ended(writer, err) < 0 || put_results(writer, &meta, err) < 0 ||
        put_dir(writer, &dir, err) < 0 || put_end(writer, &meta, &dir, err) < 0)
        return -1;
    writer->closed = true;
    return 0;
}

int np_writer_finish(struct np_writer *writer, struct np_error *err)
{
    return np_writer_settle(writer, finish(writer, err));
}
