/**
 * @file window.h
 * The grid of a disk, the granule map of a window, and the body of a DATA record. Source: FORMAT.md,
 * "Grid" and "DATA".
 */
#ifndef NBDPULL_WINDOW_H
#define NBDPULL_WINDOW_H

#include "nbdpull/record.h"

#define NP_CHUNK_MIN (64u << 10)
#define NP_CHUNK_MAX (32u << 20)
#define NP_CHUNK_DEFAULT (1u << 20)
#define NP_GRANULE_MIN (4u << 10)
#define NP_GRANULE_MAX (1u << 20)
#define NP_GRANULE_DEFAULT (64u << 10)
#define NP_GRANULES_MAX 1024                   /**< granules of a window, at most */
#define NP_MAP_BYTES_MAX (NP_GRANULES_MAX / 4) /**< 2 bits each */
#define NP_DATA_TABLE_MAX (NP_MAP_BYTES_MAX + NP_GRANULES_MAX * NP_HASH128_SIZE)

enum np_granule_state {
    NP_GRANULE_ABSENT = 0, /**< not described here */
    NP_GRANULE_DATA = 1,   /**< in the payload */
    NP_GRANULE_ZERO = 2,   /**< reads as zeroes */
    NP_GRANULE_DEAD = 3,   /**< in the payload, superseded: must be ignored */
};

/** A disk's grid: windows of `chunk` bytes, granules of `granule` bytes, both cut at `size`. */
struct np_geometry {
    uint64_t size;    /**< bytes of the disk, below 2^53, not rounded; may be 0 */
    uint32_t chunk;   /**< power of two, NP_CHUNK_MIN..NP_CHUNK_MAX */
    uint32_t granule; /**< power of two, NP_GRANULE_MIN..NP_GRANULE_MAX, <= chunk, chunk/granule <= 1024 */
};

/** NP_USAGE-free check of a geometry from outside: NP_DAMAGED with what is wrong. */
int np_geometry_check(const struct np_geometry *geometry, struct np_error *err);

/** Bytes of the window that begins at offset (a multiple of chunk below size). */
uint64_t np_window_length(const struct np_geometry *geometry, uint64_t offset);

/** Granules of the window that begins at offset. */
unsigned np_window_granules(const struct np_geometry *geometry, uint64_t offset);

/** Bytes of granule index (in its window) of the window at offset: granule, or fewer at the disk's end. */
uint32_t np_granule_length(const struct np_geometry *geometry, uint64_t offset, unsigned index);

/** Bytes of the map in a table: ceil(chunk / granule / 4) rounded up to 8. */
uint32_t np_map_bytes(const struct np_geometry *geometry);

enum np_granule_state np_map_get(const uint8_t *map, unsigned index);
void np_map_set(uint8_t *map, unsigned index, enum np_granule_state state);

/** What a window's map adds up to. */
struct np_map_sums {
    unsigned payload; /**< granules in state data or dead: as many hashes */
    unsigned live;    /**< granules in state data or zero */
    uint32_t data_bytes, zero_bytes, dead_bytes;
};

/** Add up the granules of the window at offset. */
struct np_map_sums np_map_add_up(const struct np_geometry *geometry, uint64_t offset, const uint8_t *map);

/**
 * First guest byte from which a stream has to describe everything: 0 without a base; after growth the granule
 * that holds the old end; after shrinking the last granule if it became short; else the disk's end.
 * @param based the disk builds on another state, of base_size bytes
 */
uint64_t np_geometry_cover_from(const struct np_geometry *geometry, bool based, uint64_t base_size);

/**
 * The body of one DATA record: what a packer makes and the writer stores. Pointers borrowed.
 *
 * The writer sees no guest bytes, so this is for the packer to keep: a granule of zeroes is in state zero and
 * never data (a stored zero granule has a hash and a digest term, a zero one has none: equal disks would
 * differ), a window of nothing but zeroes is a np_writer_zero, and zero test, hash and compression read the
 * same private buffer, which nobody else writes meanwhile.
 */
struct np_packed {
    uint64_t offset;      /**< of the window */
    uint32_t length;      /**< decoded bytes of the payload */
    uint8_t codec;        /**< number in the codec table */
    const uint8_t *table; /**< map, then one hash per granule in state data or dead */
    uint32_t table_len;
    const uint8_t *data; /**< payload as stored */
    uint32_t data_len;
    struct np_hash128 data_sum; /**< of the payload as stored */
};

/**
 * Check the table of a DATA record against the grid: window in the disk, table_len, map bits beyond the
 * disk's end, at least one granule data or zero, `length` equal to the granules in the payload, codec rule
 * (none iff data_len == length). NP_DAMAGED.
 * @param record its table is there, its data need not be
 */
int np_window_check(const struct np_geometry *geometry, const struct np_record *record, const char *name,
                    struct np_error *err);

/**
 * Expand a checked DATA record's payload and verify the hash of each granule in state data (dead ones are
 * not looked at). Afterwards granule payloads lie in `out` one after the other, in order.
 * @param record header, table and data; np_window_check passed; data_sum has been verified
 * @param out    at least header.length bytes; not the record's data
 * @return 0, or -1: NP_DAMAGED with record, granule and guest offset
 */
int np_window_expand(const struct np_geometry *geometry, const struct np_record *record, const char *name,
                     void *out, struct np_error *err);

#endif
