#include "nbdpull/record.h"

#include "nbdpull/bytes.h"
#include "nbdpull/codec.h"
#include "nbdpull/window.h"

static const uint8_t magic[4] = {0x89, 'N', 'B', 'P'};

enum {
    HEAD_SUM_AT = 88,
    BLOB_TABLE_MIN = 27,
    BLOB_TABLE_MAX = 26 + 255,
    META_DATA_MAX = 1 << 20,
    INDEX_DATA_MAX = 128 << 10
};

/* What a type's header may say, before anything else of the stream is known. */
struct limits {
    const char *name;
    uint32_t table_min, table_max, data_max;
    bool of_disk; /* else disk is NP_DISK_NONE */
    bool placed;  /* offset and length mean something; else both are 0 */
};

static const struct limits limits[] = {
    [NP_RECORD_META] = {"META", 2, NP_TABLE_MAX, META_DATA_MAX, false, false},
    [NP_RECORD_DATA] = {"DATA", 8, NP_DATA_TABLE_MAX, NP_CHUNK_MAX, true, true},
    [NP_RECORD_ZERO] = {"ZERO", 0, 0, 0, true, true},
    [NP_RECORD_BLOB] = {"BLOB", BLOB_TABLE_MIN, BLOB_TABLE_MAX, NP_BLOB_PART_MAX, false, true},
    [NP_RECORD_INDEX] = {"INDEX", 16, NP_TABLE_MAX, INDEX_DATA_MAX, true, true},
    [NP_RECORD_DIR] = {"DIR", 16, NP_TABLE_MAX, 0, false, false},
    [NP_RECORD_END] = {"END", NP_END_SIZE - NP_RECORD_HEADER_SIZE, NP_END_SIZE - NP_RECORD_HEADER_SIZE, 0,
                       false, false},
};

static bool is_known(uint8_t type)
{
    return type < NP_ARRAY_SIZE(limits) && limits[type].name != NULL;
}

const char *np_record_type_name(uint8_t type)
{
    return is_known(type) ? limits[type].name : "unknown";
}

uint64_t np_stream_id(const struct np_uuid *stream_uuid)
{
    return np_get_le64(stream_uuid->bytes + 8);
}

const char *np_record_wrong_sum(const struct np_record_header *header)
{
    if (header->table_len == 0 && header->table_sum != np_hash64("", 0))
        return "its table has a wrong checksum";
    if (header->data_len == 0 && !np_hash128_equal(header->data_sum, np_hash128("", 0)))
        return "its data have a wrong checksum";
    return NULL;
}

uint64_t np_record_size(const struct np_record_header *header)
{
    uint64_t size = (uint64_t)NP_RECORD_HEADER_SIZE + header->table_len + header->data_len;
    return np_align_up(size, NP_RECORD_ALIGN);
}

void np_record_encode(struct np_record_header *header, uint8_t bytes[NP_RECORD_HEADER_SIZE])
{
    memcpy(bytes, magic, sizeof(magic));
    bytes[4] = header->version;
    bytes[5] = header->type;
    bytes[6] = header->codec;
    bytes[7] = header->cipher;
    np_put_le64(bytes + 8, header->stream_id);
    np_put_le64(bytes + 16, header->pos);
    np_put_le64(bytes + 24, header->offset);
    np_put_le64(bytes + 32, header->length);
    np_put_le32(bytes + 40, header->table_len);
    np_put_le32(bytes + 44, header->data_len);
    np_put_le16(bytes + 48, header->disk);
    np_put_le16(bytes + 50, header->flags);
    np_put_le32(bytes + 52, 0);
    np_put_le64(bytes + 56, header->number);
    np_hash128_put(bytes + 64, header->data_sum);
    np_put_le64(bytes + 80, header->table_sum);
    header->head_sum = np_hash64(bytes, HEAD_SUM_AT);
    np_put_le64(bytes + HEAD_SUM_AT, header->head_sum);
}

static void read_fields(const uint8_t bytes[NP_RECORD_HEADER_SIZE], struct np_record_header *header)
{
    *header = (struct np_record_header){
        .version = bytes[4],
        .type = bytes[5],
        .codec = bytes[6],
        .cipher = bytes[7],
        .stream_id = np_get_le64(bytes + 8),
        .pos = np_get_le64(bytes + 16),
        .offset = np_get_le64(bytes + 24),
        .length = np_get_le64(bytes + 32),
        .table_len = np_get_le32(bytes + 40),
        .data_len = np_get_le32(bytes + 44),
        .disk = np_get_le16(bytes + 48),
        .flags = np_get_le16(bytes + 50),
        .number = np_get_le64(bytes + 56),
        .data_sum = np_hash128_get(bytes + 64),
        .table_sum = np_get_le64(bytes + 80),
        .head_sum = np_get_le64(bytes + HEAD_SUM_AT),
    };
}

static int damaged(const char *name, uint64_t pos, const struct np_record_header *header, const char *what,
                   struct np_error *err)
{
    np_fail(err, NP_DAMAGED, "%s: record %ju (%s) at byte %ju: %s: the stream is damaged", name,
            (uintmax_t)header->number, np_record_type_name(header->type), (uintmax_t)pos, what);
    return np_error_record(err, pos, header->number);
}

static int refused(const char *name, uint64_t pos, const char *what, unsigned value, struct np_error *err)
{
    return np_fail(err, NP_FAILED,
                   "%s: record at byte %ju has %s %u, which this version of nbdpull does not know: refused, "
                   "use a newer nbdpull",
                   name, (uintmax_t)pos, what, value);
}

