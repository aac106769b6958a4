#include "both_ways.h"

#include "nbdpull/verify.h"
#include "nbdpull/walk.h"

/* ---- the bytes ---- */

static int read_next(void *ctx, void *buffer, size_t size, size_t *got, struct np_error *err)
{
    struct bytes *bytes = ctx;
    (void)err;
    MUST(size > 0);
    *got = np_min_u64(size, bytes->size - bytes->at);
    if (bytes->piece > 0)
        *got = np_min_u64(*got, bytes->piece);
    if (*got > 0)
        memcpy(buffer, bytes->bytes + bytes->at, *got);
    bytes->at += *got;
    return 0;
}

struct np_input bytes_input(struct bytes *bytes)
{
    bytes->at = 0;
    return (struct np_input){.read = read_next, .ctx = bytes};
}

/* Whoever reads by the index knows the size, and has no business behind it. */
static int read_at(void *ctx, void *buffer, size_t size, uint64_t pos, struct np_error *err)
{
    const struct bytes *bytes = ctx;
    if (pos > bytes->size || size > bytes->size - pos)
        return np_fail(err, NP_DAMAGED, "%zu bytes at byte %ju are beyond the end", size, (uintmax_t)pos);
    if (size > 0)
        memcpy(buffer, bytes->bytes + pos, size);
    return 0;
}

struct np_input_at bytes_input_at(struct bytes *bytes)
{
    return (struct np_input_at){.read_at = read_at, .ctx = bytes, .size = bytes->size};
}

/* ---- what was read ---- */

struct reading {
    const struct np_meta *meta;
    struct np_hash_stream *records[NP_DISKS_MAX], *blobs;
    uint64_t expanded;
};

static void reading_clear(struct reading *reading)
{
    for (size_t i = 0; i < NP_DISKS_MAX; i++)
        np_hash_stream_free(reading->records[i]);
    np_hash_stream_free(reading->blobs);
}

static void reading_begin(struct reading *reading, const struct np_meta *meta)
{
    reading->meta = meta;
    reading->blobs = np_hash_stream_new();
    for (size_t i = 0; i < meta->disk_count; i++)
        reading->records[i] = np_hash_stream_new();
}

static void reading_end(const struct reading *reading, struct seen *seen)
{
    memset(seen->records, 0, sizeof(seen->records));
    for (size_t i = 0; i < reading->meta->disk_count; i++)
        seen->records[i] = np_hash_stream_get(reading->records[i]);
    seen->blobs = np_hash_stream_get(reading->blobs);
}

static enum verdict refuse(const struct seen *seen)
{
    refused(&seen->err);
    return REFUSED;
}

static enum verdict take_record(struct reading *reading, const struct np_record *record, struct np_error *err)
{
    const struct np_meta_disk *disk = np_meta_disk_by_id(reading->meta, record->header.disk);
    struct np_record_header header = record->header;
    uint8_t encoded[NP_RECORD_HEADER_SIZE];
    MUST(disk != NULL);
    np_record_encode(&header, encoded);
    struct np_hash_stream *hash = reading->records[disk - reading->meta->disks];
    np_hash_stream_add(hash, encoded, sizeof(encoded));
    if (header.type != NP_RECORD_DATA)
        return ACCEPTED;

    MUST(header.offset < disk->geometry.size);
    MUST(header.length <= np_window_length(&disk->geometry, header.offset));
    np_hash_stream_add(hash, record->table, header.table_len);
    np_hash_stream_add(hash, record->data, header.data_len);
    reading->expanded += header.length;
    if (reading->expanded > EXPAND_BUDGET)
        return TOO_MUCH;
    NP_AUTO_FREE uint8_t *out = malloc(header.length > 0 ? header.length : 1);
    MUST(out != NULL);
    return np_window_expand(&disk->geometry, record, "stream", out, err) == 0 ? ACCEPTED : REFUSED;
}

static void take_blob(struct reading *reading, const char *name, uint64_t total, const void *bytes,
                      size_t size)
{
    uint8_t number[8];
    np_put_le64(number, total);
    if (name != NULL) {
        np_hash_stream_add(reading->blobs, name, strlen(name) + 1);
        np_hash_stream_add(reading->blobs, number, sizeof(number));
    }
    np_hash_stream_add(reading->blobs, bytes, size);
}

/* ---- front to back ---- */

static void cleanup_reader(struct np_reader **reader)
{
    np_reader_free(*reader);
}

