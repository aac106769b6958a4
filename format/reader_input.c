#include "reader_input.h"

#include "nbdpull/bytes.h"

#define PIECE (64u << 10)
#define TAIL_UNIT (UINT64_C(1) << 20)

int np_reader_input_read(struct np_reader_input *input, void *buffer, size_t size, const char *what,
                         struct np_error *err)
{
    uint8_t *to = buffer;
    while (size > 0) {
        size_t got = 0;
        if (input->from.read(input->from.ctx, to, size, &got, err) < 0)
            return np_error_context(err, "%s: at byte %ju", input->name, (uintmax_t)input->pos);
        if (got == 0)
            return np_fail(err, NP_DAMAGED,
                           "%s: the stream is truncated: it ends at byte %ju, in %s; use another copy of it",
                           input->name, (uintmax_t)input->pos, what);
        to += got;
        size -= got;
        input->pos += got;
    }
    return 0;
}

int np_reader_input_skip(struct np_reader_input *input, uint64_t size, struct np_hash_stream *hash,
                         struct np_hash_stream *also, const char *what, struct np_error *err)
{
    uint8_t piece[PIECE];
    while (size > 0) {
        size_t step = (size_t)np_min_u64(size, sizeof(piece));
        if (np_reader_input_read(input, piece, step, what, err) < 0)
            return -1;
        np_hash_stream_add(hash, piece, step);
        if (also != NULL)
            np_hash_stream_add(also, piece, step);
        size -= step;
    }
    return 0;
}

/* Tapes and blocked archives fill their last block with zeroes; anything else is not ours. */
int np_reader_input_end(struct np_reader_input *input, struct np_error *err)
{
    uint64_t limit = np_align_up(input->pos, TAIL_UNIT);
    uint64_t end = input->pos;
    for (;;) {
        uint8_t piece[4096];
        size_t got = 0;
        if (input->from.read(input->from.ctx, piece, sizeof(piece), &got, err) < 0)
            return np_error_context(err, "%s: at byte %ju", input->name, (uintmax_t)input->pos);
        if (got == 0)
            return 0;
        input->pos += got;
        if (input->pos > limit || !np_is_zero(piece, got))
            return np_fail(err, NP_DAMAGED,
                           "%s: something follows the end of the stream at byte %ju: it was appended to, or "
                           "is the rest of something longer",
                           input->name, (uintmax_t)end);
    }
}
