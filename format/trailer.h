/**
 * @file trailer.h
 * The tables of DIR and END, both ways. Source: FORMAT.md, "DIR and END".
 *
 *     DIR:  disks u32, blobs u32, last INDEX pos u64, disks, blobs
 *     disk: id u16, level of the root u8, flags u8 (1 root present, 2 digest known), reserved u32, root as
 *           an inner entry (48 bytes), records u64, data, zero, dead and stored bytes u64 each, digest 16
 *     blob: the place (24 bytes) of its first part; its parts are adjacent records
 *     END:  stream length u64, records u64, places of DIR and second META (24 bytes each), digest of all
 *           headers before END 32 (XXH3-128, then zeroes), stream UUID 16, zeroes to 160
 */
#ifndef NBDPULL_FORMAT_TRAILER_H
#define NBDPULL_FORMAT_TRAILER_H

#include "index_node.h"

#define NP_DIR_HEAD_SIZE 16
#define NP_DIR_DISK_SIZE 112
#define NP_END_TABLE_SIZE (NP_END_SIZE - NP_RECORD_HEADER_SIZE)

/** What DIR says of one disk. */
struct np_dir_disk {
    uint16_t id;
    bool has_root; /**< false: no records, so no index */
    uint8_t root_level;
    struct np_index_child root;
    struct np_totals totals;
};

/** A DIR whose table has passed np_trailer_dir_decode. Borrows the table. */
struct np_dir {
    const uint8_t *table;
    uint32_t disks, blobs;
    uint64_t last_index; /**< position of the last INDEX of the stream; 0: none */
};

/** Bytes of the table. */
uint64_t np_trailer_dir_size(uint32_t disks, uint32_t blobs);

void np_trailer_put_dir_head(uint8_t to[NP_DIR_HEAD_SIZE], uint32_t disks, uint32_t blobs,
                             uint64_t last_index);
void np_trailer_put_dir_disk(uint8_t to[NP_DIR_DISK_SIZE], const struct np_dir_disk *disk);

/**
 * Check the whole table: sizes, ids rising, flags and reserved bytes, places before it, sums that can be.
 * @param record its table has been verified
 * @return 0, or -1: NP_DAMAGED
 */
int np_trailer_dir_decode(const struct np_record *record, const char *name, struct np_dir *dir,
                          struct np_error *err);
void np_trailer_dir_disk(const struct np_dir *dir, uint32_t i, struct np_dir_disk *disk);
void np_trailer_dir_blob(const struct np_dir *dir, uint32_t i, struct np_place *place);

struct np_end {
    uint64_t size;    /**< bytes of the stream, END included */
    uint64_t records; /**< END included */
    struct np_place dir, meta;
    struct np_hash128 digest; /**< of all headers before END, in order */
    struct np_uuid stream;
};

void np_trailer_put_end(uint8_t to[NP_END_TABLE_SIZE], const struct np_end *end);

/** Check the table against the header of END: size, number, stream id, places, reserved bytes. NP_DAMAGED */
int np_trailer_end_decode(const struct np_record *record, const char *name, struct np_end *end,
                          struct np_error *err);

#endif