static enum verdict take_from_pipe(struct reading *reading, struct np_reader *reader,
                                   struct np_record *record, struct np_error *err)
{
    const char *name;
    uint64_t total, offset;
    NP_AUTO_FREE uint8_t *data = malloc(record->header.data_len > 0 ? record->header.data_len : 1);
    MUST(data != NULL);
    if (np_reader_data(reader, data, record->header.data_len, err) < 0)
        return REFUSED;
    record->data = data;
    if (record->header.type != NP_RECORD_BLOB) {
        MUST(np_reader_blob(reader, &name, &total, &offset) < 0);
        return take_record(reading, record, err);
    }
    MUST(np_reader_blob(reader, &name, &total, &offset) == 0);
    MUST(offset + record->header.data_len <= total);
    take_blob(reading, offset == 0 ? name : NULL, total, data, record->header.data_len);
    return ACCEPTED;
}

enum verdict read_front_to_back(struct bytes *bytes, bool skip, struct seen *seen)
{
    NP_CLEANUP(cleanup_reader) struct np_reader *reader = NULL;
    NP_CLEANUP(reading_clear) struct reading reading = {0};
    struct np_input input = bytes_input(bytes);
    struct np_record record;
    int got;
    seen->err = (struct np_error)NP_ERROR_INIT;
    if (np_reader_new(&input, "stream", &reader, &seen->err) < 0)
        return refuse(seen);
    reading_begin(&reading, np_reader_meta(reader));
    while ((got = np_reader_next(reader, &record, &seen->err)) > 0) {
        enum verdict verdict = skip ? ACCEPTED : take_from_pipe(&reading, reader, &record, &seen->err);
        if (verdict != ACCEPTED)
            return verdict == REFUSED ? refuse(seen) : verdict;
    }
    if (got < 0)
        return refuse(seen);
    MUST(bytes->at == bytes->size && np_reader_pos(reader) == bytes->size);
    for (size_t i = 0; i < reading.meta->disk_count; i++)
        seen->totals[i] = *np_reader_totals(reader, reading.meta->disks[i].id);
    reading_end(&reading, seen);
    return ACCEPTED;
}

/* ---- by the index ---- */

static void cleanup_stream(struct np_stream **stream)
{
    np_stream_close(*stream);
}

static void cleanup_walk(struct np_walk **walk)
{
    np_walk_close(*walk);
}

static void cleanup_cursor(struct np_cursor **cursor)
{
    np_cursor_close(*cursor);
}

/* A walk goes on behind damage, and must end. @return faults */
static uint64_t walk_all(struct np_stream *stream, uint64_t *expanded)
{
    NP_CLEANUP(cleanup_walk) struct np_walk *walk = NULL;
    struct np_record_header header;
    const struct np_meta_disk *disk;
    struct np_fault fault;
    struct np_error err = NP_ERROR_INIT;
    uint64_t before = 0, faults = 0, limit = np_stream_size(stream) + 16;
    MUST_WORK(np_walk_open(stream, NULL, &walk, &err));
    for (enum np_walk_found found; (found = np_walk_next(walk, &header, &disk, &fault)) != NP_WALK_END;) {
        MUST(np_walk_pos(walk) >= before && np_walk_pos(walk) <= np_stream_size(stream));
        before = np_walk_pos(walk);
        if (found == NP_WALK_RECORD) {
            *expanded += header.type == NP_RECORD_DATA ? header.length : 0;
            continue;
        }
        refused(&fault.error);
        MUST(fault.disk == NULL || fault.length == 0 || fault.offset < fault.disk->geometry.size);
        MUST(faults++ < limit);
    }
    return faults;
}

static void take_fault(void *ctx, const struct np_fault *fault)
{
    struct np_error *err = ctx;
    refused(&fault->error);
    *err = fault->error;
}

/*
 * What a user hears of verify. It must be asked itself: who does the same by other calls may check more, and
 * then nobody sees what verify leaves out.
 */
static enum verdict verify_all(struct np_stream *stream, struct np_error *err)
{
    uint64_t expanded = 0, faults = walk_all(stream, &expanded);
    struct np_verify_counts counts = {0};
    struct np_error mine = NP_ERROR_INIT, told = NP_ERROR_INIT;
    const struct np_verify_options options = {
        .depth = NP_VERIFY_DEEP, .workers = 1, .parts = 1, .report = take_fault, .ctx = &told};
    if (expanded > EXPAND_BUDGET)
        return TOO_MUCH;
    if (np_verify_stream(&options, stream, &counts, &mine) < 0)
        broken(__FILE__, __LINE__, "verify comes to its end", &mine);
    bool clean = told.message[0] == '\0';
    MUST(faults == 0 || !clean);
    if (!clean)
        *err = told;
    return clean ? ACCEPTED : REFUSED;
}

