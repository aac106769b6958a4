#include "nbdpull/walk.h"

#include "damage.h"
#include "reader_whole.h"
#include "stream_parts.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"

#include <string.h>

#define SCAN_PIECE (64u << 10)

/* A disk of the stream: the index entry that its next record must have, and what the records came to. */
struct walk_disk {
    const struct np_meta_disk *meta;
    struct np_cursor *cursor;
    struct np_entry entry;
    bool has_entry, at_end;
    bool lost; /* the index cannot be followed any more */
    bool gaps; /* not all records were seen as they must be: their sums and their order say nothing */
    struct np_track *track; /* borrowed from the walk's whole */
};

enum phase { WALKING, FINISHING_DISKS, FINISHING_STREAM, DONE };

struct np_walk {
    struct np_stream *stream; /* borrowed */
    struct np_cancel *cancel; /* or NULL; borrowed */
    struct walk_disk *disks;  /* in META's order; owned */
    enum phase phase;
    uint64_t pos, end; /* of the next record, and of END */
    uint64_t number;   /* of the next record, or NP_ANY_NUMBER */
    unsigned padding;  /* bytes before pos that must be zero */
    bool gaps;         /* something was passed over: the sum of the headers says nothing */
    size_t finishing;  /* the disk whose end is being looked at */
    uint64_t told;     /* np_hash64 of the message about the index that was lost last */
    size_t files;      /* that began so far */
    struct np_hash_stream *headers;
    uint8_t head[NP_RECORD_HEADER_SIZE]; /* of the record at hand, as it lies there */

    /* What the pipe reader knows when it has come to pos. Once a fault was told it is not asked any more: the
       records behind would only be compared with what was not seen. */
    struct np_reader_whole whole;
    bool astray;

    bool pending; /* a record that is given after the fault that was told of it */
    struct np_record_header pending_header;
    const struct np_meta_disk *pending_disk;
    uint8_t table[NP_DATA_TABLE_MAX]; /* of the record at hand, out of its index entry */
};

/* ---- faults ---- */

struct np_fault np_fault_of(const struct np_record_header *header, const struct np_meta_disk *disk,
                            const struct np_error *error)
{
    struct np_fault fault = {
        .scope = disk != NULL ? NP_FAULT_RECORD : NP_FAULT_NONE,
        .disk = disk,
        .pos = header->pos,
        .number = header->number,
        .error = *error,
    };
    if (header->type == NP_RECORD_BLOB)
        fault.scope = NP_FAULT_FILES;
    if (disk != NULL && header->offset < disk->geometry.size) {
        fault.offset = header->offset;
        fault.length = header->type == NP_RECORD_DATA ? np_window_length(&disk->geometry, header->offset)
                                                      : header->length;
    }
    return fault;
}

static void clear_fault(struct np_fault *fault)
{
    *fault = (struct np_fault){.pos = NP_NO_OFFSET, .number = NP_ANY_NUMBER, .error = NP_ERROR_INIT};
}

static enum np_walk_found disk_fault(const struct walk_disk *disk, struct np_fault *fault)
{
    fault->scope = NP_FAULT_DISK;
    fault->disk = disk->meta;
    np_error_where(&fault->error, disk->meta->target, NP_NO_OFFSET);
    return NP_WALK_FAULT;
}

/* A record that is not what the index says there is; the entry is used up. */
static enum np_walk_found entry_fault(struct walk_disk *disk, uint64_t number, struct np_fault *fault)
{
    const struct np_entry *entry = &disk->entry;
    fault->scope = NP_FAULT_RECORD;
    fault->disk = disk->meta;
    fault->pos = entry->pos;
    fault->number = number;
    fault->offset = entry->offset;
    fault->length = entry->type == NP_RECORD_DATA ? np_window_length(&disk->meta->geometry, entry->offset)
                                                  : entry->length;
    np_error_where(&fault->error, disk->meta->target, entry->offset);
    disk->has_entry = false;
    disk->gaps = true;
    return NP_WALK_FAULT;
}

/* ---- entries ---- */

static uint64_t entry_size(const struct walk_disk *disk)
{
    const struct np_entry *entry = &disk->entry;
    uint64_t table = entry->type == NP_RECORD_DATA
                         ? np_map_bytes(&disk->meta->geometry) + (uint64_t)entry->hash_count * NP_HASH128_SIZE
                         : 0;
    return np_align_up(NP_RECORD_HEADER_SIZE + table + entry->data_len, NP_RECORD_ALIGN);
}

