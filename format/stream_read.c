#include "damage.h"
#include "stream_parts.h"

#include "nbdpull/bytes.h"

#include <string.h>

/* The record is the truth; an entry that says otherwise is damage of the index. */
static const char *wrong_header(const struct np_record_header *header, const struct np_entry *entry,
                                uint16_t disk, uint32_t table_len)
{
    if (header->head_sum != entry->head_sum || header->disk != disk || header->type != entry->type ||
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
    uint32_t table_len = is_data ? map_bytes + entry->hash_count * (uint32_t)NP_HASH128_SIZE : 0;
    struct np_record_header *header = &record->header;
    if (read_front(at, entry, table_len, table, header, err) < 0)
        return -1;

    const char *wrong = wrong_header(header, entry, disk->id, table_len);
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