static enum verdict take_disk(struct reading *reading, struct np_stream *stream,
                              const struct np_meta_disk *disk, struct np_error *err)
{
    NP_CLEANUP(cleanup_cursor) struct np_cursor *cursor = NULL;
    struct np_entry entry;
    int got;
    if (np_cursor_open(stream, disk->id, true, &cursor, err) < 0)
        return REFUSED;
    NP_AUTO_FREE uint8_t *table = malloc(NP_DATA_TABLE_MAX);
    MUST(table != NULL);
    while ((got = np_cursor_next(cursor, &entry, err)) > 0) {
        struct np_record record;
        NP_AUTO_FREE uint8_t *data = malloc(entry.data_len > 0 ? entry.data_len : 1);
        MUST(data != NULL);
        if (np_stream_read(stream, disk->id, &entry, table, data, &record, err) < 0)
            return REFUSED;
        enum verdict verdict = take_record(reading, &record, err);
        if (verdict != ACCEPTED)
            return verdict;
    }
    return got == 0 && np_cursor_finish(cursor, err) == 0 ? ACCEPTED : REFUSED;
}

static enum verdict take_blobs(struct reading *reading, struct np_stream *stream, struct np_error *err)
{
    const char *name;
    for (size_t i = 0; (name = np_stream_blob_name(stream, i)) != NULL; i++) {
        NP_AUTO_FREE void *bytes = NULL;
        size_t size = 0;
        if (np_stream_blob(stream, name, BLOB_LIMIT, &bytes, &size, err) < 0 || bytes == NULL)
            return REFUSED;
        take_blob(reading, name, size, bytes, size);
    }
    return ACCEPTED;
}

enum verdict read_by_index(struct bytes *bytes, struct seen *seen)
{
    NP_CLEANUP(cleanup_stream) struct np_stream *stream = NULL;
    NP_CLEANUP(reading_clear) struct reading reading = {0};
    struct np_input_at input = bytes_input_at(bytes);
    seen->err = (struct np_error)NP_ERROR_INIT;
    if (np_stream_open(&input, "stream", &stream, &seen->err) < 0)
        return refuse(seen);
    enum verdict verified = verify_all(stream, &seen->err), verdict = ACCEPTED;
    struct np_error err = NP_ERROR_INIT;
    if (verified == TOO_MUCH)
        return TOO_MUCH;
    reading_begin(&reading, np_stream_meta(stream));
    for (size_t i = 0; i < reading.meta->disk_count && verdict == ACCEPTED; i++) {
        verdict = take_disk(&reading, stream, &reading.meta->disks[i], &err);
        seen->totals[i] = *np_stream_totals(stream, reading.meta->disks[i].id);
    }
    if (verdict == ACCEPTED)
        verdict = take_blobs(&reading, stream, &err);
    reading_end(&reading, seen);
    if (verified == ACCEPTED && verdict == REFUSED)
        broken(__FILE__, __LINE__, "what is verified can be read", &err);
    return verified == ACCEPTED || verdict == TOO_MUCH ? verdict : REFUSED;
}

/* ---- both ---- */

size_t size_of_stream(const struct bytes *bytes)
{
    size_t pos = 0;
    for (uint8_t type = 0; type != NP_RECORD_END;) {
        struct np_record_header header;
        struct np_error err = NP_ERROR_INIT;
        MUST(bytes->size - pos >= NP_RECORD_HEADER_SIZE);
        MUST_WORK(np_record_decode(bytes->bytes + pos, "stream", pos, &header, &err));
        pos += np_record_size(&header);
        type = header.type;
    }
    return pos;
}

static _Noreturn void differ(const char *what, const struct seen *seen)
{
    broken(__FILE__, __LINE__, what, &seen->err);
}

void compare_both_ways(const uint8_t *bytes, size_t size)
{
    struct bytes whole = {.bytes = bytes, .size = size};
    NP_AUTO_FREE struct seen *front = calloc(2, sizeof(*front));
    MUST(front != NULL);
    struct seen *index = front + 1;
    enum verdict a = read_front_to_back(&whole, false, front);
    if (a == ACCEPTED)
        whole.size = size_of_stream(&whole);
    enum verdict b = read_by_index(&whole, index);
    if (a == TOO_MUCH || b == TOO_MUCH)
        return;
    if (a != b)
        differ(a == REFUSED ? "front to back refuses what the index accepts"
                            : "the index refuses what front to back accepts",
               a == REFUSED ? front : index);
    if (a == REFUSED)
        return;
    MUST(memcmp(front->records, index->records, sizeof(front->records)) == 0);
    MUST(np_hash128_equal(front->blobs, index->blobs));
    for (size_t i = 0; i < NP_DISKS_MAX; i++) {
        const struct np_totals *x = &front->totals[i], *y = &index->totals[i];
        MUST(x->records == y->records && x->data_bytes == y->data_bytes && x->zero_bytes == y->zero_bytes);
        MUST(x->dead_bytes == y->dead_bytes && x->stored_bytes == y->stored_bytes);
        MUST(x->digest_known == y->digest_known && np_hash128_equal(x->digest, y->digest));
    }
}
