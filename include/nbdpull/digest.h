/**
 * @file digest.h
 * The disk digest: a sum modulo 2^128 over the granules with data. Source: FORMAT.md, "Disk digest".
 */
#ifndef NBDPULL_DIGEST_H
#define NBDPULL_DIGEST_H

#include "nbdpull/hash.h"

/** sum += term(number, length, hash). @param number granule of the disk. @param length its bytes */
void np_digest_add(struct np_hash128 *sum, uint64_t number, uint64_t length, struct np_hash128 hash);

/** sum -= term(number, length, hash): what an increment replaces. */
void np_digest_subtract(struct np_hash128 *sum, uint64_t number, uint64_t length, struct np_hash128 hash);

/** sum += other: two sets of granules that share none. */
void np_digest_join(struct np_hash128 *sum, struct np_hash128 other);

#endif
