#include "pack.h"

#include "nbdpull/bytes.h"

#define NUMBER_NONE 0 /* the codec "none": the payload as it is */

int np_packer_init(struct np_packer *packer, const struct np_codec *codec, int level,
                   const struct np_geometry *geometry, struct np_error *err)
{
    *packer = (struct np_packer){.codec = codec, .geometry = geometry};
    return codec->state_new(level, geometry->chunk, &packer->state, err);
}

void np_packer_clear(struct np_packer *packer)
{
    if (packer->codec != NULL)
        packer->codec->state_free(packer->state);
    packer->codec = NULL;
}

/* Close up granules that are all zero and hash the others. Returns the bytes that remain. */
static uint32_t sieve(const struct np_geometry *geometry, uint64_t offset, uint8_t *map, uint8_t *payload,
                      uint8_t *hashes, uint32_t *hash_count)
{
    uint32_t from = 0, to = 0, count = 0;
    unsigned granules = np_window_granules(geometry, offset);
    for (unsigned i = 0; i < granules; i++) {
        if (np_map_get(map, i) != NP_GRANULE_DATA)
            continue;
        uint32_t length = np_granule_length(geometry, offset, i);
        if (np_is_zero(payload + from, length)) {
            np_map_set(map, i, NP_GRANULE_ZERO);
        } else {
            if (from != to)
                memmove(payload + to, payload + from, length);
            np_hash128_put(hashes + (size_t)count * NP_HASH128_SIZE, np_hash128(payload + to, length));
            count++;
            to += length;
        }
        from += length;
    }
    *hash_count = count;
    return to;
}

void np_pack_window(struct np_packer *packer, uint64_t offset, uint8_t *map, uint8_t *payload, uint8_t *spare,
                    uint8_t *table, struct np_packed *packed)
{
    uint32_t map_bytes = np_map_bytes(packer->geometry);
    uint32_t hash_count;
    uint32_t length = sieve(packer->geometry, offset, map, payload, table + map_bytes, &hash_count);
    memcpy(table, map, map_bytes);

    *packed = (struct np_packed){
        .offset = offset,
        .length = length,
        .codec = NUMBER_NONE,
        .table = table,
        .table_len = map_bytes + hash_count * NP_HASH128_SIZE,
        .data = payload,
        .data_len = length,
    };
    size_t room = length > 0 ? length - 1 : 0;
    size_t stored = room == 0 ? 0 : packer->codec->compress(packer->state, payload, length, spare, room);
    if (stored > 0) {
        packed->codec = packer->codec->number;
        packed->data = spare;
        packed->data_len = (uint32_t)stored;
    }
    packed->data_sum = np_hash128(packed->data, packed->data_len);
}
