#include "nbdpull/window.h"

#include "nbdpull/bytes.h"
#include "nbdpull/codec.h"

int np_geometry_check(const struct np_geometry *geometry, struct np_error *err)
{
    uint32_t chunk = geometry->chunk, granule = geometry->granule;
    if (geometry->size >= NP_OFFSET_LIMIT)
        return np_fail(err, NP_DAMAGED, "a disk of %ju bytes; the format holds less than 2^53",
                       (uintmax_t)geometry->size);
    if (!np_is_power_of_two(chunk) || chunk < NP_CHUNK_MIN || chunk > NP_CHUNK_MAX)
        return np_fail(err, NP_DAMAGED, "chunk of %u bytes; it must be a power of two from %u to %u", chunk,
                       NP_CHUNK_MIN, NP_CHUNK_MAX);
    if (!np_is_power_of_two(granule) || granule < NP_GRANULE_MIN || granule > NP_GRANULE_MAX)
        return np_fail(err, NP_DAMAGED, "granule of %u bytes; it must be a power of two from %u to %u",
                       granule, NP_GRANULE_MIN, NP_GRANULE_MAX);
    if (granule > chunk || chunk / granule > NP_GRANULES_MAX)
        return np_fail(err, NP_DAMAGED,
                       "granule of %u bytes in a chunk of %u; a chunk holds 1 to %d granules", granule, chunk,
                       NP_GRANULES_MAX);
    return 0;
}

uint64_t np_geometry_cover_from(const struct np_geometry *geometry, bool based, uint64_t base_size)
{
    if (!based)
        return 0;
    if (base_size == geometry->size)
        return geometry->size;
    return np_align_down(np_min_u64(base_size, geometry->size), geometry->granule);
}

uint64_t np_window_length(const struct np_geometry *geometry, uint64_t offset)
{
    return np_min_u64(geometry->chunk, geometry->size - offset);
}

unsigned np_window_granules(const struct np_geometry *geometry, uint64_t offset)
{
    return (unsigned)np_div_up(np_window_length(geometry, offset), geometry->granule);
}

uint32_t np_granule_length(const struct np_geometry *geometry, uint64_t offset, unsigned index)
{
    uint64_t start = (uint64_t)index * geometry->granule;
    return (uint32_t)np_min_u64(geometry->granule, np_window_length(geometry, offset) - start);
}

uint32_t np_map_bytes(const struct np_geometry *geometry)
{
    return (uint32_t)np_align_up(np_div_up(geometry->chunk / geometry->granule, 4), 8);
}

enum np_granule_state np_map_get(const uint8_t *map, unsigned index)
{
    return (enum np_granule_state)(map[index / 4] >> index % 4 * 2 & 3);
}

void np_map_set(uint8_t *map, unsigned index, enum np_granule_state state)
{
    unsigned shift = index % 4 * 2;
    map[index / 4] = (uint8_t)((map[index / 4] & ~(3u << shift)) | (unsigned)state << shift);
}

struct np_map_sums np_map_add_up(const struct np_geometry *geometry, uint64_t offset, const uint8_t *map)
{
    struct np_map_sums sums = {0};
    unsigned granules = np_window_granules(geometry, offset);
    for (unsigned i = 0; i < granules; i++) {
        enum np_granule_state granule = np_map_get(map, i);
        uint32_t length = np_granule_length(geometry, offset, i);
        sums.data_bytes += granule == NP_GRANULE_DATA ? length : 0;
        sums.zero_bytes += granule == NP_GRANULE_ZERO ? length : 0;
        sums.dead_bytes += granule == NP_GRANULE_DEAD ? length : 0;
        sums.payload += granule == NP_GRANULE_DATA || granule == NP_GRANULE_DEAD;
        sums.live += granule == NP_GRANULE_DATA || granule == NP_GRANULE_ZERO;
    }
    return sums;
}

static bool is_clear_beyond(const uint8_t *map, uint32_t map_bytes, unsigned granules)
{
    for (unsigned i = granules; i < 4 * map_bytes; i++)
        if (np_map_get(map, i) != NP_GRANULE_ABSENT)
            return false;
    return true;
}