/* Have the next entry of a disk at hand. @return false: the index has a fault */
static bool refill(struct walk_disk *disk, struct np_fault *fault)
{
    if (disk->has_entry || disk->at_end || disk->lost)
        return true;
    int got = np_cursor_next(disk->cursor, &disk->entry, &fault->error);
    disk->has_entry = got > 0;
    disk->at_end = got == 0;
    disk->lost = got < 0;
    disk->gaps = disk->gaps || got < 0;
    return got >= 0;
}

static bool refill_all(struct np_walk *walk, struct np_fault *fault)
{
    for (size_t i = 0; i < walk->stream->meta->disk_count; i++) {
        struct walk_disk *disk = &walk->disks[i];
        if (!refill(disk, fault)) {
            disk_fault(disk, fault);
            walk->told = np_hash64(fault->error.message, strlen(fault->error.message));
            return false;
        }
        if (disk->has_entry && disk->entry.pos < walk->pos) {
            np_fail(&fault->error, NP_DAMAGED,
                    "%s: the index of disk %s names a record at byte %ju, where none begins: the stream is "
                    "damaged",
                    walk->stream->name, disk->meta->target, (uintmax_t)disk->entry.pos);
            entry_fault(disk, NP_ANY_NUMBER, fault);
            return false;
        }
    }
    return true;
}

/* ---- behind a header that is damaged ---- */

/* The disk whose next entry has the lowest position, or NULL. */
static struct walk_disk *nearest_disk(struct np_walk *walk)
{
    struct walk_disk *nearest = NULL;
    for (size_t i = 0; i < walk->stream->meta->disk_count; i++) {
        struct walk_disk *disk = &walk->disks[i];
        if (disk->has_entry && (nearest == NULL || disk->entry.pos < nearest->entry.pos))
            nearest = disk;
    }
    return nearest;
}

/* The next place behind pos where a record is known to begin. */
static uint64_t next_known(struct np_walk *walk)
{
    const struct walk_disk *disk = nearest_disk(walk);
    uint64_t next = np_min_u64(walk->end, disk != NULL ? disk->entry.pos : UINT64_MAX);
    for (size_t i = 0; i < walk->stream->blob_count; i++) {
        uint64_t pos = walk->stream->blobs[i].place.pos;
        if (pos > walk->pos)
            next = np_min_u64(next, pos);
    }
    uint64_t meta = walk->stream->end.meta.pos;
    return meta > walk->pos ? np_min_u64(next, meta) : next;
}

/* Is this a header of the stream, in its place? */
static bool is_header(const struct np_walk *walk, const uint8_t *bytes, uint64_t pos)
{
    const struct np_record_at *at = &walk->stream->at;
    struct np_record_header header;
    struct np_error ignored = NP_ERROR_INIT;
    return np_record_begins(bytes) && np_record_decode(bytes, at->name, pos, &header, &ignored) == 0 &&
           np_record_expect(&header, at->name, at->stream_id, pos, NP_ANY_NUMBER, &ignored) == 0;
}

/* The first place from `from` on where a record begins; `to` when there is none before it, none can be read,
 * or somebody asked to stop. */
static uint64_t scan(const struct np_walk *walk, uint64_t from, uint64_t to)
{
    const struct np_record_at *at = &walk->stream->at;
    NP_AUTO_FREE uint8_t *bytes = malloc(SCAN_PIECE);
    while (bytes != NULL && from < to && to - from >= NP_RECORD_HEADER_SIZE) {
        struct np_error ignored = NP_ERROR_INIT;
        size_t size = (size_t)np_min_u64(SCAN_PIECE, to - from), i = 0;
        if (np_cancel_requested(walk->cancel) ||
            at->input.read_at(at->input.ctx, bytes, size, from, &ignored) < 0)
            return to;
        for (; i + NP_RECORD_HEADER_SIZE <= size; i += NP_RECORD_ALIGN)
            if (is_header(walk, bytes + i, from + i))
                return from + i;
        from += i;
    }
    return to;
}

static bool is_blob_place(const struct np_walk *walk, uint64_t pos)
{
    for (size_t i = 0; i < walk->stream->blob_count; i++)
        if (walk->stream->blobs[i].place.pos == pos)
            return true;
    return false;
}

/*
 * The header at pos is no good, so it does not say where the next one is. The index may: an entry of this
 * very record has its range and size; else go on where a header is found, or at the next place that is named.
 * @return NP_WALK_END: it has been told before
 */
