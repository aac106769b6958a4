#include "stream_parts.h"

#include "damage.h"
#include "results.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"

#include <string.h>

/* ---- opening ---- */

static int out_of_memory(const struct np_stream *stream, struct np_error *err)
{
    return np_fail(err, NP_FAILED, "%s: out of memory", stream->name);
}

static int no_end(const struct np_stream *stream, struct np_error *err)
{
    return np_error_context(
        err, "%s: it does not end with an END record, so it is truncated, or something was appended",
        stream->name);
}

/* Everything else follows from END, so what makes a file no whole stream shows here. */
static int read_end(struct np_stream *stream, struct np_record_header *header, struct np_end *end,
                    struct np_error *err)
{
    const struct np_input_at *input = &stream->at.input;
    uint8_t bytes[NP_END_SIZE];
    if (input->size < 2 * (uint64_t)NP_END_SIZE || input->size > INT64_MAX)
        return np_fail(err, NP_DAMAGED, "%s: %ju bytes cannot be a whole stream: it is truncated",
                       stream->name, (uintmax_t)input->size);
    uint64_t pos = input->size - NP_END_SIZE;
    if (input->read_at(input->ctx, bytes, sizeof(bytes), pos, err) < 0)
        return -1;
    if (np_record_decode(bytes, stream->name, pos, header, err) < 0)
        return err->class == NP_DAMAGED ? no_end(stream, err) : -1;
    if (header->type != NP_RECORD_END) {
        np_damage_record(stream->name, header, NULL, err, "it is the last record");
        return no_end(stream, err);
    }
    if (np_record_expect(header, stream->name, header->stream_id, pos, NP_ANY_NUMBER, err) < 0)
        return -1;

    struct np_record record = {.header = *header, .table = bytes + NP_RECORD_HEADER_SIZE};
    if (np_hash64(record.table, header->table_len) != header->table_sum ||
        np_record_wrong_sum(header) != NULL)
        return np_damage_record(stream->name, header, NULL, err, "it has a wrong checksum");
    return np_trailer_end_decode(&record, stream->name, end, err);
}

static int parse_meta(struct np_stream *stream, const struct np_record_header *header, const uint8_t *table,
                      const struct np_end *end, struct np_error *err)
{
    if (np_meta_parse((const char *)table, header->table_len, stream->name, &stream->meta, err) < 0)
        return -1;
    if (!np_uuid_equal(&stream->meta->stream, &end->stream))
        return np_damage_record(stream->name, header, NULL, err, "its stream UUID is not that of END");
    return 0;
}

/* The beginning must belong to the end: after a shorter stream was written over a longer one it does not. */
static int compare_first_meta(const struct np_stream *stream, const struct np_record_header *second,
                              const uint8_t *table, struct np_error *err)
{
    struct np_record_header first;
    if (np_record_at_header(&stream->at, 0, NP_RECORD_META, &first, err) < 0)
        return -1;
    if (first.number != 0 || first.data_len != 0 || first.table_len != second->table_len)
        return np_damage_record(stream->name, &first, NULL, err,
                                "it is not the META that the stream ends with");
    NP_AUTO_FREE uint8_t *bytes = malloc(first.table_len);
    if (bytes == NULL)
        return out_of_memory(stream, err);
    if (np_record_at_table(&stream->at, &first, NULL, bytes, err) < 0)
        return -1;
    if (memcmp(bytes, table, first.table_len) != 0)
        return np_damage_record(stream->name, &first, NULL, err,
                                "it is not the META that the stream ends with");
    return 0;
}

static const char *wrong_disk(const struct np_meta_disk *disk, const struct np_dir_disk *dir)
{
    if (dir->id != disk->id)
        return "it does not list the disks of META";
    if (np_uuid_is_nil(&disk->base_state) && !dir->totals.digest_known)
        return "it lacks the digest of a disk that is whole";
    if (dir->has_root && dir->root.end > disk->geometry.size)
        return "the index covers more than the disk";
    return NULL;
}

static int take_disks(struct np_stream *stream, const struct np_record_header *header,
                      const struct np_dir *dir, struct np_error *err)
{
    if (dir->disks != stream->meta->disk_count)
        return np_damage_record(stream->name, header, NULL, err, "it does not list the disks of META");
    stream->disks = calloc(dir->disks, sizeof(*stream->disks));
    if (stream->disks == NULL)
        return out_of_memory(stream, err);
    for (uint32_t i = 0; i < dir->disks; i++) {
        np_trailer_dir_disk(dir, i, &stream->disks[i]);
        const char *wrong = wrong_disk(&stream->meta->disks[i], &stream->disks[i]);
        if (wrong != NULL)
            return np_damage_record(stream->name, header, &stream->meta->disks[i], err, "%s", wrong);
    }
    return 0;
}

/* np_trailer_dir_decode has bounded both counts. */
static int take_blobs(struct np_stream *stream, const struct np_dir *dir, struct np_error *err)
{
    stream->blobs = calloc(dir->blobs > 0 ? dir->blobs : 1, sizeof(*stream->blobs));
    if (stream->blobs == NULL)
        return out_of_memory(stream, err);
    stream->blob_count = dir->blobs;
    for (uint32_t i = 0; i < dir->blobs; i++)
        np_trailer_dir_blob(dir, i, &stream->blobs[i].place);
    return np_stream_blob_names(stream, err);
}

