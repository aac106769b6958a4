#include "codec_table.h"

#include "nbdpull/bytes.h"

#include <errno.h>
#include <stdio.h>
#include <zstd.h>

/* One zstd frame with its content size, without a checksum (the record has better ones) and a dictionary. */

enum { LEVEL_MIN = 1, LEVEL_MAX = 19, LEVEL_DEFAULT = 3 };

static int set(ZSTD_CCtx *context, ZSTD_cParameter parameter, int value, struct np_error *err)
{
    size_t result = ZSTD_CCtx_setParameter(context, parameter, value);
    if (!ZSTD_isError(result))
        return 0;
    return np_fail(err, NP_FAILED, "cannot begin to compress with zstd: %s", ZSTD_getErrorName(result));
}

static int zstd_state_new(int level, uint32_t chunk, void **state, struct np_error *err)
{
    (void)chunk;
    ZSTD_CCtx *context = ZSTD_createCCtx();
    if (context == NULL)
        return np_fail_errno(err, NP_FAILED, ENOMEM, "cannot begin to compress with zstd");
    /* No worker threads of zstd's own: with them the output depends on the cut into jobs. */
    if (set(context, ZSTD_c_compressionLevel, level != 0 ? level : LEVEL_DEFAULT, err) < 0 ||
        set(context, ZSTD_c_contentSizeFlag, 1, err) < 0 || set(context, ZSTD_c_checksumFlag, 0, err) < 0) {
        ZSTD_freeCCtx(context);
        return -1;
    }
    *state = context;
    return 0;
}

static void zstd_state_free(void *state)
{
    ZSTD_freeCCtx(state);
}

static size_t zstd_compress(void *state, const void *from, size_t size, void *to, size_t room)
{
    if (size == 0)
        return 0;
    size_t written = ZSTD_compress2(state, to, room, from, size);
    return ZSTD_isError(written) ? 0 : written;
}

/* The frame's header, and that the frame ends where the input ends. */
static int check_frame(const void *from, size_t stored, size_t size, struct np_error *err)
{
    if (stored < 4 || np_get_le32(from) != ZSTD_MAGICNUMBER)
        return np_fail(err, NP_DAMAGED, "no zstd frame");
    unsigned long long content = ZSTD_getFrameContentSize(from, stored);
    if (content == ZSTD_CONTENTSIZE_ERROR)
        return np_fail(err, NP_DAMAGED, "the zstd frame has a damaged header");
    if (content == ZSTD_CONTENTSIZE_UNKNOWN)
        return np_fail(err, NP_DAMAGED, "the zstd frame does not say how long it is");
    if (content != size)
        return np_fail(err, NP_DAMAGED, "a zstd frame of %llu bytes where one of %zu must be", content, size);
    size_t whole = ZSTD_findFrameCompressedSize(from, stored);
    if (ZSTD_isError(whole))
        return np_fail(err, NP_DAMAGED, "the zstd frame is cut or damaged: %s", ZSTD_getErrorName(whole));
    if (whole != stored)
        return np_fail(err, NP_DAMAGED, "%zu bytes after the zstd frame", stored - whole);
    return 0;
}

static int zstd_expand(const void *from, size_t stored, void *to, size_t size, struct np_error *err)
{
    if (check_frame(from, stored, size, err) < 0)
        return -1;
    /* A frame that names a dictionary fails here: none is given. */
    size_t got = ZSTD_decompress(to, size, from, stored);
    if (ZSTD_isError(got))
        return np_fail(err, NP_DAMAGED, "cannot expand the zstd frame: %s", ZSTD_getErrorName(got));
    if (got != size)
        return np_fail(err, NP_DAMAGED, "the zstd frame gave %zu bytes where %zu must be", got, size);
    return 0;
}

static void zstd_library(char *text, size_t room)
{
    snprintf(text, room, "zstd %s", ZSTD_versionString());
}

const struct np_codec np_codec_zstd = {
    .name = "zstd",
    .number = 2,
    .level_min = LEVEL_MIN,
    .level_max = LEVEL_MAX,
    .level_default = LEVEL_DEFAULT,
    .state_new = zstd_state_new,
    .state_free = zstd_state_free,
    .compress = zstd_compress,
    .expand = zstd_expand,
    .library = zstd_library,
};
