#include "salvage_disk.h"

#include "index_writer.h"
#include "record_at.h"
#include "stream_parts.h"
#include "track.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"

#include <errno.h>
#include <string.h>

/* Room for the tables of as many records as a leaf may list. */
#define TABLES_SIZE                                                                                          \
    ((size_t)NP_INDEX_LEAF_ENTRIES * NP_MAP_BYTES_MAX + (size_t)NP_INDEX_LEAF_HASHES * NP_HASH128_SIZE)
#define LEAF_SIZE                                                                                            \
    (NP_INDEX_HEAD_SIZE + (size_t)NP_INDEX_LEAF_ENTRIES * (NP_INDEX_ENTRY_FIXED + NP_MAP_BYTES_MAX))

enum condition {
    GOOD,
    PAYLOAD_LOST, /* its table is good, and says what it was about */
    TABLE_LOST,
};

/* A record that was found since the last leaf. */
struct seen {
    struct np_record_header header;
    enum condition condition;
    bool gap; /* records are missing before it, from this position on */
    uint64_t gap_from;
    uint32_t table; /* its place among the tables */
};

struct np_salvage_disk {
    const struct np_stream *stream;
    const struct np_meta_disk *disk;
    const struct np_geometry *geometry;

    struct np_emitter emitter;
    struct np_index_writer *index;
    struct np_track track; /* of the good records */
    struct np_salvage_room *room;

    struct np_loss_writer *losses;
    bool any_loss;
    uint64_t records; /* that are known, good or not */

    struct seen *seen;
    size_t count, next; /* next: the first that is not settled */
    uint8_t *tables;
    size_t tables_used;
    bool gap; /* behind the last one seen */
    uint64_t gap_from;

    /* The last record that is settled. */
    bool has_last, last_is_data;
    uint64_t last_pos, last_window, last_end;

    uint8_t *body, *expanded, *leaf;
};

/* ---- the new index ---- */

static int append_index(void *ctx, struct iovec *pieces, int count, struct np_error *err)
{
    struct np_salvage_room *room = ctx;
    for (int i = 0; i < count; i++) {
        if (pieces[i].iov_len > 0 && np_file_write_at(room->index_fd, "the new index", pieces[i].iov_base,
                                                      pieces[i].iov_len, room->index_end, err) < 0)
            return np_error_context(err, "%s", room->dir);
        room->index_end += pieces[i].iov_len;
    }
    return 0;
}

static int begin_index(struct np_salvage_disk *disk, struct np_error *err)
{
    const struct np_sink sink = {.append = append_index, .ctx = disk->room};
    if (np_emitter_init(&disk->emitter, &sink, &disk->stream->meta->stream, err) < 0)
        return -1;
    disk->emitter.pos = NP_SCAN_POS_LIMIT;
    return np_index_writer_new(&disk->emitter, disk->disk->id, disk->geometry, &disk->index, err);
}

/* ---- losses ---- */

static int lose_by_map(struct np_salvage_disk *disk, uint64_t window, const uint8_t *map, uint64_t pos,
                       struct np_error *err)
{
    unsigned granules = np_window_granules(disk->geometry, window);
    for (unsigned i = 0; i < granules; i++) {
        enum np_granule_state state = np_map_get(map, i);
        if (state != NP_GRANULE_DATA && state != NP_GRANULE_ZERO)
            continue;
        enum np_loss_kind kind = state == NP_GRANULE_DATA ? NP_LOSS_CERTAIN : NP_LOSS_ZERO;
        if (np_loss_writer_granule(disk->losses, window, i, kind, pos, err) < 0)
            return -1;
    }
    return 0;
}

static int lose_window(struct np_salvage_disk *disk, uint64_t window, enum np_loss_kind kind, uint64_t pos,
                       struct np_error *err)
{
    unsigned granules = np_window_granules(disk->geometry, window);
    for (unsigned i = 0; i < granules; i++)
        if (np_loss_writer_granule(disk->losses, window, i, kind, pos, err) < 0)
            return -1;
    return 0;
}

/*
 * Records may be missing between the last one and one that begins at `offset`, or the disk's end. What no
 * record describes from there to here may be lost; windows may have several records.
 */
