#include "nbdpull/salvage.h"

#include "damage.h"
#include "results.h"
#include "salvage_disk.h"
#include "stream_parts.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/file.h"

#include <errno.h>
#include <string.h>

#define SEGMENTS_MAX 4096
#define PIECE (256u << 10)

/* From this position on, up to the next segment, the byte at a position lies at place + (position - pos). */
struct segment {
    uint64_t pos, place;
};

struct np_salvage {
    struct np_salvage_request request;
    struct np_stream *stream; /* owned; reads by positions */
    struct segment *segments;
    size_t segment_count, segment_room;
    uint64_t index_begin, index_end; /* of our index in the room's file */
    const struct np_meta_disk *disk;
    struct np_losses *losses;
    uint64_t records; /* of the disk, by DIR; NP_ANY_NUMBER: not known */
    uint64_t blobs;   /* by DIR, or by the results; NP_ANY_NUMBER: not known */
    bool digest_known;
    struct np_hash128 digest;
    bool whole, sound;
};

/* ---- reading by position ---- */

static const struct segment *segment_of(const struct np_salvage *salvage, uint64_t pos)
{
    size_t low = 0, high = salvage->segment_count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (salvage->segments[middle].pos <= pos)
            low = middle;
        else
            high = middle;
    }
    return &salvage->segments[low];
}

static int read_index(const struct np_salvage *salvage, void *buffer, size_t size, uint64_t at,
                      struct np_error *err)
{
    uint64_t there = salvage->index_end - salvage->index_begin;
    if (at > there || size > there - at)
        return np_fail(err, NP_DAMAGED, "%s: the new index ends before", salvage->request.name);
    return np_file_read_at(salvage->request.room->index_fd, "the new index", buffer, size,
                           salvage->index_begin + at, err);
}

static int read_by_position(void *ctx, void *buffer, size_t size, uint64_t pos, struct np_error *err)
{
    const struct np_salvage *salvage = ctx;
    const struct np_input_at *input = &salvage->request.input;
    if (pos >= NP_SCAN_POS_LIMIT)
        return read_index(salvage, buffer, size, pos - NP_SCAN_POS_LIMIT, err);
    const struct segment *segment = segment_of(salvage, pos);
    uint64_t place = segment->place + (pos - segment->pos);
    if (pos < segment->pos || place > input->size || size > input->size - place)
        return np_fail(err, NP_DAMAGED, "%s: byte %ju is not there", salvage->request.name, (uintmax_t)pos);
    return input->read_at(input->ctx, buffer, size, place, err);
}

/* @return false: bytes are missing in so many places that the rest is given up */
static bool note_segment(struct np_salvage *salvage, const struct np_scan_found *found)
{
    size_t count = salvage->segment_count;
    const struct segment *last = count > 0 ? &salvage->segments[count - 1] : NULL;
    if (last != NULL && found->header.pos - last->pos == found->place - last->place)
        return true;
    if (count == salvage->segment_room) {
        size_t room = count == 0 ? 8 : 2 * count;
        struct segment *segments =
            room > SEGMENTS_MAX ? NULL : reallocarray(salvage->segments, room, sizeof(*segments));
        if (segments == NULL)
            return false;
        salvage->segments = segments;
        salvage->segment_room = room;
    }
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): there is room, so there is a list */
    salvage->segments[salvage->segment_count++] = (struct segment){found->header.pos, found->place};
    return true;
}

/* ---- other records than the disk's ---- */

static void note_dir(struct np_salvage *salvage, const struct np_record_header *header)
{
    const struct np_stream *stream = salvage->stream;
    struct np_error ignored = NP_ERROR_INIT;
    struct np_dir dir;
    NP_AUTO_FREE uint8_t *table = malloc(header->table_len);
    struct np_record record = {.header = *header, .table = table};
    if (table == NULL || np_record_at_table(&stream->at, header, NULL, table, &ignored) < 0 ||
        np_trailer_dir_decode(&record, stream->name, &dir, &ignored) < 0) {
        salvage->whole = false;
        return;
    }
    salvage->blobs = dir.blobs;
    for (uint32_t i = 0; i < dir.disks; i++) {
        struct np_dir_disk disk;
        np_trailer_dir_disk(&dir, i, &disk);
        if (disk.id != salvage->disk->id)
            continue;
        salvage->records = disk.totals.records;
        salvage->digest_known = disk.totals.digest_known;
        salvage->digest = disk.totals.digest;
    }
}

/* The second META has them, the first nothing. */
static void note_results(struct np_salvage *salvage, const struct np_record_header *header)
{
    const struct np_stream *stream = salvage->stream;
    struct np_error ignored = NP_ERROR_INIT;
    NP_AUTO_FREE char *text = malloc((size_t)header->data_len + 1);
    uint64_t blobs;
    if (text != NULL && header->data_len > 0 &&
        np_record_at_data(&stream->at, header, NULL, text, &ignored) == 0 &&
        np_results_blobs(text, header->data_len, stream->name, &blobs, &ignored) == 0)
        salvage->blobs = blobs;
}

