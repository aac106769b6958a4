/**
 * @file codec.h
 * The table of codecs. A new one is one file format/codec_NAME.c, one line of the table in format/codec.c
 * and one paragraph of FORMAT.md.
 */
#ifndef NBDPULL_CODEC_H
#define NBDPULL_CODEC_H

#include "nbdpull/error.h"

struct np_codec {
    const char *name;                        /**< as in --compress */
    uint8_t number;                          /**< in the record header */
    int level_min, level_max, level_default; /**< all 0: it has no levels */

    /**
     * State for one thread, used for all its windows.
     * @param level 0 is the default; checked by np_codec_parse
     * @param chunk most bytes of one call
     * @param state out, owned: state_free. May be NULL when none is needed.
     */
    int (*state_new)(int level, uint32_t chunk, void **state, struct np_error *err);
    void (*state_free)(void *state);

    /**
     * Compress size bytes into at most `room` bytes. Same input, level and library give the same output.
     * @return bytes written, or 0 when it does not fit (then the payload is stored raw)
     */
    size_t (*compress)(void *state, const void *from, size_t size, void *to, size_t room);

    /**
     * Expand into exactly size bytes; never writes beyond, whatever the input. State-free.
     * @return 0, or -1 with NP_DAMAGED: the input is not one unit of this codec of exactly that size
     */
    int (*expand)(const void *from, size_t stored, void *to, size_t size, struct np_error *err);

    /** Name and version of the linked library, e.g. "lz4 1.9.4"; "" when there is none. */
    void (*library)(char *text, size_t room);
};

/** By number, or NULL. Static. */
const struct np_codec *np_codec_find(uint8_t number);

/** All codecs, NULL at the end. Static. */
const struct np_codec *const *np_codec_all(void);

/**
 * "none", "lz4", "zstd", "zstd:9".
 * @param level out, 0 for the default
 * @return the codec, or NULL with NP_USAGE that lists what there is
 */
const struct np_codec *np_codec_parse(const char *text, int *level, struct np_error *err);

/** Versions of the linked compression libraries as META's codec_lib, e.g. "lz4 1.9.4, zstd 1.5.4". Static. */
const char *np_codec_libraries(void);

#endif