static int suspect(struct np_salvage_disk *disk, uint64_t offset, bool is_data, struct np_error *err)
{
    const uint64_t size = disk->geometry->size, pos = NP_NO_OFFSET;
    bool based = !np_uuid_is_nil(&disk->disk->base_state);
    enum np_loss_kind kind = based ? NP_LOSS_POSSIBLE : NP_LOSS_CERTAIN;
    uint64_t from = disk->has_last ? disk->last_end : 0;
    disk->any_loss = true;
    if (disk->has_last && disk->last_is_data && lose_window(disk, disk->last_window, kind, pos, err) < 0)
        return -1;
    if (from < offset && np_loss_writer_run(disk->losses, from, offset, kind, pos, err) < 0)
        return -1;
    bool again = disk->has_last && disk->last_is_data && disk->last_window == offset;
    return is_data && offset < size && !again ? lose_window(disk, offset, kind, pos, err) : 0;
}

/* ---- settling: records in their order ---- */

static void settled(struct np_salvage_disk *disk, uint64_t pos, uint64_t offset, uint64_t length,
                    bool is_data)
{
    disk->has_last = true;
    disk->last_is_data = is_data;
    disk->last_pos = pos;
    disk->last_window = offset;
    disk->last_end = offset + (is_data ? np_window_length(disk->geometry, offset) : length);
    disk->records++;
}

/* Does a record lie on the grid, behind those before it? */
static bool fits(const struct np_salvage_disk *disk, uint64_t offset, uint64_t length, bool is_data)
{
    const struct np_geometry *geometry = disk->geometry;
    if (offset >= geometry->size || offset % geometry->chunk != 0)
        return false;
    uint64_t end = is_data ? offset + np_window_length(geometry, offset) : offset + length;
    if (end > geometry->size || (end % geometry->chunk != 0 && end != geometry->size) || end == offset)
        return false;
    return !disk->has_last || offset >= disk->last_end ||
           (is_data && disk->last_is_data && offset == disk->last_window);
}

/* It says what cannot be: as if it were not there. */
static void drop(struct np_salvage_disk *disk, uint64_t pos)
{
    if (!disk->gap)
        disk->gap_from = pos;
    disk->gap = true;
    disk->any_loss = true;
}

static int put_good(struct np_salvage_disk *disk, const struct np_record *record, struct np_error *err)
{
    const struct np_record_header *header = &record->header;
    bool is_data = header->type == NP_RECORD_DATA;
    unsigned hashes = is_data ? (header->table_len - np_map_bytes(disk->geometry)) / NP_HASH128_SIZE : 0;
    if (np_index_writer_reserve(disk->index, hashes, err) < 0)
        return -1;
    np_index_writer_add(disk->index, header, record->table);
    np_track_add(&disk->track, record);
    settled(disk, header->pos, header->offset, header->length, is_data);
    return 0;
}

/* @param map of what it described, by its own table or by a leaf; NULL: nobody knows */
static int put_lost(struct np_salvage_disk *disk, uint64_t pos, uint64_t window, const uint8_t *map,
                    struct np_error *err)
{
    int lost = map != NULL ? lose_by_map(disk, window, map, pos, err)
                           : lose_window(disk, window, NP_LOSS_CERTAIN, pos, err);
    disk->any_loss = true;
    settled(disk, pos, window, 0, true);
    return lost;
}

static struct np_record record_of(const struct np_salvage_disk *disk, const struct seen *seen)
{
    return (struct np_record){.header = seen->header, .table = disk->tables + seen->table};
}

static bool can_follow(const struct np_salvage_disk *disk, const struct seen *seen)
{
    const struct np_record_header *header = &seen->header;
    const struct np_record record = record_of(disk, seen);
    struct np_error wrong = NP_ERROR_INIT;
    return header->pos >= NP_RECORD_HEADER_SIZE && /* META comes first */
           fits(disk, header->offset, header->length, header->type == NP_RECORD_DATA) &&
           (seen->condition != GOOD ||
            np_track_check(&disk->track, &record, disk->stream->name, &wrong) == 0);
}

/* @param map of the leaf that lists it, or NULL */
static int settle(struct np_salvage_disk *disk, const struct seen *seen, const uint8_t *map,
                  struct np_error *err)
{
    const struct np_record_header *header = &seen->header;
    const struct np_record record = record_of(disk, seen);
    if (!can_follow(disk, seen)) {
        drop(disk, header->pos);
        return 0;
    }
    if (seen->condition == GOOD)
        return put_good(disk, &record, err);
    return put_lost(disk, header->pos, header->offset, seen->condition == PAYLOAD_LOST ? record.table : map,
                    err);
}