static enum np_walk_found pass_over(struct np_walk *walk, struct np_fault *fault)
{
    struct walk_disk *disk = nearest_disk(walk);
    walk->gaps = true;
    walk->padding = 0;
    if (disk != NULL && disk->entry.pos == walk->pos) {
        uint64_t from = disk->entry.offset, number = walk->number;
        entry_fault(disk, number, fault);
        np_error_context(&fault->error, "disk %s, guest bytes %ju to %ju", disk->meta->target,
                         (uintmax_t)from, (uintmax_t)(from + fault->length - 1));
        walk->pos += entry_size(disk);
        walk->number += walk->number != NP_ANY_NUMBER;
        return NP_WALK_FAULT;
    }
    /* A node of an index has been told of when the index was lost. */
    bool again = np_hash64(fault->error.message, strlen(fault->error.message)) == walk->told;
    fault->scope = is_blob_place(walk, walk->pos) ? NP_FAULT_FILES : NP_FAULT_NONE;
    fault->pos = walk->pos;
    fault->number = walk->number;
    walk->pos = scan(walk, walk->pos + NP_RECORD_ALIGN, next_known(walk));
    walk->number = NP_ANY_NUMBER;
    np_error_context(&fault->error, "what lies from byte %ju to %ju is no record that can be read",
                     (uintmax_t)fault->pos, (uintmax_t)(walk->pos - 1));
    return again ? NP_WALK_END : NP_WALK_FAULT;
}

/* ---- a record ---- */

/* Header at pos, with the zeroes before it. @return 0, or -1: walk->padding tells whether it is theirs */
static int read_header(struct np_walk *walk, struct np_record_header *header, struct np_error *err)
{
    const struct np_record_at *at = &walk->stream->at;
    uint8_t bytes[NP_RECORD_ALIGN + NP_RECORD_HEADER_SIZE];
    unsigned padding = walk->padding;
    if (walk->end - walk->pos < NP_RECORD_HEADER_SIZE)
        return np_fail(err, NP_DAMAGED, "%s: no record can be at byte %ju: the stream is damaged", at->name,
                       (uintmax_t)walk->pos);
    if (at->input.read_at(at->input.ctx, bytes, padding + NP_RECORD_HEADER_SIZE, walk->pos - padding, err) <
        0)
        return -1;
    if (np_record_decode(bytes + padding, at->name, walk->pos, header, err) < 0 ||
        np_record_expect(header, at->name, at->stream_id, walk->pos, walk->number, err) < 0)
        return -1;
    if (np_record_size(header) > walk->end - walk->pos)
        return np_damage_record(at->name, header, NULL, err, "it reaches into END");
    if (!np_is_zero(bytes, padding))
        return 1;
    memcpy(walk->head, bytes + padding, NP_RECORD_HEADER_SIZE);
    return 0;
}

static enum np_walk_found padding_fault(struct np_walk *walk, struct np_fault *fault)
{
    fault->scope = NP_FAULT_NONE;
    fault->pos = walk->pos - walk->padding;
    walk->padding = 0;
    np_fail(&fault->error, NP_DAMAGED,
            "%s: the padding at byte %ju, before the next record, is not zero: the stream is damaged",
            walk->stream->name, (uintmax_t)fault->pos);
    return NP_WALK_FAULT;
}

/* The table as the entry has it: its sum in the header proves that the record's is the same. */
static const char *wrong_entry(struct np_walk *walk, const struct walk_disk *disk,
                               const struct np_record_header *header)
{
    const struct np_entry *entry = &disk->entry;
    const char *wrong = np_stream_wrong_header(header, entry, disk->meta);
    if (wrong != NULL || entry->type != NP_RECORD_DATA)
        return wrong;
    uint32_t map_bytes = np_map_bytes(&disk->meta->geometry);
    memcpy(walk->table, entry->map, map_bytes);
    memcpy(walk->table + map_bytes, entry->hashes, (size_t)entry->hash_count * NP_HASH128_SIZE);
    return np_hash64(walk->table, header->table_len) == header->table_sum
               ? NULL
               : "the index has another map of it, or other hashes";
}

/* What a record is to those before it. */
static enum np_walk_found follow(struct np_walk *walk, struct walk_disk *disk,
                                 const struct np_record_header *header, struct np_fault *fault)
{
    const char *name = walk->stream->name;
    const struct np_record record = {.header = *header, .table = walk->table};
    if (header->type == NP_RECORD_DATA &&
        np_window_check(&disk->meta->geometry, &record, name, &fault->error) < 0)
        return entry_fault(disk, header->number, fault);
    disk->has_entry = false;
    if (disk->gaps)
        return NP_WALK_RECORD;
    if (np_track_check(disk->track, &record, name, &fault->error) < 0) {
        disk->gaps = true;
        return disk_fault(disk, fault);
    }
    return NP_WALK_RECORD;
}

