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

/* What becomes of a granule that was read. @param hash out, when it is data */
static enum np_granule_state judge(const struct np_pack_base *base, uint64_t offset, unsigned index,
                                   const uint8_t *bytes, uint32_t length, struct np_hash128 *hash)
{
    enum np_granule_state was = base == NULL ? NP_GRANULE_ABSENT : np_map_get(base->window->map, index);
    bool same_length = was != NP_GRANULE_ABSENT && np_granule_length(base->geometry, offset, index) == length;
    if (np_is_zero(bytes, length))
        return was == NP_GRANULE_ZERO && same_length ? NP_GRANULE_ABSENT : NP_GRANULE_ZERO;
    *hash = np_hash128(bytes, length);
    if (was == NP_GRANULE_DATA && same_length && np_hash128_equal(*hash, base->window->hashes[index]))
        return NP_GRANULE_ABSENT;
    return NP_GRANULE_DATA;
}

/* Close up granules that need not be stored and hash the others. Returns the bytes that remain. */
static uint32_t sieve(const struct np_geometry *geometry, uint64_t offset, uint8_t *map, uint8_t *payload,
                      const struct np_pack_base *base, uint8_t *hashes, uint32_t *hash_count)
{
    uint32_t from = 0, to = 0, count = 0;
    unsigned granules = np_window_granules(geometry, offset);
    for (unsigned i = 0; i < granules; i++) {
        if (np_map_get(map, i) != NP_GRANULE_DATA)
            continue;
        uint32_t length = np_granule_length(geometry, offset, i);
        struct np_hash128 hash;
        enum np_granule_state state = judge(base, offset, i, payload + from, length, &hash);
        np_map_set(map, i, state);
        if (state == NP_GRANULE_DATA) {
            if (from != to)
                memmove(payload + to, payload + from, length);
            np_hash128_put(hashes + (size_t)count++ * NP_HASH128_SIZE, hash);
            to += length;
        }
        from += length;
    }
    *hash_count = count;
    return to;
}

void np_pack_window(struct np_packer *packer, uint64_t offset, uint8_t *map, uint8_t *payload, uint8_t *spare,
                    uint8_t *table, const struct np_pack_base *base, struct np_packed *packed)
{
    uint32_t map_bytes = np_map_bytes(packer->geometry);
    uint32_t hash_count;
    uint32_t length = sieve(packer->geometry, offset, map, payload, base, table + map_bytes, &hash_count);
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