static int damaged(const struct np_record_header *header, const char *name, const char *what,
                   struct np_error *err)
{
    np_fail(err, NP_DAMAGED,
            "%s: record %ju (DATA) at byte %ju, window at guest byte %ju: %s: the stream is damaged", name,
            (uintmax_t)header->number, (uintmax_t)header->pos, (uintmax_t)header->offset, what);
    np_error_record(err, header->pos, header->number);
    return np_error_where(err, NULL, header->offset);
}

static int check_payload(const struct np_record_header *header, const struct np_map_sums *sums,
                         const char *name, struct np_error *err)
{
    if (header->length != (uint64_t)sums->data_bytes + sums->dead_bytes)
        return damaged(header, name, "its length is not that of its granules", err);
    if (header->data_len > header->length)
        return damaged(header, name, "its payload is larger than its granules", err);
    if ((header->codec == 0) != (header->data_len == header->length))
        return damaged(header, name, "its payload must be compressed if and only if that makes it smaller",
                       err);
    return 0;
}

int np_window_check(const struct np_geometry *geometry, const struct np_record *record, const char *name,
                    struct np_error *err)
{
    const struct np_record_header *header = &record->header;
    uint32_t map_bytes = np_map_bytes(geometry);
    if (header->offset >= geometry->size || header->offset % geometry->chunk != 0)
        return damaged(header, name, "no window of the disk begins there", err);
    if (header->table_len < map_bytes)
        return damaged(header, name, "its table is shorter than its map", err);
    if (!is_clear_beyond(record->table, map_bytes, np_window_granules(geometry, header->offset)))
        return damaged(header, name, "its map speaks of granules that the window does not have", err);

    struct np_map_sums sums = np_map_add_up(geometry, header->offset, record->table);
    if (sums.live == 0)
        return damaged(header, name, "it describes nothing", err);
    if (header->table_len != map_bytes + sums.payload * NP_HASH128_SIZE)
        return damaged(header, name, "its table does not hold one hash for each granule", err);
    return check_payload(header, &sums, name, err);
}

static int expand_payload(const struct np_record *record, const char *name, void *out, struct np_error *err)
{
    const struct np_record_header *header = &record->header;
    const struct np_codec *codec = np_codec_find(header->codec);
    if (codec == NULL)
        return np_fail(err, NP_FAILED,
                       "%s: record at byte %ju has codec %u, which this version of nbdpull does not know",
                       name, (uintmax_t)header->pos, header->codec);
    if (header->length == 0 || codec->expand(record->data, header->data_len, out, header->length, err) == 0)
        return 0;
    np_error_context(err, "%s: record %ju (DATA) at byte %ju, window at guest byte %ju", name,
                     (uintmax_t)header->number, (uintmax_t)header->pos, (uintmax_t)header->offset);
    np_error_record(err, header->pos, header->number);
    return np_error_where(err, NULL, header->offset);
}

static int wrong_hash(const struct np_record_header *header, const char *name, uint64_t offset,
                      uint32_t length, struct np_error *err)
{
    np_fail(err, NP_DAMAGED,
            "%s: record %ju (DATA) at byte %ju: guest bytes %ju to %ju do not have the hash that was stored "
            "for them",
            name, (uintmax_t)header->number, (uintmax_t)header->pos, (uintmax_t)offset,
            (uintmax_t)(offset + length - 1));
    np_error_record(err, header->pos, header->number);
    return np_error_range(err, NULL, offset, length);
}

int np_window_expand(const struct np_geometry *geometry, const struct np_record *record, const char *name,
                     void *out, struct np_error *err)
{
    if (expand_payload(record, name, out, err) < 0)
        return -1;

    const struct np_record_header *header = &record->header;
    const uint8_t *hash = record->table + np_map_bytes(geometry);
    const uint8_t *granule = out;
    unsigned granules = np_window_granules(geometry, header->offset);
    for (unsigned i = 0; i < granules; i++) {
        enum np_granule_state state = np_map_get(record->table, i);
        if (state != NP_GRANULE_DATA && state != NP_GRANULE_DEAD)
            continue;
        uint32_t length = np_granule_length(geometry, header->offset, i);
        if (state == NP_GRANULE_DATA && !np_hash128_equal(np_hash128(granule, length), np_hash128_get(hash)))
            return wrong_hash(header, name, header->offset + (uint64_t)i * geometry->granule, length, err);
        granule += length;
        hash += NP_HASH128_SIZE;
    }
    return 0;
}
