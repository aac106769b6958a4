/**
 * @file record.h
 * The record: header (96 bytes), table, data, padding to 16. Source: FORMAT.md, "Record".
 */
#ifndef NBDPULL_RECORD_H
#define NBDPULL_RECORD_H

#include "nbdpull/error.h"
#include "nbdpull/hash.h"
#include "nbdpull/uuid.h"

#define NP_FORMAT_VERSION 1
#define NP_RECORD_HEADER_SIZE 96
#define NP_RECORD_ALIGN 16
#define NP_END_SIZE 256     /**< the whole END record */
#define NP_DISK_NONE 0xffff /**< header.disk of records that belong to no disk */
#define NP_DISKS_MAX 1024
#define NP_OFFSET_LIMIT (UINT64_C(1) << 53) /**< offsets and lengths are below it, each by itself */
#define NP_TABLE_MAX (1u << 20)
#define NP_BLOB_PART_MAX (16u << 20)
#define NP_BLOBS_MAX 1024 /**< named files of a stream */

enum np_record_type {
    NP_RECORD_META = 1,
    NP_RECORD_DATA = 2,
    NP_RECORD_ZERO = 3,
    NP_RECORD_BLOB = 4,
    NP_RECORD_INDEX = 5,
    NP_RECORD_DIR = 6,
    NP_RECORD_END = 7,
    NP_RECORD_OPTIONAL = 0x80, /**< types with this bit may be skipped when unknown */
};

struct np_record_header {
    uint8_t version, type, codec, cipher;
    uint64_t stream_id; /**< last 8 bytes of the stream's UUID, read as little-endian */
    uint64_t pos;       /**< of this header in the stream, a multiple of 16 */
    uint64_t offset;    /**< guest bytes, see FORMAT.md per type */
    uint64_t length;
    uint32_t table_len, data_len; /**< bytes as stored */
    uint16_t disk, flags;
    uint64_t number; /**< 0, 1, 2, ... */
    struct np_hash128 data_sum;
    uint64_t table_sum;
    uint64_t head_sum; /**< out of np_record_encode and np_record_decode */
};

/** A record in memory: table_len and data_len of the header say how long the two are. Borrowed. */
struct np_record {
    struct np_record_header header;
    const uint8_t *table;
    const uint8_t *data;
};

uint64_t np_stream_id(const struct np_uuid *stream_uuid);

/** Encode; computes and stores header->head_sum. */
void np_record_encode(struct np_record_header *header, uint8_t bytes[NP_RECORD_HEADER_SIZE]);

/**
 * Decode and check what needs no context, in the order of FORMAT.md: magic, head_sum, version, reserved,
 * type, codec and cipher numbers and high flags (refused when unknown and needed), limits of table_len,
 * data_len, offset and length per type. Stream id, pos and number are compared by np_record_expect. Of an
 * unknown type that may be skipped only the sizes are checked: codec, cipher and flags are its own.
 * @param name  the stream's name for messages
 * @param pos   where these bytes were found
 * @return 0, or -1: NP_DAMAGED; NP_FAILED for a newer version or unknown required feature
 */
int np_record_decode(const uint8_t bytes[NP_RECORD_HEADER_SIZE], const char *name, uint64_t pos,
                     struct np_record_header *header, struct np_error *err);

/** Do these 4 bytes begin a record? For looking for one; np_record_decode says whether it is one. */
bool np_record_begins(const uint8_t bytes[4]);

/** Compare identity: stream id, position, record number (NP_ANY_NUMBER: not known). NP_DAMAGED. */
#define NP_ANY_NUMBER UINT64_MAX
int np_record_expect(const struct np_record_header *header, const char *name, uint64_t stream_id,
                     uint64_t pos, uint64_t number, struct np_error *err);

/**
 * What is wrong with the sums of a table or of data that are empty, or NULL. The header alone tells: so it is
 * for who reads no more of a record. Not part of np_record_decode, for such a header is good.
 */
const char *np_record_wrong_sum(const struct np_record_header *header);

/** Bytes of the whole record with its padding. */
uint64_t np_record_size(const struct np_record_header *header);

/** "DATA", "ZERO", ... ; "unknown" for other numbers. Static. */
const char *np_record_type_name(uint8_t type);

#endif
