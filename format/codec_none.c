#include "codec_table.h"

#include <string.h>

/* Stored as it is. A payload that does not shrink is stored the same way, so compress never has anything to
 * win. */

static int none_state_new(int level, uint32_t chunk, void **state, struct np_error *err)
{
    (void)level, (void)chunk, (void)err;
    *state = NULL;
    return 0;
}

static void none_state_free(void *state)
{
    (void)state;
}

static size_t none_compress(void *state, const void *from, size_t size, void *to, size_t room)
{
    (void)state;
    if (size > room)
        return 0;
    memcpy(to, from, size);
    return size;
}

static int none_expand(const void *from, size_t stored, void *to, size_t size, struct np_error *err)
{
    if (stored != size)
        return np_fail(err, NP_DAMAGED, "%zu bytes stored where %zu must be", stored, size);
    memcpy(to, from, size);
    return 0;
}

static void none_library(char *text, size_t room)
{
    if (room > 0)
        text[0] = '\0';
}

const struct np_codec np_codec_none = {
    .name = "none",
    .number = 0,
    .state_new = none_state_new,
    .state_free = none_state_free,
    .compress = none_compress,
    .expand = none_expand,
    .library = none_library,
};