static enum np_walk_found take_disk_record(struct np_walk *walk, struct walk_disk *disk,
                                           const struct np_record_header *header, struct np_fault *fault)
{
    const char *name = walk->stream->name, *wrong = np_record_wrong_sum(header);
    if (!disk->lost && (!disk->has_entry || disk->entry.pos != header->pos)) {
        np_damage_record(name, header, disk->meta, &fault->error, "the index does not list it");
        disk->lost = disk->gaps = true;
        disk->has_entry = false;
        return disk_fault(disk, fault);
    }
    if (wrong == NULL && !disk->lost)
        wrong = wrong_entry(walk, disk, header);
    if (wrong == NULL)
        return disk->lost ? NP_WALK_RECORD : follow(walk, disk, header, fault);
    np_damage_record(name, header, disk->meta, &fault->error, "%s", wrong);
    if (!disk->lost)
        return entry_fault(disk, header->number, fault);
    *fault = np_fault_of(header, disk->meta, &fault->error);
    return NP_WALK_FAULT;
}

/* The first part of a file must be where DIR says. What follows from part to part, who reads it sees. */
static enum np_walk_found take_file(struct np_walk *walk, const struct np_record_header *header,
                                    struct np_fault *fault)
{
    const struct np_stream *stream = walk->stream;
    if (header->offset > 0)
        return NP_WALK_RECORD;
    walk->files++;
    for (size_t i = 0; i < stream->blob_count; i++)
        if (np_place_is_of(&stream->blobs[i].place, header))
            return NP_WALK_RECORD;
    np_damage_record(stream->name, header, NULL, &fault->error, "DIR names another record at this place");
    *fault = np_fault_of(header, NULL, &fault->error);
    return NP_WALK_FAULT;
}

static struct walk_disk *disk_of(struct np_walk *walk, uint16_t id)
{
    for (size_t i = 0; i < walk->stream->meta->disk_count; i++)
        if (walk->disks[i].meta->id == id)
            return &walk->disks[i];
    return NULL;
}

/* What the pipe reader would say of a good record. */
static int compare(struct np_walk *walk, const struct np_record_header *header, struct np_error *err)
{
    struct np_record record = {.header = *header, .table = walk->table};
    const char *wrong = np_record_wrong_sum(header);
    NP_AUTO_FREE uint8_t *table = NULL;
    if (wrong != NULL)
        return np_damage_record(walk->stream->name, header, NULL, err, "%s", wrong);
    if (header->type == NP_RECORD_INDEX || header->type == NP_RECORD_BLOB) {
        if (np_record_at_new_table(&walk->stream->at, header, &table, err) < 0)
            return -1;
        record.table = table;
    }
    if (np_reader_whole_take(&walk->whole, &record, err) < 0)
        return -1;
    if (header->type == NP_RECORD_BLOB)
        np_reader_blobs_part_passed(&walk->whole.blobs);
    return 0;
}

/* The record counts, and is given, whatever the pipe reader says: to who reads by the index it is good. */
static enum np_walk_found give(struct np_walk *walk, const struct walk_disk *disk,
                               const struct np_record_header *header, struct np_fault *fault)
{
    bool compared = !walk->astray && !walk->gaps;
    if (compared && compare(walk, header, &fault->error) == 0)
        return NP_WALK_RECORD;
    const struct np_record record = {.header = *header, .table = walk->table};
    if (disk != NULL && !disk->gaps && !disk->lost)
        np_track_add(disk->track, &record);
    if (!compared)
        return NP_WALK_RECORD;
    *fault = np_fault_of(header, NULL, &fault->error);
    /* A file's bytes, and an empty part's sum, would be told of again. */
    walk->pending = header->type != NP_RECORD_BLOB && np_record_wrong_sum(header) == NULL;
    walk->pending_header = *header;
    walk->pending_disk = disk != NULL ? disk->meta : NULL;
    return NP_WALK_FAULT;
}

