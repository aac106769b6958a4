#include "scan.h"

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"

#include <errno.h>
#include <string.h>

#define PIECE (256u << 10)
#define BLOCK 4096u /* what is tried by itself where a piece cannot be read */
#define ID_AT 8     /* of the stream id in a header */
#define IDS_MAX 64  /* different ids that are counted */
#define MAGIC_SIZE 4

struct np_scan {
    struct np_input_at input;
    const char *name;
    struct np_cancel *cancel;
    uint64_t stream_id;
    uint64_t pos, number; /* of the next record */
    bool has_last, ended;
    struct np_scan_found last;
    uint64_t budget;     /* bytes of bodies that may be read to see if they are good */
    uint64_t piece_from; /* what lies in `piece` */
    size_t piece_size;
    uint8_t piece[PIECE];
    uint8_t body[PIECE];
};

int np_scan_open(const struct np_input_at *input, const char *name, uint64_t stream_id,
                 struct np_cancel *cancel, struct np_scan **scan, struct np_error *err)
{
    struct np_scan *made = malloc(sizeof(*made));
    if (made == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "%s: cannot be scanned", name);
    *made = (struct np_scan){.input = *input, .name = name, .cancel = cancel, .stream_id = stream_id};
    made->budget = input->size + NP_CHUNK_MAX;
    *scan = made;
    return 0;
}

void np_scan_close(struct np_scan *scan)
{
    free(scan);
}

bool np_scan_ended(const struct np_scan *scan)
{
    return scan->ended;
}

uint64_t np_scan_expected(const struct np_scan *scan)
{
    return scan->pos;
}

/* ---- bytes ---- */

/* What cannot be read is zeroes here: no header begins in them. A bad disk may take seconds for each block,
 * so what is left when somebody asks to stop is zeroes too. */
static void read_around(const struct np_input_at *input, struct np_cancel *cancel, uint8_t *bytes,
                        size_t size, uint64_t place)
{
    struct np_error ignored = NP_ERROR_INIT;
    if (input->read_at(input->ctx, bytes, size, place, &ignored) == 0)
        return;
    for (size_t at = 0; at < size; at += BLOCK) {
        size_t block = np_min_u64(BLOCK, size - at);
        struct np_error error = NP_ERROR_INIT;
        if (np_cancel_requested(cancel) ||
            input->read_at(input->ctx, bytes + at, block, place + at, &error) < 0)
            memset(bytes + at, 0, block);
    }
}

/* ---- headers ---- */

/* Are these bytes a header of the stream that can come next? What is missing takes place. */
static bool is_next(const struct np_scan *scan, const uint8_t *bytes, struct np_record_header *header)
{
    struct np_error ignored = NP_ERROR_INIT;
    if (!np_record_begins(bytes) || np_get_le64(bytes + ID_AT) != scan->stream_id ||
        np_record_decode(bytes, scan->name, np_get_le64(bytes + 16), header, &ignored) < 0)
        return false;
    if (header->pos < scan->pos || header->pos >= NP_SCAN_POS_LIMIT || header->number < scan->number)
        return false;
    uint64_t missing = header->number - scan->number, bytes_missing = header->pos - scan->pos;
    return (missing == 0) == (bytes_missing == 0) && missing <= bytes_missing / NP_RECORD_HEADER_SIZE;
}

static bool header_at(const struct np_scan *scan, uint64_t place, struct np_record_header *header)
{
    uint8_t bytes[NP_RECORD_HEADER_SIZE];
    struct np_error ignored = NP_ERROR_INIT;
    return place < scan->input.size && scan->input.size - place >= sizeof(bytes) &&
           scan->input.read_at(scan->input.ctx, bytes, sizeof(bytes), place, &ignored) == 0 &&
           is_next(scan, bytes, header);
}

/* Have a header's bytes from `from` on, and as many more as there is room for. What is there already is not
 * read again, or a stream of small records that are all wrong would be read a thousand times. */
static void have_piece(struct np_scan *scan, uint64_t from)
{
    uint64_t end = scan->piece_from + scan->piece_size;
    if (from >= scan->piece_from && from < end &&
        (end - from >= NP_RECORD_HEADER_SIZE || end == scan->input.size))
        return;
    scan->piece_from = from;
    scan->piece_size = np_min_u64(PIECE, scan->input.size - from);
    read_around(&scan->input, scan->cancel, scan->piece, scan->piece_size, from);
}

/* The first place at or after `from` where a header is. @return 1, 0 none, -1 */
static int search(struct np_scan *scan, uint64_t from, struct np_scan_found *found, struct np_error *err)
{
    uint8_t id[sizeof(uint64_t)];
    np_put_le64(id, scan->stream_id);
    while (from < scan->input.size && scan->input.size - from >= NP_RECORD_HEADER_SIZE) {
        if (np_cancel_check(scan->cancel, err) < 0)
            return -1;
        have_piece(scan, from);
        const uint8_t *piece = scan->piece + (from - scan->piece_from), *end = scan->piece + scan->piece_size;
        for (const uint8_t *at = piece; (at = memmem(at, (size_t)(end - at), id, sizeof(id))) != NULL; at++) {
            const uint8_t *begin = at - ID_AT;
            if (at - piece < ID_AT || end - begin < NP_RECORD_HEADER_SIZE)
                continue;
            if (is_next(scan, begin, &found->header)) {
                found->place = from + (uint64_t)(begin - piece);
                return 1;
            }
        }
        from += (uint64_t)(end - piece) - NP_RECORD_HEADER_SIZE + 1;
    }
    return 0;
}

/* ---- bodies ---- */

static void free_hash(struct np_hash_stream **hash)
{
    np_hash_stream_free(*hash);
}

