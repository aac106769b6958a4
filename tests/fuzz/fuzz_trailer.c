/*
 * END and DIR. Input: flags of mend.h and, in the upper bits, what follows: a table of DIR, a table of END,
 * or a stream.
 *
 * What is accepted is encoded again to the same bytes; what an open stream says is what the tables say.
 */
#include "both_ways.h"
#include "mend.h"

#include "stream_parts.h"

enum what { STREAM, DIR_TABLE, END_TABLE };

static void encode_dir_again(const struct np_record *record, const struct np_dir *dir)
{
    uint8_t bytes[NP_DIR_DISK_SIZE];
    const uint8_t *at = record->table;
    MUST(np_trailer_dir_size(dir->disks, dir->blobs) == record->header.table_len);
    np_trailer_put_dir_head(bytes, dir->disks, dir->blobs, dir->last_index);
    MUST(memcmp(bytes, at, NP_DIR_HEAD_SIZE) == 0);
    at += NP_DIR_HEAD_SIZE;
    for (uint32_t i = 0; i < dir->disks; i++, at += NP_DIR_DISK_SIZE) {
        struct np_dir_disk disk;
        np_trailer_dir_disk(dir, i, &disk);
        np_trailer_put_dir_disk(bytes, &disk);
        MUST(memcmp(bytes, at, NP_DIR_DISK_SIZE) == 0);
        MUST(!disk.has_root || np_place_is_before(&disk.root.place, record->header.pos));
    }
    for (uint32_t i = 0; i < dir->blobs; i++, at += NP_PLACE_SIZE) {
        struct np_place place;
        np_trailer_dir_blob(dir, i, &place);
        np_place_put(bytes, &place);
        MUST(memcmp(bytes, at, NP_PLACE_SIZE) == 0);
        MUST(np_place_is_before(&place, record->header.pos));
    }
}

/* The position of DIR, then its table. */
static void decode_dir(const uint8_t *bytes, size_t size)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_dir dir;
    if (size < 8 + NP_DIR_HEAD_SIZE)
        return;
    NP_AUTO_FREE char *table = text_of(bytes + 8, size - 8);
    struct np_record record = {.header = {.type = NP_RECORD_DIR,
                                          .disk = NP_DISK_NONE,
                                          .pos = np_get_le64(bytes) & ~(uint64_t)15,
                                          .table_len = (uint32_t)size - 8},
                               .table = (const uint8_t *)table};
    if (np_trailer_dir_decode(&record, "stream", &dir, &err) == 0)
        encode_dir_again(&record, &dir);
    else
        refused(&err);
}

/* Position, number and stream id of END, then its table. */
static void decode_end(const uint8_t *bytes, size_t size)
{
    struct np_error err = NP_ERROR_INIT;
    struct np_end end;
    uint8_t again[NP_END_TABLE_SIZE];
    if (size != 24 + NP_END_TABLE_SIZE)
        return;
    struct np_record record = {.header = {.type = NP_RECORD_END,
                                          .disk = NP_DISK_NONE,
                                          .pos = np_get_le64(bytes) & ~(uint64_t)15,
                                          .number = np_get_le64(bytes + 8),
                                          .stream_id = np_get_le64(bytes + 16),
                                          .table_len = NP_END_TABLE_SIZE},
                               .table = bytes + 24};
    if (np_trailer_end_decode(&record, "stream", &end, &err) < 0) {
        refused(&err);
        return;
    }
    np_trailer_put_end(again, &end);
    MUST(memcmp(again, record.table, sizeof(again)) == 0);
    MUST(end.size == record.header.pos + NP_END_SIZE && end.records == record.header.number + 1);
    MUST(np_place_is_before(&end.dir, record.header.pos) && np_place_is_before(&end.meta, record.header.pos));
}

static void cleanup_stream(struct np_stream **stream)
{
    np_stream_close(*stream);
}

static void check_end(const struct np_stream *stream, const uint8_t *bytes, size_t size)
{
    uint8_t again[NP_END_TABLE_SIZE];
    np_trailer_put_end(again, &stream->end);
    MUST(memcmp(again, bytes + size - NP_END_TABLE_SIZE, sizeof(again)) == 0);
    MUST(np_uuid_equal(&stream->end.stream, &stream->meta->stream));
}

static void check_files(struct np_stream *stream)
{
    const char *name;
    for (size_t i = 0; (name = np_stream_blob_name(stream, i)) != NULL; i++) {
        struct np_error err = NP_ERROR_INIT;
        NP_AUTO_FREE void *bytes = NULL;
        size_t size = 0;
        MUST(name[0] == '\0' || np_blob_table_name_is_good(name));
        if (np_stream_blob(stream, name, BLOB_LIMIT, &bytes, &size, &err) < 0)
            refused(&err);
        else
            MUST(bytes != NULL && size <= np_stream_size(stream));
    }
}

static void open_stream(const uint8_t *bytes, size_t size)
{
    struct bytes whole = {.bytes = bytes, .size = size};
    struct np_input_at at = bytes_input_at(&whole);
    struct np_error err = NP_ERROR_INIT;
    NP_CLEANUP(cleanup_stream) struct np_stream *stream = NULL;
    if (np_stream_open(&at, "stream", &stream, &err) < 0) {
        refused(&err);
        return;
    }
    check_end(stream, bytes, size);
    check_files(stream);
    for (size_t i = 0; i < stream->meta->disk_count; i++) {
        const struct np_dir_disk *disk = np_stream_dir_disk(stream, stream->meta->disks[i].id);
        MUST(disk != NULL && &disk->totals == np_stream_totals(stream, disk->id));
        MUST(disk->totals.digest_known || !np_uuid_is_nil(&stream->meta->disks[i].base_state));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t input_size)
{
    BOUNDED_TIME;
    if (input_size < 1)
        return 0;
    size_t size;
    switch (input[0] >> 5) {
    case DIR_TABLE:
        decode_dir(input + 1, input_size - 1);
        return 0;
    case END_TABLE:
        decode_end(input + 1, input_size - 1);
        return 0;
    default: {
        NP_AUTO_FREE uint8_t *bytes = mended(input + 1, input_size - 1, input[0], &size);
        open_stream(bytes, size);
        return 0;
    }
    }
}
