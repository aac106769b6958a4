#include "reader_input.h"
#include "reader_whole.h"

#include "damage.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"

#include <stdio.h>
#include <string.h>

/* What np_reader_next does after a record was taken. */
enum step { STEP_ERROR = -1, STEP_END = 0, STEP_GIVE = 1, STEP_GO_ON = 2 };

struct np_reader {
    struct np_reader_input input;
    struct np_meta *meta;
    struct np_reader_whole whole;
    uint64_t next_number;
    struct np_hash_stream *headers; /* of all records so far */
    struct np_hash_stream *data;    /* of the record whose data are being skipped */

    struct np_record_header current;
    bool data_pending; /* data and padding of `current` have not been read */
    uint8_t *table;    /* of `current` */
    size_t table_room;
    bool failed, ended;

    uint8_t *first_meta, *results; /* until they have been compared */
    uint32_t first_meta_len, results_len;
};

static int out_of_memory(const struct np_reader *reader, struct np_error *err)
{
    return np_fail(err, NP_FAILED, "%s: out of memory", reader->input.name);
}

static const struct np_meta_disk *disk_of(const struct np_reader *reader,
                                          const struct np_record_header *header)
{
    return reader->meta != NULL ? np_meta_disk_by_id(reader->meta, header->disk) : NULL;
}

static int damaged(const struct np_reader *reader, const struct np_record_header *header, const char *cause,
                   struct np_error *err)
{
    return np_damage_record(reader->input.name, header, disk_of(reader, header), err, "%s", cause);
}

/* ---- the bytes of one record ---- */

static int read_header(struct np_reader *reader, struct np_error *err)
{
    const char *name = reader->input.name;
    uint64_t pos = reader->input.pos;
    uint8_t bytes[NP_RECORD_HEADER_SIZE];
    char what[64];
    snprintf(what, sizeof(what), "the header of record %ju", (uintmax_t)reader->next_number);
    if (np_reader_input_read(&reader->input, bytes, sizeof(bytes), what, err) < 0)
        return np_error_record(err, pos, reader->next_number);

    struct np_record_header *header = &reader->current;
    if (np_record_decode(bytes, name, pos, header, err) < 0)
        return -1;
    uint64_t id = reader->meta != NULL ? np_stream_id(&reader->meta->stream) : header->stream_id;
    if (np_record_expect(header, name, id, pos, reader->next_number, err) < 0)
        return -1;
    reader->next_number++;
    if (header->type != NP_RECORD_END)
        np_hash_stream_add(reader->headers, bytes, sizeof(bytes));
    return 0;
}

static void describe(const struct np_record_header *header, const char *part, char *what, size_t room)
{
    snprintf(what, room, "the %s of record %ju (%s)", part, (uintmax_t)header->number,
             np_record_type_name(header->type));
}

/* np_record_decode has bounded table_len by the type. */
static int read_table(struct np_reader *reader, struct np_error *err)
{
    const struct np_record_header *header = &reader->current;
    if (header->table_len > reader->table_room) {
        uint8_t *larger = realloc(reader->table, header->table_len);
        if (larger == NULL)
            return out_of_memory(reader, err);
        reader->table = larger;
        reader->table_room = header->table_len;
    }
    char what[64];
    describe(header, "table", what, sizeof(what));
    if (np_reader_input_read(&reader->input, reader->table, header->table_len, what, err) < 0)
        return np_error_record(err, header->pos, header->number);
    if (np_hash64(reader->table, header->table_len) != header->table_sum)
        return damaged(reader, header, "its table has a wrong checksum", err);
    reader->data_pending = true;
    return 0;
}

static int end_data(struct np_reader *reader, struct np_hash128 sum, struct np_error *err)
{
    const struct np_record_header *header = &reader->current;
    if (!np_hash128_equal(sum, header->data_sum))
        return damaged(reader, header, "its data have a wrong checksum", err);

    uint8_t padding[NP_RECORD_ALIGN];
    size_t size = (size_t)(header->pos + np_record_size(header) - reader->input.pos);
    if (np_reader_input_read(&reader->input, padding, size, "the padding of a record", err) < 0)
        return np_error_record(err, header->pos, header->number);
    if (!np_is_zero(padding, size))
        return damaged(reader, header, "its padding is not zero", err);
    reader->data_pending = false;
    if (header->type == NP_RECORD_BLOB)
        return np_reader_blobs_part_end(&reader->whole.blobs, header, reader->input.name, err);
    return 0;
}