/* An unknown type that may be skipped is skipped whole: what its codec, cipher and flags mean is its own. */
static int check_features(const struct np_record_header *header, const char *name, uint64_t pos,
                          struct np_error *err)
{
    if (!is_known(header->type)) {
        if (header->type & NP_RECORD_OPTIONAL)
            return 0;
        return refused(name, pos, "type", header->type, err);
    }
    if (np_codec_find(header->codec) == NULL)
        return refused(name, pos, "codec", header->codec, err);
    if (header->cipher != 0)
        return refused(name, pos, "cipher", header->cipher, err);
    if (header->flags >> 8 != 0)
        return refused(name, pos, "required flags", header->flags >> 8, err);
    if (header->codec != 0 && header->type != NP_RECORD_DATA)
        return damaged(name, pos, header, "compressed, which only DATA may be", err);
    return 0;
}

static int check_optional_limits(const struct np_record_header *header, const char *name, uint64_t pos,
                                 struct np_error *err)
{
    if (header->table_len > NP_TABLE_MAX || header->data_len > NP_CHUNK_MAX)
        return damaged(name, pos, header, "larger than any record may be", err);
    if (header->disk >= NP_DISKS_MAX && header->disk != NP_DISK_NONE)
        return damaged(name, pos, header, "no such disk number", err);
    return 0;
}

static int check_limits(const struct np_record_header *header, const char *name, uint64_t pos,
                        struct np_error *err)
{
    if (header->pos % NP_RECORD_ALIGN != 0)
        return damaged(name, pos, header, "its position is not a multiple of 16", err);
    if (header->offset >= NP_OFFSET_LIMIT || header->length >= NP_OFFSET_LIMIT)
        return damaged(name, pos, header, "offset or length of 2^53 or more", err);
    if (!is_known(header->type))
        return check_optional_limits(header, name, pos, err);

    const struct limits *limit = &limits[header->type];
    if (header->table_len < limit->table_min || header->table_len > limit->table_max)
        return damaged(name, pos, header, "impossible size of the table", err);
    if (header->data_len > limit->data_max)
        return damaged(name, pos, header, "impossible size of the data", err);
    if (limit->of_disk ? header->disk >= NP_DISKS_MAX : header->disk != NP_DISK_NONE)
        return damaged(name, pos, header, "no such disk number", err);
    if (!limit->placed && (header->offset != 0 || header->length != 0))
        return damaged(name, pos, header, "offset or length where there is none", err);
    return 0;
}

static int check_length(const struct np_record_header *header, const char *name, uint64_t pos,
                        struct np_error *err)
{
    if (header->type == NP_RECORD_DATA && header->length > NP_CHUNK_MAX)
        return damaged(name, pos, header, "longer than a window may be", err);
    if (header->type == NP_RECORD_BLOB && header->length != header->data_len)
        return damaged(name, pos, header, "length and size of the data differ", err);
    if ((header->type == NP_RECORD_ZERO || header->type == NP_RECORD_INDEX) && header->length == 0)
        return damaged(name, pos, header, "covers nothing", err);
    return 0;
}

bool np_record_begins(const uint8_t bytes[4])
{
    return memcmp(bytes, magic, sizeof(magic)) == 0;
}

int np_record_decode(const uint8_t bytes[NP_RECORD_HEADER_SIZE], const char *name, uint64_t pos,
                     struct np_record_header *header, struct np_error *err)
{
    read_fields(bytes, header);
    if (!np_record_begins(bytes)) {
        np_fail(err, NP_DAMAGED, "%s: no record begins at byte %ju: %s", name, (uintmax_t)pos,
                pos == 0 ? "this is not an nbdpull stream, or its beginning is damaged"
                         : "the stream is damaged");
        return np_error_record(err, pos, NP_ANY_NUMBER);
    }
    if (np_hash64(bytes, HEAD_SUM_AT) != header->head_sum) {
        np_fail(err, NP_DAMAGED,
                "%s: header of the record at byte %ju has a wrong checksum: the stream is damaged", name,
                (uintmax_t)pos);
        return np_error_record(err, pos, NP_ANY_NUMBER);
    }
    if (header->version != NP_FORMAT_VERSION)
        return refused(name, pos, "format version", header->version, err);
    if (np_get_le32(bytes + 52) != 0)
        return damaged(name, pos, header, "reserved bytes are not zero", err);
    if (check_features(header, name, pos, err) < 0 || check_limits(header, name, pos, err) < 0)
        return -1;
    return check_length(header, name, pos, err);
}

int np_record_expect(const struct np_record_header *header, const char *name, uint64_t stream_id,
                     uint64_t pos, uint64_t number, struct np_error *err)
{
    if (header->stream_id != stream_id)
        return damaged(name, pos, header, "it belongs to another stream", err);
    if (header->pos != pos)
        np_fail(err, NP_DAMAGED,
                "%s: record at byte %ju was written for byte %ju: bytes are missing, doubled or moved", name,
                (uintmax_t)pos, (uintmax_t)header->pos);
    else if (number != NP_ANY_NUMBER && header->number != number)
        np_fail(err, NP_DAMAGED,
                "%s: record at byte %ju has number %ju where %ju must stand: records are missing, "
                "doubled or moved",
                name, (uintmax_t)pos, (uintmax_t)header->number, (uintmax_t)number);
    else
        return 0;
    return np_error_record(err, pos, header->number);
}
