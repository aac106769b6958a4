/**
 * @file reader_input.h
 * The pipe reader's bytes: exact reads that count the position and say where a stream was cut.
 */
#ifndef NBDPULL_FORMAT_READER_INPUT_H
#define NBDPULL_FORMAT_READER_INPUT_H

#include "nbdpull/stream.h"

struct np_reader_input {
    struct np_input from;
    const char *name; /**< of the stream; borrowed */
    uint64_t pos;     /**< bytes consumed */
};

/**
 * Read exactly size bytes.
 * @param what is being read, for the message
 * @return 0, or -1: NP_DAMAGED when the input ends before, with the byte at which it ends
 */
int np_reader_input_read(struct np_reader_input *input, void *buffer, size_t size, const char *what,
                         struct np_error *err);

/**
 * Read size bytes and keep only their sums.
 * @param hash to add them to; borrowed
 * @param also to add them to as well, or NULL
 */
int np_reader_input_skip(struct np_reader_input *input, uint64_t size, struct np_hash_stream *hash,
                         struct np_hash_stream *also, const char *what, struct np_error *err);

/** Read to the end: only zeroes may come, up to the next multiple of 1 MiB. NP_DAMAGED */
int np_reader_input_end(struct np_reader_input *input, struct np_error *err);

#endif
