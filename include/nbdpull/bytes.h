/**
 * @file bytes.h
 * Byte order, overflow-checked arithmetic and powers of two. Never a struct laid over bytes.
 */
#ifndef NBDPULL_BYTES_H
#define NBDPULL_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define NP_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

static inline uint16_t np_get_le16(const void *from)
{
    const uint8_t *p = from;
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t np_get_le32(const void *from)
{
    const uint8_t *p = from;
    return (uint32_t)np_get_le16(p) | (uint32_t)np_get_le16(p + 2) << 16;
}

static inline uint64_t np_get_le64(const void *from)
{
    const uint8_t *p = from;
    return (uint64_t)np_get_le32(p) | (uint64_t)np_get_le32(p + 4) << 32;
}

static inline void np_put_le16(void *to, uint16_t v)
{
    uint8_t *p = to;
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static inline void np_put_le32(void *to, uint32_t v)
{
    np_put_le16(to, (uint16_t)v);
    np_put_le16((uint8_t *)to + 2, (uint16_t)(v >> 16));
}

static inline void np_put_le64(void *to, uint64_t v)
{
    np_put_le32(to, (uint32_t)v);
    np_put_le32((uint8_t *)to + 4, (uint32_t)(v >> 32));
}

/* Big-endian, for the formats of others. */

static inline uint64_t np_get_be64(const void *from)
{
    return __builtin_bswap64(np_get_le64(from));
}

static inline void np_put_be16(void *to, uint16_t v)
{
    np_put_le16(to, __builtin_bswap16(v));
}

static inline void np_put_be32(void *to, uint32_t v)
{
    np_put_le32(to, __builtin_bswap32(v));
}

static inline void np_put_be64(void *to, uint64_t v)
{
    np_put_le64(to, __builtin_bswap64(v));
}

/** True and *sum = a + b, or false when that does not fit 64 bits. */
static inline bool np_add_u64(uint64_t a, uint64_t b, uint64_t *sum)
{
    return !__builtin_add_overflow(a, b, sum);
}

/** True and *product = a * b, or false when that does not fit 64 bits. */
static inline bool np_mul_u64(uint64_t a, uint64_t b, uint64_t *product)
{
    return !__builtin_mul_overflow(a, b, product);
}

static inline uint64_t np_min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t np_max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static inline bool np_is_power_of_two(uint64_t v)
{
    return v != 0 && (v & (v - 1)) == 0;
}

/** v rounded down to a multiple of unit, a power of two. */
static inline uint64_t np_align_down(uint64_t v, uint64_t unit)
{
    return v & ~(unit - 1);
}

/** v rounded up to a multiple of unit, a power of two; the caller knows that it fits. */
static inline uint64_t np_align_up(uint64_t v, uint64_t unit)
{
    return np_align_down(v + unit - 1, unit);
}

/** a / b rounded up; b > 0. */
static inline uint64_t np_div_up(uint64_t a, uint64_t b)
{
    return a / b + (a % b != 0);
}

/** True if all size bytes are zero; true for none. */
bool np_is_zero(const void *bytes, size_t size);

#endif