/* Without a leaf that tells what lies before it. */
static int settle_alone(struct np_salvage_disk *disk, const struct seen *seen, struct np_error *err)
{
    const struct np_record_header *header = &seen->header;
    bool is_data = header->type == NP_RECORD_DATA;
    if ((seen->gap || disk->gap) && can_follow(disk, seen)) {
        if (suspect(disk, header->offset, is_data, err) < 0)
            return -1;
        disk->gap = false;
    }
    return settle(disk, seen, NULL, err);
}

static void forget_seen(struct np_salvage_disk *disk)
{
    disk->count = disk->next = 0;
    disk->tables_used = 0;
}

/* All that were seen before a position. The gap behind the last of all is kept for the one that follows. */
static int settle_before(struct np_salvage_disk *disk, uint64_t pos, struct np_error *err)
{
    bool gap = disk->gap;
    uint64_t gap_from = disk->gap_from;
    disk->gap = false;
    while (disk->next < disk->count && disk->seen[disk->next].header.pos < pos)
        if (settle_alone(disk, &disk->seen[disk->next++], err) < 0)
            return -1;
    if (gap) {
        disk->gap_from = disk->gap ? np_min_u64(disk->gap_from, gap_from) : gap_from;
        disk->gap = true;
    }
    return 0;
}

/* ---- a leaf ---- */

static int settle_entry(struct np_salvage_disk *disk, const struct np_entry *entry, struct np_error *err)
{
    bool is_data = entry->type == NP_RECORD_DATA;
    if (disk->has_last && entry->pos <= disk->last_pos)
        return 0;
    if (disk->next < disk->count && disk->seen[disk->next].header.pos == entry->pos) {
        const struct seen *seen = &disk->seen[disk->next++];
        return settle(disk, seen, seen->header.head_sum == entry->head_sum ? entry->map : NULL, err);
    }
    if (!fits(disk, entry->offset, entry->length, is_data)) {
        drop(disk, entry->pos);
        return 0;
    }
    if (is_data)
        return put_lost(disk, entry->pos, entry->offset, entry->map, err);
    disk->any_loss = true; /* of a record, not of what it said */
    if (np_loss_writer_run(disk->losses, entry->offset, entry->offset + entry->length, NP_LOSS_ZERO,
                           entry->pos, err) < 0)
        return -1;
    settled(disk, entry->pos, entry->offset, entry->length, false);
    return 0;
}

/* Is something missing before the leaf's first record, which this leaf does not list? */
static bool missing_before(struct np_salvage_disk *disk, uint64_t pos)
{
    if (disk->next < disk->count)
        return disk->seen[disk->next].gap && disk->seen[disk->next].gap_from < pos;
    return disk->gap && disk->gap_from < pos;
}

static int settle_leaf(struct np_salvage_disk *disk, const struct np_index_node *node, struct np_error *err)
{
    struct np_entry entry;
    np_index_node_entry(node, 0, &entry);
    if (settle_before(disk, entry.pos, err) < 0)
        return -1;
    if (missing_before(disk, entry.pos) &&
        fits(disk, entry.offset, entry.length, entry.type == NP_RECORD_DATA) &&
        suspect(disk, entry.offset, entry.type == NP_RECORD_DATA, err) < 0)
        return -1;
    disk->gap = false;
    for (unsigned i = 0; i < node->count; i++) {
        np_index_node_entry(node, i, &entry);
        while (disk->next < disk->count && disk->seen[disk->next].header.pos < entry.pos)
            if (settle(disk, &disk->seen[disk->next++], NULL, err) < 0)
                return -1;
        if (settle_entry(disk, &entry, err) < 0)
            return -1;
    }
    while (disk->next < disk->count)
        if (settle(disk, &disk->seen[disk->next++], NULL, err) < 0)
            return -1;
    forget_seen(disk);
    return 0;
}

static int take_index(struct np_salvage_disk *disk, const struct np_record_header *header,
                      struct np_error *err)
{
    const struct np_record_at *at = &disk->stream->at;
    struct np_error wrong = NP_ERROR_INIT;
    struct np_index_node node;
    struct np_record record = {.header = *header, .table = disk->leaf};
    if (header->table_len > LEAF_SIZE || np_record_at_table(at, header, disk->disk, disk->leaf, &wrong) < 0 ||
        np_index_node_decode(disk->geometry, &record, at->name, &node, &wrong) < 0) {
        disk->any_loss = true;
        return 0;
    }
    return node.level == 0 ? settle_leaf(disk, &node, err) : 0;
}

/* ---- a record ---- */