static int skip_data(struct np_reader *reader, struct np_error *err)
{
    if (!reader->data_pending)
        return 0;
    const struct np_record_header *header = &reader->current;
    struct np_hash_stream *also = header->type == NP_RECORD_BLOB ? reader->whole.blobs.hash : NULL;
    char what[64];
    describe(header, "data", what, sizeof(what));
    np_hash_stream_reset(reader->data);
    if (np_reader_input_skip(&reader->input, header->data_len, reader->data, also, what, err) < 0)
        return np_error_record(err, header->pos, header->number);
    return end_data(reader, np_hash_stream_get(reader->data), err);
}

static int read_data(struct np_reader *reader, void *buffer, struct np_error *err)
{
    const struct np_record_header *header = &reader->current;
    char what[64];
    describe(header, "data", what, sizeof(what));
    if (np_reader_input_read(&reader->input, buffer, header->data_len, what, err) < 0)
        return np_error_record(err, header->pos, header->number);
    if (header->type == NP_RECORD_BLOB)
        np_hash_stream_add(reader->whole.blobs.hash, buffer, header->data_len);
    return end_data(reader, np_hash128(buffer, header->data_len), err);
}

/* ---- the types ---- */

static int leave_disks(struct np_reader *reader, struct np_error *err)
{
    for (size_t i = 0; i < reader->meta->disk_count; i++) {
        const struct np_reader_disk *disk = &reader->whole.seen.disks[i];
        if (np_track_end(&disk->track, reader->input.name, err) < 0)
            return np_error_where(err, disk->meta->target, NP_NO_OFFSET);
    }
    return 0;
}

static int take_second_meta(struct np_reader *reader, const struct np_record *record, struct np_error *err)
{
    const struct np_record_header *header = &record->header;
    if (header->table_len != reader->first_meta_len ||
        memcmp(record->table, reader->first_meta, header->table_len) != 0)
        return damaged(reader, header, "it is not the META that the stream begins with", err);
    reader->results = malloc(header->data_len > 0 ? header->data_len : 1);
    reader->results_len = header->data_len;
    if (reader->results == NULL)
        return out_of_memory(reader, err);
    return read_data(reader, reader->results, err);
}

static int take_dir(struct np_reader *reader, const struct np_record *record, struct np_error *err)
{
    const struct np_reader_seen *seen = &reader->whole.seen;
    if (np_reader_trailer_dir(seen, record, err) < 0)
        return -1;
    return np_reader_trailer_results(seen, reader->results, reader->results_len, err);
}

static int take_end(struct np_reader *reader, const struct np_record *record, struct np_error *err)
{
    struct np_hash128 headers = np_hash_stream_get(reader->headers);
    struct np_end end;
    if (np_trailer_end_decode(record, reader->input.name, &end, err) < 0 ||
        np_reader_trailer_end(&reader->whole.seen, &record->header, &end, headers, err) < 0 ||
        skip_data(reader, err) < 0)
        return -1;
    return np_reader_input_end(&reader->input, err);
}

static enum step take(struct np_reader *reader, const struct np_record *record, struct np_error *err)
{
    enum np_reader_phase before = reader->whole.phase;
    if (np_reader_whole_take(&reader->whole, record, err) < 0)
        return STEP_ERROR;
    if (before == NP_READER_DISKS && reader->whole.phase != before && leave_disks(reader, err) < 0)
        return STEP_ERROR;
    switch (record->header.type) {
    case NP_RECORD_DATA:
    case NP_RECORD_ZERO:
    case NP_RECORD_BLOB:
        return STEP_GIVE;
    case NP_RECORD_META:
        return take_second_meta(reader, record, err) < 0 ? STEP_ERROR : STEP_GO_ON;
    case NP_RECORD_DIR:
        return take_dir(reader, record, err) < 0 ? STEP_ERROR : STEP_GO_ON;
    case NP_RECORD_END:
        return take_end(reader, record, err) < 0 ? STEP_ERROR : STEP_END;
    default: /* INDEX, and what is optional and unknown */
        return STEP_GO_ON;
    }
}

