#include "trailer.h"

#include "nbdpull/bytes.h"

enum { ROOT_PRESENT = 1, DIGEST_KNOWN = 2 };

uint64_t np_trailer_dir_size(uint32_t disks, uint32_t blobs)
{
    return NP_DIR_HEAD_SIZE + (uint64_t)disks * NP_DIR_DISK_SIZE + (uint64_t)blobs * NP_PLACE_SIZE;
}

void np_trailer_put_dir_head(uint8_t to[NP_DIR_HEAD_SIZE], uint32_t disks, uint32_t blobs,
                             uint64_t last_index)
{
    np_put_le32(to, disks);
    np_put_le32(to + 4, blobs);
    np_put_le64(to + 8, last_index);
}

void np_trailer_put_dir_disk(uint8_t to[NP_DIR_DISK_SIZE], const struct np_dir_disk *disk)
{
    const struct np_totals *totals = &disk->totals;
    memset(to, 0, NP_DIR_DISK_SIZE);
    np_put_le16(to, disk->id);
    if (disk->has_root) {
        to[2] = disk->root_level;
        to[3] |= ROOT_PRESENT;
        np_index_node_put_child(to + 8, &disk->root);
    }
    np_put_le64(to + 56, totals->records);
    np_put_le64(to + 64, totals->data_bytes);
    np_put_le64(to + 72, totals->zero_bytes);
    np_put_le64(to + 80, totals->dead_bytes);
    np_put_le64(to + 88, totals->stored_bytes);
    if (totals->digest_known) {
        to[3] |= DIGEST_KNOWN;
        np_hash128_put(to + 96, totals->digest);
    }
}

void np_trailer_dir_disk(const struct np_dir *dir, uint32_t i, struct np_dir_disk *disk)
{
    const uint8_t *from = dir->table + NP_DIR_HEAD_SIZE + (size_t)i * NP_DIR_DISK_SIZE;
    *disk = (struct np_dir_disk){
        .id = np_get_le16(from),
        .has_root = (from[3] & ROOT_PRESENT) != 0,
        .root_level = from[2],
        .totals = {.records = np_get_le64(from + 56),
                   .data_bytes = np_get_le64(from + 64),
                   .zero_bytes = np_get_le64(from + 72),
                   .dead_bytes = np_get_le64(from + 80),
                   .stored_bytes = np_get_le64(from + 88),
                   .digest_known = (from[3] & DIGEST_KNOWN) != 0,
                   .digest = np_hash128_get(from + 96)},
    };
    np_index_node_get_child(from + 8, &disk->root);
}

void np_trailer_dir_blob(const struct np_dir *dir, uint32_t i, struct np_place *place)
{
    *place = np_place_get(dir->table + np_trailer_dir_size(dir->disks, i));
}

static int damaged(const struct np_record_header *header, const char *name, const char *what,
                   struct np_error *err)
{
    np_fail(err, NP_DAMAGED, "%s: record %ju (%s) at byte %ju: %s: the stream is damaged", name,
            (uintmax_t)header->number, np_record_type_name(header->type), (uintmax_t)header->pos, what);
    return np_error_record(err, header->pos, header->number);
}

static const char *wrong_totals(const struct np_totals *totals)
{
    if (totals->data_bytes >= NP_OFFSET_LIMIT || totals->zero_bytes >= NP_OFFSET_LIMIT)
        return "a disk of it has more bytes than a disk can have";
    if (!totals->digest_known && (totals->digest.low != 0 || totals->digest.high != 0))
        return "a disk of it has a digest that is not known";
    bool empty = totals->data_bytes == 0 && totals->zero_bytes == 0 && totals->dead_bytes == 0 &&
                 totals->stored_bytes == 0;
    if (totals->records == 0 && !empty)
        return "a disk of it has bytes but no records";
    return NULL;
}

static const char *wrong_root(const struct np_record_header *header, const struct np_dir *dir,
                              const struct np_dir_disk *disk)
{
    const struct np_index_child *root = &disk->root;
    if (disk->has_root != (disk->totals.records > 0))
        return "a disk of it has records but no index, or an index but no records";
    if (!disk->has_root)
        return NULL;
    if (disk->root_level >= NP_INDEX_LEVELS || !np_place_is_before(&root->place, header->pos) ||
        root->place.pos == 0 || root->place.pos > dir->last_index)
        return "the index of a disk of it cannot be where it says";
    if (root->first >= root->end || root->end >= NP_OFFSET_LIMIT)
        return "the index of a disk of it covers what no disk has";
    return NULL;
}