static int check_results(const struct np_stream *stream, const struct np_record_header *meta,
                         struct np_error *err)
{
    NP_AUTO_FREE uint8_t *text = malloc(meta->data_len > 0 ? meta->data_len : 1);
    NP_AUTO_FREE struct np_totals *totals = calloc(stream->meta->disk_count, sizeof(*totals));
    if (text == NULL || totals == NULL)
        return out_of_memory(stream, err);
    if (np_record_at_data(&stream->at, meta, NULL, text, err) < 0)
        return -1;
    for (size_t i = 0; i < stream->meta->disk_count; i++)
        totals[i] = stream->disks[i].totals;
    return np_results_check((const char *)text, meta->data_len, stream->name, stream->meta, totals,
                            stream->blob_count, err);
}

static int read_trailer(struct np_stream *stream, struct np_error *err)
{
    struct np_record_header end_header, meta_header, dir_header;
    struct np_end end;
    struct np_dir dir;
    NP_AUTO_FREE uint8_t *meta = NULL;
    NP_AUTO_FREE uint8_t *table = NULL;

    if (read_end(stream, &end_header, &end, err) < 0)
        return -1;
    stream->at.stream_id = end_header.stream_id;
    if (np_record_at_whole(&stream->at, &end.meta, NP_RECORD_META, &meta_header, &meta, err) < 0 ||
        parse_meta(stream, &meta_header, meta, &end, err) < 0 ||
        compare_first_meta(stream, &meta_header, meta, err) < 0)
        return -1;

    if (np_record_at_whole(&stream->at, &end.dir, NP_RECORD_DIR, &dir_header, &table, err) < 0)
        return -1;
    struct np_record record = {.header = dir_header, .table = table};
    if (np_trailer_dir_decode(&record, stream->name, &dir, err) < 0)
        return -1;
    if (meta_header.number >= dir_header.number || dir_header.number >= end_header.number)
        return np_damage_record(stream->name, &dir_header, NULL, err, "META, DIR and END are not in order");
    if (take_disks(stream, &dir_header, &dir, err) < 0 || take_blobs(stream, &dir, err) < 0)
        return -1;
    stream->end = end;
    return check_results(stream, &meta_header, err);
}

static void cleanup_stream(struct np_stream **stream)
{
    np_stream_close(*stream);
}

int np_stream_open(const struct np_input_at *input, const char *name, struct np_stream **stream,
                   struct np_error *err)
{
    NP_CLEANUP(cleanup_stream) struct np_stream *made = calloc(1, sizeof(*made));
    if (made == NULL)
        return np_fail(err, NP_FAILED, "%s: out of memory", name);
    made->name = strdup(name);
    if (made->name == NULL)
        return np_fail(err, NP_FAILED, "%s: out of memory", name);
    made->at = (struct np_record_at){.input = *input, .name = made->name};
    if (read_trailer(made, err) < 0)
        return -1;
    *stream = NP_STEAL(made);
    return 0;
}

int np_stream_first_meta(const struct np_input_at *input, const char *name, struct np_meta **meta,
                         struct np_error *err)
{
    const struct np_record_at at = {.input = *input, .name = name};
    struct np_record_header header;
    NP_AUTO_FREE uint8_t *table = NULL;
    uint8_t bytes[NP_RECORD_HEADER_SIZE];
    if (input->size < sizeof(bytes))
        return np_fail(err, NP_DAMAGED, "%s: it is too short for a META", name);
    if (input->read_at(input->ctx, bytes, sizeof(bytes), 0, err) < 0 ||
        np_record_decode(bytes, name, 0, &header, err) < 0)
        return -1;
    if (header.type != NP_RECORD_META || header.table_len > input->size - sizeof(bytes))
        return np_damage_record(name, &header, NULL, err, "a whole META must be there");
    return np_record_at_new_table(&at, &header, &table, err) < 0
               ? -1
               : np_meta_parse((const char *)table, header.table_len, name, meta, err);
}

void np_stream_close(struct np_stream *stream)
{
    if (stream == NULL)
        return;
    np_meta_free(stream->meta);
    free(stream->disks);
    free(stream->blobs);
    free(stream->name);
    free(stream);
}

/* ---- looking ---- */

const struct np_meta *np_stream_meta(const struct np_stream *stream)
{
    return stream->meta;
}

const char *np_stream_name(const struct np_stream *stream)
{
    return stream->name;
}

uint64_t np_stream_size(const struct np_stream *stream)
{
    return stream->at.input.size;
}

const struct np_dir_disk *np_stream_dir_disk(const struct np_stream *stream, uint16_t disk)
{
    for (size_t i = 0; i < stream->meta->disk_count; i++)
        if (stream->disks[i].id == disk)
            return &stream->disks[i];
    return NULL;
}

const struct np_totals *np_stream_totals(const struct np_stream *stream, uint16_t disk)
{
    const struct np_dir_disk *found = np_stream_dir_disk(stream, disk);
    return found != NULL ? &found->totals : NULL;
}