static enum step next(struct np_reader *reader, struct np_record *record, struct np_error *err)
{
    enum step step;
    do {
        if (skip_data(reader, err) < 0 || read_header(reader, err) < 0 || read_table(reader, err) < 0)
            return STEP_ERROR;
        *record = (struct np_record){.header = reader->current, .table = reader->table};
        step = take(reader, record, err);
    } while (step == STEP_GO_ON);
    return step;
}

int np_reader_next(struct np_reader *reader, struct np_record *record, struct np_error *err)
{
    if (reader->ended)
        return STEP_END;
    if (reader->failed)
        return np_fail(err, NP_FAILED, "%s: nothing can be read after an error", reader->input.name);
    enum step step = next(reader, record, err);
    reader->failed = step == STEP_ERROR;
    reader->ended = step == STEP_END;
    return step;
}

int np_reader_data(struct np_reader *reader, void *buffer, size_t room, struct np_error *err)
{
    if (reader->failed || !reader->data_pending || room < reader->current.data_len)
        return np_fail(err, NP_FAILED,
                       "%s: the data of a record were asked for too late or with too little room",
                       reader->input.name);
    reader->failed = read_data(reader, buffer, err) < 0;
    return reader->failed ? -1 : 0;
}

/* ---- the first META, and the reader's life ---- */

static int read_first_meta(struct np_reader *reader, struct np_error *err)
{
    const struct np_record_header *header = &reader->current;
    const char *name = reader->input.name;
    if (read_header(reader, err) < 0)
        return -1;
    if (header->type != NP_RECORD_META || header->data_len != 0)
        return damaged(reader, header, "a stream begins with a META without data", err);
    if (read_table(reader, err) < 0 || skip_data(reader, err) < 0)
        return -1;

    if (np_meta_parse((const char *)reader->table, header->table_len, name, &reader->meta, err) < 0)
        return -1;
    if (np_stream_id(&reader->meta->stream) != header->stream_id)
        return damaged(reader, header, "its stream UUID is not that of the records", err);
    reader->first_meta = NP_STEAL(reader->table);
    reader->first_meta_len = header->table_len;
    reader->table_room = 0;
    return np_reader_whole_init(&reader->whole, reader->meta, name, err);
}

static void cleanup_reader(struct np_reader **reader)
{
    np_reader_free(*reader);
}

int np_reader_new(const struct np_input *input, const char *name, struct np_reader **reader,
                  struct np_error *err)
{
    NP_CLEANUP(cleanup_reader) struct np_reader *made = calloc(1, sizeof(*made));
    if (made == NULL)
        return np_fail(err, NP_FAILED, "%s: out of memory", name);
    made->input = (struct np_reader_input){.from = *input, .name = name};
    made->headers = np_hash_stream_new();
    made->data = np_hash_stream_new();
    if (made->headers == NULL || made->data == NULL)
        return out_of_memory(made, err);
    if (read_first_meta(made, err) < 0)
        return -1;
    *reader = NP_STEAL(made);
    return 0;
}

void np_reader_free(struct np_reader *reader)
{
    if (reader == NULL)
        return;
    np_reader_whole_clear(&reader->whole);
    np_hash_stream_free(reader->headers);
    np_hash_stream_free(reader->data);
    np_meta_free(reader->meta);
    free(reader->first_meta);
    free(reader->results);
    free(reader->table);
    free(reader);
}

/* ---- looking ---- */

const struct np_meta *np_reader_meta(const struct np_reader *reader)
{
    return reader->meta;
}

const struct np_totals *np_reader_totals(const struct np_reader *reader, uint16_t disk)
{
    const struct np_reader_disk *found = disk < NP_DISKS_MAX ? reader->whole.disk_by_id[disk] : NULL;
    return found != NULL ? &found->track.totals : NULL;
}

int np_reader_blob(const struct np_reader *reader, const char **name, uint64_t *total, uint64_t *offset)
{
    if (reader->current.type != NP_RECORD_BLOB)
        return -1;
    *name = reader->whole.blobs.current.name;
    *total = reader->whole.blobs.current.total;
    *offset = reader->current.offset;
    return 0;
}

uint64_t np_reader_pos(const struct np_reader *reader)
{
    return reader->input.pos;
}
