/**
 * @file place.h
 * A reference to a record: where it is, which one it is, how much to read. Source: FORMAT.md, "DIR" and
 * "END".
 */
#ifndef NBDPULL_FORMAT_PLACE_H
#define NBDPULL_FORMAT_PLACE_H

#include "nbdpull/record.h"

#define NP_PLACE_SIZE 24

/** References always point back: the record lies before the one that names it. */
struct np_place {
    uint64_t pos, head_sum; /**< head_sum binds the record's table and data too, through their sums */
    uint32_t table_len, data_len;
};

struct np_place np_place_of(const struct np_record_header *header);

/** pos u64, head_sum u64, table_len u32, data_len u32. */
void np_place_put(uint8_t to[NP_PLACE_SIZE], const struct np_place *place);
struct np_place np_place_get(const uint8_t from[NP_PLACE_SIZE]);

/** Bytes of the record with its padding. */
uint64_t np_place_size(const struct np_place *place);

/** True if the place can be right and the whole record lies before pos; no hostile value overflows. */
bool np_place_is_before(const struct np_place *place, uint64_t pos);

/** True if header is the record that the place names. */
bool np_place_is_of(const struct np_place *place, const struct np_record_header *header);

#endif
