/**
 * @file source.h
 * Where a backup engine reads a disk from: a small table of functions, so that the engines know neither
 * NBD nor libvirt and run in tests against memory and against faults. The real one is src/nbd.
 */
#ifndef NBDPULL_SOURCE_H
#define NBDPULL_SOURCE_H

#include "nbdpull/error.h"
#include "nbdpull/extent.h"

struct np_source_ops {
    /**
     * A way in for one thread (an NBD connection of its own).
     * @param reader out, owned: close it with reader_close in the same thread
     */
    int (*reader_open)(void *ctx, void **reader, struct np_error *err);

    /**
     * What block status says of bytes from offset on, in order and without gaps, beginning at offset, for
     * at least one byte and never beyond offset + length.
     * @param offset,length inside the disk, length > 0
     * @param extents out, room for `room` (at least 1)
     * @param count   out, at least 1; flags of neighbours may be equal
     */
    int (*extents)(void *reader, uint64_t offset, uint64_t length, struct np_extent *extents, size_t room,
                   size_t *count, struct np_error *err);

    /** Read exactly length bytes (at most 32 MiB) of the disk, inside it. */
    int (*read)(void *reader, void *buffer, uint64_t offset, size_t length, struct np_error *err);

    /** End a reader. Takes NULL. */
    void (*reader_close)(void *reader);

    /** From any thread: make all reads that are under way, and later ones, fail soon. */
    void (*interrupt)(void *ctx);
};

/** A disk that can be read. `size` does not change while it is open. */
struct np_source {
    const struct np_source_ops *ops;
    void *ctx;
    uint64_t size; /**< bytes, not rounded */
};

#endif
