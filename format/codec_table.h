/**
 * @file codec_table.h
 * One codec a file; format/codec.c lists them.
 */
#ifndef NBDPULL_FORMAT_CODEC_TABLE_H
#define NBDPULL_FORMAT_CODEC_TABLE_H

#include "nbdpull/codec.h"

extern const struct np_codec np_codec_none;
extern const struct np_codec np_codec_lz4;
extern const struct np_codec np_codec_zstd;

#endif
