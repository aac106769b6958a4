#include "emitter.h"

#include "nbdpull/bytes.h"

#include <errno.h>

int np_emitter_init(struct np_emitter *emitter, const struct np_sink *sink, const struct np_uuid *stream,
                    struct np_error *err)
{
    *emitter = (struct np_emitter){
        .sink = *sink,
        .headers = np_hash_stream_new(),
        .stream_id = np_stream_id(stream),
    };
    if (emitter->headers == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot begin a stream");
    return 0;
}

void np_emitter_clear(struct np_emitter *emitter)
{
    np_hash_stream_free(emitter->headers);
    emitter->headers = NULL;
}

struct np_record_header np_emitter_begin(const struct np_emitter *emitter, uint8_t type, uint16_t disk)
{
    return (struct np_record_header){
        .version = NP_FORMAT_VERSION,
        .type = type,
        .stream_id = emitter->stream_id,
        .pos = emitter->pos,
        .number = emitter->number,
        .disk = disk,
    };
}

/* The reader's own check: a header that it would refuse is never written. */
static int check_header(const uint8_t bytes[NP_RECORD_HEADER_SIZE], uint64_t pos, struct np_error *err)
{
    struct np_record_header back;
    if (np_record_decode(bytes, "the stream", pos, &back, err) == 0)
        return 0;
    err->class = NP_FAILED;
    return np_error_context(err, "internal error: refused to write a record that could not be read");
}

int np_emitter_put(struct np_emitter *emitter, struct np_record_header *header, const void *table,
                   const void *data, struct np_error *err)
{
    static const uint8_t zeroes[NP_RECORD_ALIGN];
    uint8_t bytes[NP_RECORD_HEADER_SIZE];
    header->version = NP_FORMAT_VERSION;
    header->stream_id = emitter->stream_id;
    header->pos = emitter->pos;
    header->number = emitter->number;
    header->table_sum = np_hash64(table, header->table_len);
    if (header->type != NP_RECORD_DATA) /* a packer has done it for DATA, on its own core */
        header->data_sum = np_hash128(data, header->data_len);
    np_record_encode(header, bytes);
    if (check_header(bytes, emitter->pos, err) < 0)
        return -1;

    uint64_t size = np_record_size(header);
    size_t padding = (size_t)(size - sizeof(bytes) - header->table_len - header->data_len);
    struct iovec pieces[] = {
        {.iov_base = bytes, .iov_len = sizeof(bytes)},
        {.iov_base = (void *)(uintptr_t)table, .iov_len = header->table_len},
        {.iov_base = (void *)(uintptr_t)data, .iov_len = header->data_len},
        {.iov_base = (void *)(uintptr_t)zeroes, .iov_len = padding},
    };
    if (emitter->sink.append(emitter->sink.ctx, pieces, NP_ARRAY_SIZE(pieces), err) < 0)
        return -1;

    np_hash_stream_add(emitter->headers, bytes, sizeof(bytes));
    if (header->type == NP_RECORD_INDEX)
        emitter->last_index = emitter->pos;
    emitter->pos += size;
    emitter->number++;
    return 0;
}
