/**
 * @file hash.h
 * XXH3 as the format uses it: seed 0, default secret. Source: FORMAT.md, "Words".
 */
#ifndef NBDPULL_HASH_H
#define NBDPULL_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NP_HASH128_SIZE 16

/** 128 bits as two halves; stored as low, then high, each little-endian. Also a number modulo 2^128. */
struct np_hash128 {
    uint64_t low, high;
};

uint64_t np_hash64(const void *bytes, size_t size);
struct np_hash128 np_hash128(const void *bytes, size_t size);
bool np_hash128_equal(struct np_hash128 a, struct np_hash128 b);
void np_hash128_put(uint8_t to[NP_HASH128_SIZE], struct np_hash128 hash);
struct np_hash128 np_hash128_get(const uint8_t from[NP_HASH128_SIZE]);

/** np_hash128 of bytes that come piece by piece. */
struct np_hash_stream;

/** Over no bytes yet. @return owned: np_hash_stream_free; NULL when out of memory */
struct np_hash_stream *np_hash_stream_new(void);
void np_hash_stream_reset(struct np_hash_stream *hash); /**< over no bytes again */
void np_hash_stream_add(struct np_hash_stream *hash, const void *bytes, size_t size);

/** np_hash128 of all that was added so far; more may be added afterwards. */
struct np_hash128 np_hash_stream_get(const struct np_hash_stream *hash);
void np_hash_stream_free(struct np_hash_stream *hash); /**< takes NULL */

#endif
