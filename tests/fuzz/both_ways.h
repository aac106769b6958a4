/*
 * Reading a stream front to back and by its index, each with everything checked. FORMAT.md promises that both
 * refuse the same streams; what both accept must be the same bytes.
 */
#ifndef NBDPULL_FUZZ_BOTH_WAYS_H
#define NBDPULL_FUZZ_BOTH_WAYS_H

#include "fuzz.h"

#include "nbdpull/stream.h"

/* Guest bytes that are expanded for one input. More is possible in few bytes, and only takes time. */
#define EXPAND_BUDGET (64u << 20)

#define BLOB_LIMIT (64u << 20)

enum verdict {
    REFUSED,
    ACCEPTED,
    TOO_MUCH, /* to be expanded in the time of a fuzzer */
};

/* What was read: for each disk of META, and for the files. */
struct seen {
    struct np_hash128 records[NP_DISKS_MAX], blobs;
    struct np_totals totals[NP_DISKS_MAX];
    struct np_error err; /* when it was refused */
};

/* A stream in memory. */
struct bytes {
    const uint8_t *bytes;
    size_t size;
    size_t at;    /* of the next read, front to back */
    size_t piece; /* most bytes of one read, as a pipe gives them; 0: any number */
};

struct np_input bytes_input(struct bytes *bytes);
struct np_input_at bytes_input_at(struct bytes *bytes);

/*
 * Front to back.
 * @param skip leave data to the reader to be skipped, so that no granule's hash is compared
 */
enum verdict read_front_to_back(struct bytes *bytes, bool skip, struct seen *seen);

/* By the index: verify it, then read each disk by its cursor, then the files. */
enum verdict read_by_index(struct bytes *bytes, struct seen *seen);

/* Of a stream that was accepted front to back, without the zeroes that may follow it on a pipe. */
size_t size_of_stream(const struct bytes *bytes);

/* Does either way accept it and the other not? Do they differ in what they read? */
void compare_both_ways(const uint8_t *bytes, size_t size);

#endif
