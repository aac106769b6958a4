#include "damage.h"
#include "stream_parts.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"

#include <string.h>

#define SUMS_PIECE (64u << 10)

/* The record is the truth; an entry that says otherwise is damage of the index. */
static uint32_t table_len_of(const struct np_entry *entry, const struct np_meta_disk *disk)
{
    return entry->type == NP_RECORD_DATA
               ? np_map_bytes(&disk->geometry) + entry->hash_count * (uint32_t)NP_HASH128_SIZE
               : 0;
}

const char *np_stream_wrong_header(const struct np_record_header *header, const struct np_entry *entry,
                                   const struct np_meta_disk *disk)
{
    uint32_t table_len = table_len_of(entry, disk);
    if (header->head_sum != entry->head_sum || header->disk != disk->id || header->type != entry->type ||
        header->codec != entry->codec || header->offset != entry->offset || header->length != entry->length ||
        header->data_len != entry->data_len || header->table_len != table_len)
        return "the index describes another record at this place";
    return NULL;
}

static const char *wrong_table(const struct np_entry *entry, const uint8_t *table, uint32_t map_bytes)
{
    if (entry->type != NP_RECORD_DATA)
        return NULL;
    if (memcmp(table, entry->map, map_bytes) != 0)
        return "the index has another map of it";
    if (entry->hashes != NULL &&
        memcmp(table + map_bytes, entry->hashes, (size_t)entry->hash_count * NP_HASH128_SIZE) != 0)
        return "the index has other hashes of it";
    return NULL;
}

/* Header and table are read together: the entry says how long the table must be. */
static int read_front(const struct np_record_at *at, const struct np_entry *entry, uint32_t table_len,
                      void *table, struct np_record_header *header, struct np_error *err)
{
    uint8_t front[NP_RECORD_HEADER_SIZE + NP_DATA_TABLE_MAX];
    struct np_place place = {.pos = entry->pos, .table_len = table_len, .data_len = entry->data_len};
    if (table_len > NP_DATA_TABLE_MAX || !np_place_is_before(&place, at->input.size - NP_END_SIZE))
        return np_fail(err, NP_DAMAGED,
                       "%s: the index names a record at byte %ju, where none can be: the stream is damaged",
                       at->name, (uintmax_t)entry->pos);
    if (at->input.read_at(at->input.ctx, front, NP_RECORD_HEADER_SIZE + table_len, entry->pos, err) < 0 ||
        np_record_decode(front, at->name, entry->pos, header, err) < 0 ||
        np_record_expect(header, at->name, at->stream_id, entry->pos, NP_ANY_NUMBER, err) < 0)
        return -1;
    memcpy(table, front + NP_RECORD_HEADER_SIZE, table_len);
    return 0;
}

static int read_record(const struct np_record_at *at, const struct np_meta_disk *disk,
                       const struct np_entry *entry, void *table, void *data, struct np_record *record,
                       struct np_error *err)
{
    uint32_t map_bytes = np_map_bytes(&disk->geometry);
    bool is_data = entry->type == NP_RECORD_DATA;
    uint32_t table_len = table_len_of(entry, disk);
    struct np_record_header *header = &record->header;
    if (read_front(at, entry, table_len, table, header, err) < 0)
        return -1;

    const char *wrong = np_stream_wrong_header(header, entry, disk);
    if (wrong == NULL && np_hash64(table, table_len) != header->table_sum)
        wrong = "its table has a wrong checksum";
    if (wrong == NULL)
        wrong = wrong_table(entry, table, map_bytes);
    if (wrong != NULL)
        return np_damage_record(at->name, header, disk, err, "%s", wrong);
    record->table = table;
    record->data = data;
    if (is_data && np_window_check(&disk->geometry, record, at->name, err) < 0)
        return -1;
    return np_record_at_data(at, header, disk, data, err);
}

int np_stream_read(struct np_stream *stream, uint16_t disk, const struct np_entry *entry, void *table,
                   void *data, struct np_record *record, struct np_error *err)
{
    const struct np_meta_disk *found = np_meta_disk_by_id(stream->meta, disk);
    if (found == NULL)
        return np_fail(err, NP_FAILED, "%s: it has no disk %u", stream->name, disk);
    if (read_record(&stream->at, found, entry, table, data, record, err) < 0)
        return np_error_where(err, found->target, entry->offset);
    return 0;
}

int np_stream_record(struct np_stream *stream, const struct np_record_header *header, void *body,
                     struct np_record *record, struct np_error *err)
{
    const struct np_record_at *at = &stream->at;
    const struct np_meta_disk *disk = np_meta_disk_by_id(stream->meta, header->disk);
    if (disk == NULL || header->table_len > NP_DATA_TABLE_MAX || header->data_len > disk->geometry.chunk)
        return np_damage_record(at->name, header, disk, err, "it is larger than a record can be");
    uint8_t *table = body;
    if (at->input.read_at(at->input.ctx, body, header->table_len + (size_t)header->data_len,
                          header->pos + NP_RECORD_HEADER_SIZE, err) < 0)
        return np_error_where(err, disk->target, header->offset);
    *record = (struct np_record){.header = *header, .table = table, .data = table + header->table_len};
    if (np_hash64(table, header->table_len) != header->table_sum)
        return np_damage_record(at->name, header, disk, err, "its table has a wrong checksum");
    if (!np_hash128_equal(np_hash128(record->data, header->data_len), header->data_sum))
        return np_damage_record(at->name, header, disk, err, "its data have a wrong checksum");
    if (np_window_check(&disk->geometry, record, at->name, err) < 0)
        return np_error_where(err, disk->target, header->offset);
    return 0;
}

/* Hash what is at pos, by pieces. */
static int hash_at(const struct np_record_at *at, uint64_t pos, uint64_t size, struct np_hash_stream *hash,
                   struct np_error *err)
{
    uint8_t piece[SUMS_PIECE];
    while (size > 0) {
        size_t now = (size_t)np_min_u64(size, sizeof(piece));
        if (at->input.read_at(at->input.ctx, piece, now, pos, err) < 0)
            return -1;
        np_hash_stream_add(hash, piece, now);
        pos += now;
        size -= now;
    }
    return 0;
}

static void free_hash(struct np_hash_stream **hash)
{
    np_hash_stream_free(*hash);
}

int np_stream_sums(struct np_stream *stream, const struct np_record_header *header, struct np_error *err)
{
    const struct np_record_at *at = &stream->at;
    NP_CLEANUP(free_hash) struct np_hash_stream *hash = np_hash_stream_new();
    NP_AUTO_FREE uint8_t *table = malloc(header->table_len > 0 ? header->table_len : 1);
    if (hash == NULL || table == NULL)
        return np_fail(err, NP_FAILED, "%s: out of memory", at->name);
    if (np_record_at_table(at, header, NULL, table, err) < 0 ||
        hash_at(at, header->pos + NP_RECORD_HEADER_SIZE + header->table_len, header->data_len, hash, err) < 0)
        return -1;
    if (!np_hash128_equal(np_hash_stream_get(hash), header->data_sum))
        return np_damage_record(at->name, header, NULL, err, "its data have a wrong checksum");
    return 0;
}