static void note_blob(struct np_stream *stream, const struct np_record_header *header)
{
    if (header->offset == 0 && stream->blob_count < NP_BLOBS_MAX)
        stream->blobs[stream->blob_count++].place = np_place_of(header);
}

static void free_hash(struct np_hash_stream **hash)
{
    np_hash_stream_free(*hash);
}

/* In pieces: who writes a header decides how many bytes it names. */
static bool sum_holds(struct np_salvage *salvage, const struct np_record_header *header)
{
    NP_CLEANUP(free_hash) struct np_hash_stream *hash = np_hash_stream_new();
    NP_AUTO_FREE uint8_t *piece = malloc(PIECE);
    uint64_t pos = header->pos + NP_RECORD_HEADER_SIZE + header->table_len;
    struct np_error ignored = NP_ERROR_INIT;
    for (uint64_t left = header->data_len; left > 0;) {
        size_t size = np_min_u64(left, PIECE);
        if (hash == NULL || piece == NULL || read_by_position(salvage, piece, size, pos, &ignored) < 0)
            return false;
        np_hash_stream_add(hash, piece, size);
        pos += size;
        left -= size;
    }
    return hash != NULL && np_hash128_equal(np_hash_stream_get(hash), header->data_sum);
}

static bool table_holds(struct np_salvage *salvage, const struct np_record_header *header)
{
    NP_AUTO_FREE uint8_t *table = malloc((size_t)header->table_len + 1);
    struct np_error ignored = NP_ERROR_INIT;
    return table != NULL && np_record_at_table(&salvage->stream->at, header, NULL, table, &ignored) == 0;
}

static bool padding_holds(struct np_salvage *salvage, const struct np_record_header *header)
{
    static const uint8_t zeroes[NP_RECORD_ALIGN];
    uint8_t padding[NP_RECORD_ALIGN];
    struct np_error ignored = NP_ERROR_INIT;
    uint64_t used = NP_RECORD_HEADER_SIZE + header->table_len + header->data_len;
    size_t size = (size_t)(np_record_size(header) - used);
    return size == 0 || (read_by_position(salvage, padding, size, header->pos + used, &ignored) == 0 &&
                         memcmp(padding, zeroes, size) == 0);
}

/* What the disk's own records say is looked at by who takes them; but not the hashes in an index. */
static bool is_as_written(struct np_salvage *salvage, const struct np_scan_found *found)
{
    const struct np_record_header *header = &found->header;
    if (found->gap || found->place != header->pos)
        return false;
    if (header->disk != NP_DISK_NONE && header->disk != salvage->disk->id)
        return true;
    bool taken = header->type == NP_RECORD_DATA || header->type == NP_RECORD_ZERO;
    return (taken || (table_holds(salvage, header) && sum_holds(salvage, header))) &&
           padding_holds(salvage, header);
}

static int take(struct np_salvage *salvage, struct np_salvage_disk *disk, const struct np_scan_found *found,
                struct np_error *err)
{
    const struct np_record_header *header = &found->header;
    if (np_record_wrong_sum(header) != NULL) /* what the header says is used nevertheless */
        salvage->whole = false;
    switch (header->type) {
    case NP_RECORD_DATA:
    case NP_RECORD_ZERO:
    case NP_RECORD_INDEX:
        return header->disk == salvage->disk->id ? np_salvage_disk_take(disk, header, err) : 0;
    case NP_RECORD_BLOB:
        note_blob(salvage->stream, header);
        return 0;
    case NP_RECORD_DIR:
        note_dir(salvage, header);
        return 0;
    case NP_RECORD_META:
        note_results(salvage, header);
        return 0;
    default:
        return 0;
    }
}

static int take_all(struct np_salvage *salvage, struct np_scan *scan, struct np_salvage_disk *disk,
                    struct np_error *err)
{
    struct np_scan_found found;
    bool ended = false;
    uint64_t end = 0;
    for (int more; (more = np_scan_next(scan, &found, err)) != 0;) {
        if (more < 0)
            return -1;
        if (found.gap)
            np_salvage_disk_gap(disk, found.gap_from);
        ended = note_segment(salvage, &found) && np_scan_ended(scan);
        if (salvage->segment_count == SEGMENTS_MAX && !ended)
            break;
        salvage->sound = salvage->sound && is_as_written(salvage, &found);
        end = found.header.pos + np_record_size(&found.header);
        if (take(salvage, disk, &found, err) < 0)
            return -1;
    }
    if (!ended)
        np_salvage_disk_gap(disk, np_scan_expected(scan));
    salvage->sound = salvage->sound && ended && end == salvage->request.input.size;
    return 0;
}

