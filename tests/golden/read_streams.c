/*
 * Reads streams with the readers of this build, for comparison with reader.py, and prints for each what they
 * say: NAME pipe REFUSED-OR-OK index REFUSED-OR-OK From a pipe everything is read; by index every record of
 * every disk, and every file.
 */
#include "expected.h"
#include "memory.h"

#include "nbdpull/chain.h"

static const char *say(int status, const struct np_error *err, bool verbose)
{
    if (status < 0 && verbose)
        fprintf(stderr, "  %s\n", err->message);
    return status < 0 ? "refused" : "ok";
}

static int expand(const struct np_geometry *geometry, const struct np_record_header *header,
                  const uint8_t *table, const uint8_t *data, struct np_error *err)
{
    if (header->type != NP_RECORD_DATA)
        return 0;
    struct np_record record = {.header = *header, .table = table, .data = data};
    uint8_t *out = malloc(geometry->chunk);
    int status = np_window_expand(geometry, &record, "s", out, err);
    free(out);
    return status;
}

static int read_pipe(struct memory_file *file, struct np_error *err)
{
    struct np_input input = memory_input(file);
    struct np_reader *reader = NULL;
    struct np_record record;
    uint8_t *data = malloc(NP_CHUNK_MAX);
    int more = np_reader_new(&input, "s", &reader, err) < 0 ? -1 : 1;
    while (more > 0 && (more = np_reader_next(reader, &record, err)) > 0) {
        const struct np_meta_disk *disk = np_meta_disk_by_id(np_reader_meta(reader), record.header.disk);
        if (record.header.data_len <= NP_CHUNK_MAX && np_reader_data(reader, data, NP_CHUNK_MAX, err) < 0)
            more = -1;
        else if (disk != NULL && expand(&disk->geometry, &record.header, record.table, data, err) < 0)
            more = -1;
    }
    np_reader_free(reader);
    free(data);
    return more;
}

static int read_disk(struct np_stream *stream, const struct np_meta_disk *disk, struct np_error *err)
{
    struct np_cursor *cursor;
    struct np_entry entry;
    struct np_record record;
    if (np_cursor_open(stream, disk->id, true, &cursor, err) < 0)
        return -1;
    uint8_t *table = malloc(NP_DATA_TABLE_MAX), *data = malloc(disk->geometry.chunk);
    int more;
    while ((more = np_cursor_next(cursor, &entry, err)) > 0)
        if (np_stream_read(stream, disk->id, &entry, table, data, &record, err) < 0 ||
            expand(&disk->geometry, &record.header, record.table, record.data, err) < 0) {
            more = -1;
            break;
        }
    free(data);
    free(table);
    np_cursor_close(cursor);
    return more;
}

/* Coverage is the chain's to see, not the cursor's. */
static int read_chain(struct np_stream *stream, const struct np_meta_disk *disk, struct np_error *err)
{
    struct np_chain *chain;
    struct np_chain_step step;
    if (!np_uuid_is_nil(&disk->base_state))
        return 0;
    if (np_chain_open(&stream, &disk->id, 1, disk->target, true, &chain, err) < 0)
        return -1;
    int more;
    while ((more = np_chain_next(chain, &step, err)) > 0)
        ;
    np_chain_close(chain);
    return more;
}

static int read_index(struct memory_file *file, struct np_error *err)
{
    struct np_input_at input = memory_input_at(file);
    struct np_stream *stream;
    if (np_stream_open(&input, "s", &stream, err) < 0)
        return -1;
    const struct np_meta *meta = np_stream_meta(stream);
    int status = 0;
    for (size_t i = 0; i < meta->disk_count && status == 0; i++)
        if (read_disk(stream, &meta->disks[i], err) < 0 || read_chain(stream, &meta->disks[i], err) < 0)
            status = -1;
    const char *name;
    for (size_t i = 0; status == 0 && (name = np_stream_blob_name(stream, i)) != NULL; i++) {
        void *bytes = NULL;
        size_t size;
        status = np_stream_blob(stream, name, 16 << 20, &bytes, &size, err);
        if (status == 0 && bytes == NULL)
            status = np_fail(err, NP_DAMAGED, "a blob without name");
        free(bytes);
    }
    np_stream_close(stream);
    return status;
}

int main(int argc, char **argv)
{
    bool verbose = getenv("VERBOSE") != NULL;
    for (int i = 1; i < argc; i++) {
        struct memory_file file = {0};
        struct np_error pipe_error = NP_ERROR_INIT, index_error = NP_ERROR_INIT;
        FILE *in = fopen(argv[i], "rb");
        if (in == NULL)
            return 2;
        file.bytes = malloc(64 << 20);
        file.size = fread(file.bytes, 1, 64 << 20, in);
        fclose(in);
        const char *name = strrchr(argv[i], '/') != NULL ? strrchr(argv[i], '/') + 1 : argv[i];
        const char *by_pipe = say(read_pipe(&file, &pipe_error), &pipe_error, verbose);
        printf("%s pipe %s index %s\n", name, by_pipe,
               say(read_index(&file, &index_error), &index_error, verbose));
        free(file.bytes);
    }
    return 0;
}
