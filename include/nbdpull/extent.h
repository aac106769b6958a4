/**
 * @file extent.h
 * A range of the guest's disk and what block status says of it.
 */
#ifndef NBDPULL_EXTENT_H
#define NBDPULL_EXTENT_H

#include <stdint.h>

enum {
    /** base:allocation says that it reads as zeroes. HOLE without ZERO is data, so HOLE is not kept. */
    NP_EXTENT_ZERO = 1 << 0,
    /** The dirty bitmap says that it was written since the base checkpoint. */
    NP_EXTENT_DIRTY = 1 << 1,
};

/** Bytes [offset, offset + length) of the guest's disk; length > 0. */
struct np_extent {
    uint64_t offset;
    uint64_t length;
    uint32_t flags; /**< NP_EXTENT_ZERO, NP_EXTENT_DIRTY */
};

#endif