static enum np_walk_found take(struct np_walk *walk, const struct np_record_header *header,
                               const struct np_meta_disk **meta, struct np_fault *fault)
{
    *meta = NULL;
    np_hash_stream_add(walk->headers, walk->head, sizeof(walk->head));
    walk->padding =
        (unsigned)(np_record_size(header) - NP_RECORD_HEADER_SIZE - header->table_len - header->data_len);
    walk->pos += np_record_size(header);
    walk->number = header->number + 1;
    if (header->number == 0) /* the first META, which np_stream_open has read */
        return NP_WALK_RECORD;
    if (header->type == NP_RECORD_BLOB && take_file(walk, header, fault) == NP_WALK_FAULT)
        return NP_WALK_FAULT;
    if (header->type != NP_RECORD_DATA && header->type != NP_RECORD_ZERO)
        return give(walk, NULL, header, fault);
    struct walk_disk *disk = disk_of(walk, header->disk);
    if (disk != NULL) {
        *meta = disk->meta;
        enum np_walk_found found = take_disk_record(walk, disk, header, fault);
        return found == NP_WALK_RECORD ? give(walk, disk, header, fault) : found;
    }
    np_damage_record(walk->stream->name, header, NULL, &fault->error, "META knows no such disk");
    *fault = np_fault_of(header, NULL, &fault->error);
    return NP_WALK_FAULT;
}

/* @return NP_WALK_END: nothing to tell */
static enum np_walk_found walk_on(struct np_walk *walk, struct np_record_header *header,
                                  const struct np_meta_disk **disk, struct np_fault *fault)
{
    clear_fault(fault);
    if (!refill_all(walk, fault))
        return NP_WALK_FAULT;
    int got = read_header(walk, header, &fault->error);
    if (got < 0)
        return pass_over(walk, fault);
    return got > 0 ? padding_fault(walk, fault) : take(walk, header, disk, fault);
}

/* ---- at the end ---- */

static int wrong_sums(const struct np_walk *walk, const struct walk_disk *disk, struct np_error *err)
{
    const char *name = walk->stream->name;
    const struct np_totals *totals = np_stream_totals(walk->stream, disk->meta->id);
    if (np_track_end(disk->track, name, err) < 0)
        return -1;
    if (!np_uuid_is_nil(&disk->meta->base_state) ||
        np_hash128_equal(disk->track->totals.digest, totals->digest))
        return 0;
    return np_fail(err, NP_DAMAGED,
                   "%s: disk %s: the digest in DIR is not that of its granules: the stream is damaged", name,
                   disk->meta->target);
}

/* @return NP_WALK_END: the disk is done */
static enum np_walk_found finish_disk(struct np_walk *walk, struct walk_disk *disk, struct np_fault *fault)
{
    if (!refill(disk, fault))
        return disk_fault(disk, fault);
    if (disk->has_entry) {
        np_fail(&fault->error, NP_DAMAGED,
                "%s: the index of disk %s names a record at byte %ju, where none begins: the stream is "
                "damaged",
                walk->stream->name, disk->meta->target, (uintmax_t)disk->entry.pos);
        return entry_fault(disk, NP_ANY_NUMBER, fault);
    }
    walk->finishing++;
    if (!disk->gaps && wrong_sums(walk, disk, &fault->error) < 0)
        return disk_fault(disk, fault);
    return NP_WALK_END;
}

/* The rest of what the pipe reader would say. */
static int compare_end(struct np_walk *walk, struct np_error *err)
{
    const struct np_record end = {
        .header = {.type = NP_RECORD_END, .disk = NP_DISK_NONE, .pos = walk->end, .number = walk->number}};
    struct np_record dir = {0};
    NP_AUTO_FREE uint8_t *table = NULL;
    if (np_reader_whole_take(&walk->whole, &end, err) < 0 ||
        np_record_at_whole(&walk->stream->at, &walk->stream->end.dir, NP_RECORD_DIR, &dir.header, &table,
                           err) < 0)
        return -1;
    dir.table = table;
    if (np_reader_trailer_dir(&walk->whole.seen, &dir, err) < 0)
        return -1;
    return np_reader_trailer_end(&walk->whole.seen, &end.header, &walk->stream->end,
                                 np_hash_stream_get(walk->headers), err);
}