static bool data_are_good(struct np_scan *scan, const struct np_record_header *header, uint64_t place)
{
    NP_CLEANUP(free_hash) struct np_hash_stream *hash = np_hash_stream_new();
    struct np_error ignored = NP_ERROR_INIT;
    for (uint64_t left = header->data_len; hash != NULL && left > 0;) {
        size_t size = np_min_u64(left, PIECE);
        if (scan->input.read_at(scan->input.ctx, scan->body, size, place, &ignored) < 0)
            return false;
        np_hash_stream_add(hash, scan->body, size);
        place += size;
        left -= size;
    }
    return hash != NULL && np_hash128_equal(np_hash_stream_get(hash), header->data_sum);
}

/* Without a header behind it only its own sums show that a record is whole. Bounded, so that a stream of
 * headers that all claim long bodies takes no more than two readings. */
static bool body_is_good(struct np_scan *scan, const struct np_scan_found *last)
{
    const struct np_record_header *header = &last->header;
    uint64_t size = np_record_size(header);
    struct np_error ignored = NP_ERROR_INIT;
    if (size > scan->input.size - last->place || size > scan->budget)
        return false;
    scan->budget -= size;
    NP_AUTO_FREE uint8_t *table = malloc(header->table_len > 0 ? header->table_len : 1);
    uint64_t place = last->place + NP_RECORD_HEADER_SIZE;
    return table != NULL &&
           scan->input.read_at(scan->input.ctx, table, header->table_len, place, &ignored) == 0 &&
           np_hash64(table, header->table_len) == header->table_sum &&
           data_are_good(scan, header, place + header->table_len);
}

/* ---- going on ---- */

/* Behind the last record: where its lengths say, if a header, or the end, proves them right or its own sums
 * do; else what follows is looked for in it too, since bytes may be missing. */
static int find_next(struct np_scan *scan, struct np_scan_found *found, struct np_error *err)
{
    uint64_t from = 0;
    if (scan->has_last) {
        const struct np_scan_found *last = &scan->last;
        uint64_t end = last->place + np_record_size(&last->header);
        if (end == scan->input.size)
            return 0;
        found->place = end;
        if (header_at(scan, end, &found->header))
            return 1;
        from = body_is_good(scan, last) ? end : last->place + NP_RECORD_HEADER_SIZE;
    }
    return search(scan, from, found, err);
}

int np_scan_next(struct np_scan *scan, struct np_scan_found *found, struct np_error *err)
{
    *found = (struct np_scan_found){0};
    int got = scan->ended ? 0 : find_next(scan, found, err);
    if (got >= 0 && np_cancel_check(scan->cancel, err) < 0) /* what was found may be less than there is */
        return -1;
    if (got <= 0)
        return got;
    found->gap = found->header.number != scan->number;
    found->gap_from = scan->pos;
    scan->pos = found->header.pos + np_record_size(&found->header);
    scan->number = found->header.number + 1;
    scan->has_last = true;
    scan->ended = found->header.type == NP_RECORD_END;
    scan->last = *found;
    return 1;
}

/* ---- whose records these are ---- */

/* By bytes and not by number: records inside the payload are shorter than those that they are in. */
struct tally {
    uint64_t id, bytes;
};

static size_t smallest(const struct tally *tallies)
{
    size_t found = 0;
    for (size_t i = 1; i < IDS_MAX; i++)
        if (tallies[i].bytes < tallies[found].bytes)
            found = i;
    return found;
}

static void count_id(struct tally *tallies, size_t *used, const struct np_record_header *header)
{
    size_t i = 0;
    while (i < *used && tallies[i].id != header->stream_id)
        i++;
    if (i == *used) {
        i = *used < IDS_MAX ? (*used)++ : smallest(tallies);
        tallies[i] = (struct tally){.id = header->stream_id};
    }
    tallies[i].bytes += np_record_size(header);
}

static void count_ids(const uint8_t *piece, size_t size, uint64_t place, struct tally *tallies, size_t *used)
{
    static const uint8_t magic[MAGIC_SIZE] = {0x89, 'N', 'B', 'P'};
    const uint8_t *end = piece + size;
    for (const uint8_t *at = piece; (at = memmem(at, (size_t)(end - at), magic, sizeof(magic))) != NULL;
         at++) {
        struct np_record_header header;
        struct np_error ignored = NP_ERROR_INIT;
        if (end - at >= NP_RECORD_HEADER_SIZE &&
            np_record_decode(at, "", place + (uint64_t)(at - piece), &header, &ignored) == 0)
            count_id(tallies, used, &header);
    }
}

int np_scan_id(const struct np_input_at *input, struct np_cancel *cancel, uint64_t *stream_id,
               struct np_error *err)
{
    struct tally tallies[IDS_MAX] = {{0}};
    size_t used = 0, best = 0;
    NP_AUTO_FREE uint8_t *piece = malloc(PIECE + NP_RECORD_HEADER_SIZE);
    if (piece == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot look for records");
    for (uint64_t from = 0; from < input->size && input->size - from >= NP_RECORD_HEADER_SIZE;) {
        size_t size = np_min_u64(PIECE + NP_RECORD_HEADER_SIZE, input->size - from);
        if (np_cancel_requested(cancel))
            break;
        read_around(input, cancel, piece, size, from);
        count_ids(piece, size, from, tallies, &used);
        from += size - NP_RECORD_HEADER_SIZE + 1;
    }
    if (np_cancel_check(cancel, err) < 0)
        return -1;
    for (size_t i = 0; i < used; i++)
        if (tallies[i].bytes > tallies[best].bytes)
            best = i;
    if (used > 0)
        *stream_id = tallies[best].id;
    return used > 0;
}