/* ---- opening ---- */

static void free_scan(struct np_scan **scan)
{
    np_scan_close(*scan);
}

static void free_disk(struct np_salvage_disk **disk)
{
    np_salvage_disk_free(*disk);
}

static int out_of_memory(const struct np_salvage *salvage, struct np_error *err)
{
    return np_fail_errno(err, NP_FAILED, ENOMEM, "%s", salvage->request.name);
}

static int begin_stream(struct np_salvage *salvage, struct np_error *err)
{
    struct np_stream *stream = salvage->stream = calloc(1, sizeof(*stream));
    if (stream == NULL)
        return out_of_memory(salvage, err);
    stream->name = strdup(salvage->request.name);
    stream->blobs = calloc(NP_BLOBS_MAX, sizeof(*stream->blobs));
    if (stream->name == NULL || stream->blobs == NULL)
        return out_of_memory(salvage, err);
    if (np_salvage_meta(&salvage->request, &stream->meta, err) < 0)
        return -1;
    stream->disks = calloc(stream->meta->disk_count, sizeof(*stream->disks));
    if (stream->disks == NULL)
        return out_of_memory(salvage, err);
    for (size_t i = 0; i < stream->meta->disk_count; i++)
        stream->disks[i].id = stream->meta->disks[i].id;
    stream->at = (struct np_record_at){
        .input = {.read_at = read_by_position, .ctx = salvage, .size = INT64_MAX},
        .name = stream->name,
        .stream_id = np_stream_id(&stream->meta->stream),
    };
    salvage->disk = np_meta_disk_by_target(stream->meta, salvage->request.target);
    if (salvage->disk == NULL)
        return np_fail(err, NP_DAMAGED, "%s: it has no disk %s", stream->name, salvage->request.target);
    return 0;
}

static int scan_stream(struct np_salvage *salvage, struct np_error *err)
{
    NP_CLEANUP(free_scan) struct np_scan *scan = NULL;
    NP_CLEANUP(free_disk) struct np_salvage_disk *disk = NULL;
    const struct np_salvage_request *request = &salvage->request;
    struct np_stream *stream = salvage->stream;
    struct np_dir_disk dir;
    bool whole;

    salvage->index_begin = request->room->index_end;
    if (np_scan_open(&request->input, request->name, stream->at.stream_id, request->cancel, &scan, err) < 0 ||
        np_salvage_disk_new(stream, salvage->disk, request->room, &disk, err) < 0 ||
        take_all(salvage, scan, disk, err) < 0 ||
        np_salvage_disk_end(disk, salvage->records, &dir, &salvage->losses, &whole, err) < 0)
        return -1;
    salvage->whole = salvage->whole && whole && salvage->records == dir.totals.records;
    salvage->index_end = request->room->index_end;
    stream->disks[salvage->disk - stream->meta->disks] = dir;

    struct np_error ignored = NP_ERROR_INIT; /* two of one name: then nobody gets either */
    if (np_stream_blob_names(stream, &ignored) < 0)
        stream->blob_count = 0;
    return 0;
}

static void cleanup_salvage(struct np_salvage **salvage)
{
    np_salvage_close(*salvage);
}

int np_salvage_open(const struct np_salvage_request *request, struct np_salvage **out, struct np_error *err)
{
    NP_CLEANUP(cleanup_salvage) struct np_salvage *salvage = calloc(1, sizeof(*salvage));
    if (salvage == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s", request->name);
    salvage->request = *request;
    salvage->records = salvage->blobs = NP_ANY_NUMBER;
    salvage->whole = salvage->sound = true;
    if (begin_stream(salvage, err) < 0 || scan_stream(salvage, err) < 0)
        return -1;
    *out = NP_STEAL(salvage);
    return 0;
}

struct np_stream *np_salvage_stream(struct np_salvage *salvage)
{
    return salvage->stream;
}

struct np_losses *np_salvage_losses(struct np_salvage *salvage)
{
    return salvage->losses;
}

bool np_salvage_is_whole(const struct np_salvage *salvage)
{
    return salvage->whole;
}

bool np_salvage_is_sound(const struct np_salvage *salvage)
{
    return salvage->whole && salvage->sound;
}

bool np_salvage_digest(const struct np_salvage *salvage, struct np_hash128 *digest)
{
    *digest = salvage->digest;
    return salvage->digest_known;
}

bool np_salvage_blob_count(const struct np_salvage *salvage, uint64_t *count)
{
    *count = salvage->blobs;
    return salvage->blobs != NP_ANY_NUMBER;
}

void np_salvage_close(struct np_salvage *salvage)
{
    if (salvage == NULL)
        return;
    np_stream_close(salvage->stream);
    np_losses_free(salvage->losses);
    free(salvage->segments);
    free(salvage);
}
