#include "codec_table.h"

#include <errno.h>
#include <limits.h>
#include <lz4.h>
#include <stdio.h>
#include <stdlib.h>

/* One lz4 block, without a frame around it: sizes and checksums stand in the record. */

static int lz4_state_new(int level, uint32_t chunk, void **state, struct np_error *err)
{
    (void)level, (void)chunk;
    *state = malloc((size_t)LZ4_sizeofState());
    return *state != NULL ? 0 : np_fail_errno(err, NP_FAILED, ENOMEM, "cannot begin to compress with lz4");
}

static void lz4_state_free(void *state)
{
    free(state);
}

static size_t lz4_compress(void *state, const void *from, size_t size, void *to, size_t room)
{
    if (size == 0 || size > LZ4_MAX_INPUT_SIZE || room == 0)
        return 0;
    int most = room < INT_MAX ? (int)room : INT_MAX;
    int written = LZ4_compress_fast_extState(state, from, to, (int)size, most, 1);
    return written > 0 ? (size_t)written : 0;
}

static int lz4_expand(const void *from, size_t stored, void *to, size_t size, struct np_error *err)
{
    if (stored == 0 || stored > INT_MAX || size > LZ4_MAX_INPUT_SIZE)
        return np_fail(err, NP_DAMAGED, "%zu bytes cannot be an lz4 block of %zu bytes", stored, size);
    /* A block ends where its input ends, so a trailing byte is an error to the library too. */
    int got = LZ4_decompress_safe(from, to, (int)stored, (int)size);
    if (got < 0)
        return np_fail(err, NP_DAMAGED, "no lz4 block of %zu bytes", size);
    if ((size_t)got != size)
        return np_fail(err, NP_DAMAGED, "an lz4 block of %d bytes where one of %zu must be", got, size);
    return 0;
}

static void lz4_library(char *text, size_t room)
{
    snprintf(text, room, "lz4 %s", LZ4_versionString());
}

const struct np_codec np_codec_lz4 = {
    .name = "lz4",
    .number = 1,
    .state_new = lz4_state_new,
    .state_free = lz4_state_free,
    .compress = lz4_compress,
    .expand = lz4_expand,
    .library = lz4_library,
};