static enum condition look_at(struct np_salvage_disk *disk, const struct np_record_header *header,
                              uint8_t *table)
{
    const struct np_record_at *at = &disk->stream->at;
    struct np_error wrong = NP_ERROR_INIT;
    struct np_record record = {.header = *header, .table = table, .data = disk->body};
    if (header->type == NP_RECORD_ZERO)
        return GOOD;
    if (np_record_at_table(at, header, disk->disk, table, &wrong) < 0 ||
        np_window_check(disk->geometry, &record, at->name, &wrong) < 0)
        return TABLE_LOST;
    if (header->data_len > disk->geometry->chunk ||
        np_record_at_data(at, header, disk->disk, disk->body, &wrong) < 0 ||
        np_window_expand(disk->geometry, &record, at->name, disk->expanded, &wrong) < 0)
        return PAYLOAD_LOST;
    return GOOD;
}

/* A leaf comes at the latest when there are so many records, or their hashes: this one was lost. */
static int make_room(struct np_salvage_disk *disk, const struct np_record_header *header,
                     struct np_error *err)
{
    if (disk->count < NP_INDEX_LEAF_ENTRIES && header->table_len <= TABLES_SIZE - disk->tables_used)
        return 0;
    if (settle_before(disk, header->pos, err) < 0)
        return -1;
    forget_seen(disk);
    return 0;
}

int np_salvage_disk_take(struct np_salvage_disk *disk, const struct np_record_header *header,
                         struct np_error *err)
{
    if (header->type == NP_RECORD_INDEX)
        return take_index(disk, header, err);
    if (make_room(disk, header, err) < 0)
        return -1;
    struct seen *seen = &disk->seen[disk->count++];
    *seen = (struct seen){.header = *header,
                          .gap = disk->gap,
                          .gap_from = disk->gap_from,
                          .table = (uint32_t)disk->tables_used};
    disk->gap = false;
    seen->condition = look_at(disk, header, disk->tables + disk->tables_used);
    disk->tables_used += header->table_len;
    return 0;
}

void np_salvage_disk_gap(struct np_salvage_disk *disk, uint64_t pos)
{
    drop(disk, pos);
}

/* ---- life ---- */

int np_salvage_disk_end(struct np_salvage_disk *disk, uint64_t records, struct np_dir_disk *dir,
                        struct np_losses **losses, bool *whole, struct np_error *err)
{
    if (settle_before(disk, UINT64_MAX, err) < 0)
        return -1;
    if (disk->gap && suspect(disk, disk->geometry->size, false, err) < 0)
        return -1;
    *dir = (struct np_dir_disk){.id = disk->disk->id};
    if (np_index_writer_finish(disk->index, dir, err) < 0 ||
        np_loss_writer_finish(disk->losses, records != disk->records, losses, err) < 0)
        return -1;
    dir->totals = disk->track.totals;
    dir->totals.digest_known = false;
    *whole = !disk->any_loss;
    return 0;
}

void np_salvage_disk_free(struct np_salvage_disk *disk)
{
    if (disk == NULL)
        return;
    np_index_writer_free(disk->index);
    np_emitter_clear(&disk->emitter);
    np_loss_writer_free(disk->losses);
    free(disk->seen);
    free(disk->tables);
    free(disk->body);
    free(disk->expanded);
    free(disk->leaf);
    free(disk);
}

static void cleanup_disk(struct np_salvage_disk **disk)
{
    np_salvage_disk_free(*disk);
}

int np_salvage_disk_new(const struct np_stream *stream, const struct np_meta_disk *meta,
                        struct np_salvage_room *room, struct np_salvage_disk **out, struct np_error *err)
{
    NP_CLEANUP(cleanup_disk) struct np_salvage_disk *disk = calloc(1, sizeof(*disk));
    if (disk == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s", stream->name);
    disk->stream = stream;
    disk->disk = meta;
    disk->geometry = &meta->geometry;
    disk->room = room;
    disk->seen = calloc(NP_INDEX_LEAF_ENTRIES, sizeof(*disk->seen));
    disk->tables = malloc(TABLES_SIZE);
    disk->body = malloc(meta->geometry.chunk);
    disk->expanded = malloc(meta->geometry.chunk);
    disk->leaf = malloc(LEAF_SIZE);
    if (disk->seen == NULL || disk->tables == NULL || disk->body == NULL || disk->expanded == NULL ||
        disk->leaf == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s", stream->name);
    np_track_init(&disk->track, meta);
    disk->track.cover_from = UINT64_MAX; /* gaps are what this is about */
    if (begin_index(disk, err) < 0 || np_loss_writer_new(disk->geometry, room, &disk->losses, err) < 0)
        return -1;
    *out = NP_STEAL(disk);
    return 0;
}