static const char *wrong_disk(const struct np_record_header *header, const struct np_dir *dir, uint32_t i)
{
    const uint8_t *from = dir->table + NP_DIR_HEAD_SIZE + (size_t)i * NP_DIR_DISK_SIZE;
    struct np_dir_disk disk;
    np_trailer_dir_disk(dir, i, &disk);
    bool reserved = (from[3] & ~(ROOT_PRESENT | DIGEST_KNOWN)) == 0 && np_is_zero(from + 4, 4) &&
                    np_is_zero(from + 48, 8) && (disk.has_root || (from[2] == 0 && np_is_zero(from + 8, 48)));
    if (!reserved)
        return "reserved bytes are not zero";
    if (disk.id >= NP_DISKS_MAX || (i > 0 && disk.id <= np_get_le16(from - NP_DIR_DISK_SIZE)))
        return "its disks are not in order";
    const char *wrong = wrong_totals(&disk.totals);
    return wrong != NULL ? wrong : wrong_root(header, dir, &disk);
}

static const char *wrong_blobs(const struct np_record_header *header, const struct np_dir *dir)
{
    struct np_place place;
    for (uint64_t i = 0, pos = NP_RECORD_HEADER_SIZE; i < dir->blobs; i++, pos = place.pos + 1) {
        np_trailer_dir_blob(dir, (uint32_t)i, &place);
        if (!np_place_is_before(&place, header->pos) || place.pos < pos)
            return "a blob of it cannot be where it says";
    }
    return NULL;
}

static const char *wrong_dir(const struct np_record_header *header, const struct np_dir *dir)
{
    if (dir->disks < 1 || dir->disks > NP_DISKS_MAX || dir->blobs > NP_BLOBS_MAX ||
        header->table_len != np_trailer_dir_size(dir->disks, dir->blobs))
        return "its table does not hold its disks and blobs";
    if (dir->last_index % NP_RECORD_ALIGN != 0 || dir->last_index >= header->pos)
        return "the last INDEX cannot be where it says";
    for (uint32_t i = 0; i < dir->disks; i++) {
        const char *wrong = wrong_disk(header, dir, i);
        if (wrong != NULL)
            return wrong;
    }
    return wrong_blobs(header, dir);
}

int np_trailer_dir_decode(const struct np_record *record, const char *name, struct np_dir *dir,
                          struct np_error *err)
{
    if (record->header.table_len < NP_DIR_HEAD_SIZE)
        return damaged(&record->header, name, "its table is too short", err);
    *dir = (struct np_dir){
        .table = record->table,
        .disks = np_get_le32(record->table),
        .blobs = np_get_le32(record->table + 4),
        .last_index = np_get_le64(record->table + 8),
    };
    const char *wrong = wrong_dir(&record->header, dir);
    return wrong == NULL ? 0 : damaged(&record->header, name, wrong, err);
}

void np_trailer_put_end(uint8_t to[NP_END_TABLE_SIZE], const struct np_end *end)
{
    memset(to, 0, NP_END_TABLE_SIZE);
    np_put_le64(to, end->size);
    np_put_le64(to + 8, end->records);
    np_place_put(to + 16, &end->dir);
    np_place_put(to + 40, &end->meta);
    np_hash128_put(to + 64, end->digest);
    memcpy(to + 96, end->stream.bytes, sizeof(end->stream.bytes));
}

static const char *wrong_end(const struct np_record_header *header, const uint8_t *table,
                             const struct np_end *end)
{
    uint64_t size;
    if (!np_add_u64(header->pos, NP_END_SIZE, &size) || end->size != size)
        return "the stream has another length than it says";
    if (end->records - 1 != header->number)
        return "the stream has another number of records than it says";
    if (np_stream_id(&end->stream) != header->stream_id)
        return "its UUID is that of another stream";
    if (!np_place_is_before(&end->dir, header->pos) || !np_place_is_before(&end->meta, end->dir.pos) ||
        end->meta.pos == 0)
        return "META or DIR cannot be where it says";
    if (!np_is_zero(table + 80, 16) || !np_is_zero(table + 112, NP_END_TABLE_SIZE - 112))
        return "reserved bytes are not zero";
    return NULL;
}

int np_trailer_end_decode(const struct np_record *record, const char *name, struct np_end *end,
                          struct np_error *err)
{
    const uint8_t *table = record->table;
    if (record->header.table_len != NP_END_TABLE_SIZE)
        return damaged(&record->header, name, "its table has another size", err);
    *end = (struct np_end){
        .size = np_get_le64(table),
        .records = np_get_le64(table + 8),
        .dir = np_place_get(table + 16),
        .meta = np_place_get(table + 40),
        .digest = np_hash128_get(table + 64),
    };
    memcpy(end->stream.bytes, table + 96, sizeof(end->stream.bytes));
    const char *wrong = wrong_end(&record->header, table, end);
    return wrong == NULL ? 0 : damaged(&record->header, name, wrong, err);
}
