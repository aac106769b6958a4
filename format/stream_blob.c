#include "damage.h"
#include "stream_parts.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"

#include <string.h>

/* Header and table of the part at pos. @param number that it must have, or NP_ANY_NUMBER */
static int read_part(const struct np_record_at *at, uint64_t pos, uint64_t number,
                     struct np_record_header *header, struct np_blob_table *table, struct np_error *err)
{
    uint8_t bytes[NP_BLOB_TABLE_MAX];
    if (np_record_at_header(at, pos, NP_RECORD_BLOB, header, err) < 0 ||
        np_record_expect(header, at->name, at->stream_id, pos, number, err) < 0 ||
        np_record_at_table(at, header, NULL, bytes, err) < 0)
        return -1;
    struct np_record record = {.header = *header, .table = bytes};
    return np_blob_table_decode(&record, at->name, table, err);
}

static int read_first(const struct np_stream *stream, const struct np_place *place,
                      struct np_record_header *header, struct np_blob_table *table, struct np_error *err)
{
    if (read_part(&stream->at, place->pos, NP_ANY_NUMBER, header, table, err) < 0)
        return -1;
    if (!np_place_is_of(place, header) || header->offset != 0)
        return np_damage_record(stream->name, header, NULL, err, "DIR names another record at this place");
    return 0;
}

static const struct np_stream_blob *find(const struct np_stream *stream, const char *name, size_t among)
{
    for (size_t i = 0; i < among; i++)
        if (strcmp(stream->blobs[i].name, name) == 0)
            return &stream->blobs[i];
    return NULL;
}

/* A damaged file must not stand between a user and the disks: it has no name until somebody asks for it. */
int np_stream_blob_names(struct np_stream *stream, struct np_error *err)
{
    for (size_t i = 0; i < stream->blob_count; i++) {
        struct np_record_header header;
        struct np_blob_table table;
        struct np_error ignored = NP_ERROR_INIT;
        if (read_first(stream, &stream->blobs[i].place, &header, &table, &ignored) < 0)
            continue;
        if (find(stream, table.name, i) != NULL)
            return np_damage_record(stream->name, &header, NULL, err, "the stream has a second file %s",
                                    table.name);
        memcpy(stream->blobs[i].name, table.name, sizeof(table.name));
    }
    return 0;
}

const char *np_stream_blob_name(const struct np_stream *stream, size_t i)
{
    return i < stream->blob_count ? stream->blobs[i].name : NULL;
}

static void free_hash(struct np_hash_stream **hash)
{
    np_hash_stream_free(*hash);
}

static int next_part(const struct np_stream *stream, struct np_record_header *header,
                     const struct np_blob_table *blob, uint64_t next, struct np_error *err)
{
    struct np_blob_table table;
    uint64_t pos = header->pos + np_record_size(header);
    if (read_part(&stream->at, pos, header->number + 1, header, &table, err) < 0)
        return -1;
    bool same = table.total == blob->total && np_hash128_equal(table.sum, blob->sum) &&
                strcmp(table.name, blob->name) == 0;
    if (!same || header->offset != next)
        return np_damage_record(stream->name, header, NULL, err, "it is not the next part of %s", blob->name);
    return 0;
}

/*
 * Each part is at least one byte, so that a hostile total ends the loop soon.
 * @param bytes room for all of it, or for a part that is forgotten when the next one comes if `whole` is
 * false
 */
static int read_parts(const struct np_stream *stream, struct np_record_header *header,
                      const struct np_blob_table *blob, uint8_t *bytes, bool whole, struct np_cancel *cancel,
                      struct np_error *err)
{
    NP_CLEANUP(free_hash) struct np_hash_stream *hash = np_hash_stream_new();
    uint64_t next = 0;
    if (hash == NULL)
        return np_fail(err, NP_FAILED, "%s: out of memory", stream->name);
    for (;;) {
        uint8_t *part = whole ? bytes + next : bytes;
        if (np_cancel_check(cancel, err) < 0 || np_record_at_data(&stream->at, header, NULL, part, err) < 0)
            return -1;
        np_hash_stream_add(hash, part, header->data_len);
        next += header->length;
        if (next == blob->total)
            break;
        if (next_part(stream, header, blob, next, err) < 0)
            return -1;
    }
    if (!np_hash128_equal(np_hash_stream_get(hash), blob->sum))
        return np_damage_record(stream->name, header, NULL, err,
                                "the file %s has another checksum than it must", blob->name);
    return 0;
}

int np_stream_blob_check(struct np_stream *stream, size_t i, struct np_cancel *cancel, struct np_error *err)
{
    struct np_record_header header;
    struct np_blob_table table;
    if (read_first(stream, &stream->blobs[i].place, &header, &table, err) < 0)
        return -1;
    NP_AUTO_FREE uint8_t *part = malloc((size_t)np_min_u64(table.total, NP_BLOB_PART_MAX) + 1);
    if (part == NULL)
        return np_fail(err, NP_FAILED, "%s: out of memory", stream->name);
    return read_parts(stream, &header, &table, part, false, cancel, err);
}

int np_stream_blob(struct np_stream *stream, const char *name, size_t limit, void **bytes, size_t *size,
                   struct np_error *err)
{
    *bytes = NULL;
    *size = 0;
    struct np_record_header header;
    struct np_blob_table table;
    const struct np_stream_blob *blob = find(stream, name, stream->blob_count);
    if (blob == NULL)
        blob = find(stream, "", stream->blob_count); /* the one that cannot be read may be it */
    if (blob == NULL)
        return 0;
    if (read_first(stream, &blob->place, &header, &table, err) < 0)
        return np_error_context(err, "the file %s", name);
    if (strcmp(table.name, name) != 0)
        return np_fail(err, NP_DAMAGED, "%s: the files in it cannot be told apart", stream->name);
    if (table.total > limit || table.total > stream->at.input.size)
        return np_fail(err, NP_DAMAGED, "%s: the file %s has %ju bytes, more than the %zu that can be right",
                       stream->name, name, (uintmax_t)table.total, limit);

    NP_AUTO_FREE uint8_t *whole = malloc((size_t)table.total + 1);
    if (whole == NULL)
        return np_fail(err, NP_FAILED, "%s: out of memory", stream->name);
    if (read_parts(stream, &header, &table, whole, true, NULL, err) < 0)
        return -1;
    whole[table.total] = '\0';
    *size = (size_t)table.total;
    *bytes = NP_STEAL(whole);
    return 0;
}