static enum np_walk_found finish_stream(struct np_walk *walk, struct np_fault *fault)
{
    const struct np_end *end = &walk->stream->end;
    const struct np_record_at *at = &walk->stream->at;
    uint8_t padding[NP_RECORD_ALIGN] = {0};
    walk->phase = DONE;
    if (walk->padding > 0 && at->input.read_at(at->input.ctx, padding, walk->padding,
                                               walk->end - walk->padding, &fault->error) < 0)
        return NP_WALK_FAULT;
    if (!np_is_zero(padding, walk->padding)) {
        walk->phase = FINISHING_STREAM;
        return padding_fault(walk, fault);
    }
    if (walk->gaps)
        return NP_WALK_END;
    if (walk->files != walk->stream->blob_count) {
        fault->scope = NP_FAULT_FILES;
        np_fail(&fault->error, NP_DAMAGED,
                "%s: DIR names %zu files, and there are %zu: the stream is damaged", walk->stream->name,
                walk->stream->blob_count, walk->files);
        return NP_WALK_FAULT;
    }
    if (walk->number + 1 == end->records && np_hash128_equal(np_hash_stream_get(walk->headers), end->digest))
        return walk->astray || compare_end(walk, &fault->error) == 0 ? NP_WALK_END : NP_WALK_FAULT;
    np_fail(&fault->error, NP_DAMAGED,
            "%s: END counts %ju records, or has another digest of their headers than the %ju before it: the "
            "stream is damaged",
            walk->stream->name, (uintmax_t)end->records, (uintmax_t)walk->number);
    return NP_WALK_FAULT;
}

static enum np_walk_found next(struct np_walk *walk, struct np_record_header *header,
                               const struct np_meta_disk **disk, struct np_fault *fault)
{
    while (walk->phase == WALKING && walk->pos < walk->end) {
        enum np_walk_found found = walk_on(walk, header, disk, fault);
        if (found != NP_WALK_END)
            return found;
    }
    clear_fault(fault);
    if (walk->phase == WALKING)
        walk->phase = FINISHING_DISKS;
    while (walk->phase == FINISHING_DISKS && walk->finishing < walk->stream->meta->disk_count)
        if (finish_disk(walk, &walk->disks[walk->finishing], fault) == NP_WALK_FAULT)
            return NP_WALK_FAULT;
    if (walk->phase == FINISHING_DISKS)
        walk->phase = FINISHING_STREAM;
    return walk->phase == FINISHING_STREAM ? finish_stream(walk, fault) : NP_WALK_END;
}

enum np_walk_found np_walk_next(struct np_walk *walk, struct np_record_header *header,
                                const struct np_meta_disk **disk, struct np_fault *fault)
{
    if (walk->pending) {
        walk->pending = false;
        *header = walk->pending_header;
        *disk = walk->pending_disk;
        return NP_WALK_RECORD;
    }
    enum np_walk_found found = next(walk, header, disk, fault);
    if (np_cancel_requested(walk->cancel))
        return NP_WALK_END; /* what a scan that was not finished made of it is not told */
    walk->astray = walk->astray || found == NP_WALK_FAULT;
    return found;
}

/* ---- life ---- */

static void cleanup_walk(struct np_walk **walk)
{
    np_walk_close(*walk);
}

int np_walk_open(struct np_stream *stream, struct np_cancel *cancel, struct np_walk **walk,
                 struct np_error *err)
{
    const struct np_meta *meta = stream->meta;
    NP_CLEANUP(cleanup_walk) struct np_walk *made = calloc(1, sizeof(*made));
    if (made == NULL)
        return np_fail(err, NP_FAILED, "%s: out of memory", stream->name);
    made->stream = stream;
    made->cancel = cancel;
    made->end = stream->at.input.size - NP_END_SIZE;
    made->headers = np_hash_stream_new();
    made->disks = calloc(meta->disk_count, sizeof(*made->disks));
    if (made->headers == NULL || made->disks == NULL)
        return np_fail(err, NP_FAILED, "%s: out of memory", stream->name);
    if (np_reader_whole_init(&made->whole, meta, stream->name, err) < 0)
        return -1;
    for (size_t i = 0; i < meta->disk_count; i++) {
        made->disks[i].meta = &meta->disks[i];
        made->disks[i].track = &made->whole.seen.disks[i].track;
        if (np_cursor_open(stream, meta->disks[i].id, true, &made->disks[i].cursor, err) < 0)
            return -1;
    }
    *walk = NP_STEAL(made);
    return 0;
}

uint64_t np_walk_pos(const struct np_walk *walk)
{
    return walk->pos;
}

void np_walk_close(struct np_walk *walk)
{
    if (walk == NULL)
        return;
    for (size_t i = 0; walk->disks != NULL && i < walk->stream->meta->disk_count; i++)
        np_cursor_close(walk->disks[i].cursor);
    free(walk->disks);
    np_reader_whole_clear(&walk->whole);
    np_hash_stream_free(walk->headers);
    free(walk);
}
