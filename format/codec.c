#include "nbdpull/codec.h"

#include "codec_table.h"
#include "nbdpull/bytes.h"

#include <pthread.h>
#include <stdio.h>

static const struct np_codec *const codecs[] = {&np_codec_none, &np_codec_lz4, &np_codec_zstd, NULL};

const struct np_codec *np_codec_find(uint8_t number)
{
    for (const struct np_codec *const *codec = codecs; *codec != NULL; codec++)
        if ((*codec)->number == number)
            return *codec;
    return NULL;
}

const struct np_codec *const *np_codec_all(void)
{
    return codecs;
}

static bool has_levels(const struct np_codec *codec)
{
    return codec->level_max != 0;
}

/* "none, lz4, zstd, zstd:1 to zstd:19" */
static void list_codecs(char *text, size_t room)
{
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; codecs[i] != NULL && used < room; i++) {
        const char *name = codecs[i]->name;
        used += (size_t)snprintf(text + used, room - used, "%s%s", i > 0 ? ", " : "", name);
        if (has_levels(codecs[i]) && used < room)
            used += (size_t)snprintf(text + used, room - used, ", %s:%d to %s:%d", name, codecs[i]->level_min,
                                     name, codecs[i]->level_max);
    }
}

static const struct np_codec *find_name(const char *name, size_t length)
{
    for (size_t i = 0; codecs[i] != NULL; i++)
        if (strlen(codecs[i]->name) == length && memcmp(codecs[i]->name, name, length) == 0)
            return codecs[i];
    return NULL;
}

/* Digits only, so neither a sign nor a blank nor an empty level gets through. */
static bool parse_level(const struct np_codec *codec, const char *digits, int *level)
{
    size_t length = strlen(digits);
    if (length < 1 || length > 4 || strspn(digits, "0123456789") != length)
        return false;
    *level = 0;
    for (size_t i = 0; i < length; i++)
        *level = 10 * *level + (digits[i] - '0');
    return *level >= codec->level_min && *level <= codec->level_max;
}

const struct np_codec *np_codec_parse(const char *text, int *level, struct np_error *err)
{
    char list[256];
    list_codecs(list, sizeof(list));

    size_t length = strcspn(text, ":");
    const struct np_codec *codec = find_name(text, length);
    *level = 0;
    if (codec == NULL) {
        np_fail(err, NP_USAGE, "\"%s\" is no compression; there are %s", text, list);
        return NULL;
    }
    if (text[length] == '\0')
        return codec;
    if (!has_levels(codec)) {
        np_fail(err, NP_USAGE, "\"%s\": compression %s has no levels; there are %s", text, codec->name, list);
        return NULL;
    }
    if (!parse_level(codec, text + length + 1, level)) {
        np_fail(err, NP_USAGE, "\"%s\": compression %s has levels %d to %d", text, codec->name,
                codec->level_min, codec->level_max);
        return NULL;
    }
    return codec;
}

static char libraries[64];

static void list_libraries(void)
{
    size_t used = 0;
    for (size_t i = 0; codecs[i] != NULL; i++) {
        char one[32];
        codecs[i]->library(one, sizeof(one));
        if (one[0] != '\0' && used < sizeof(libraries))
            used += (size_t)snprintf(libraries + used, sizeof(libraries) - used, "%s%s", used > 0 ? ", " : "",
                                     one);
    }
}

const char *np_codec_libraries(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, list_libraries);
    return libraries;
}
