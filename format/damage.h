/**
 * @file damage.h
 * One form for what is wrong with a record: stream, record, type, position, disk, guest bytes, cause.
 */
#ifndef NBDPULL_FORMAT_DAMAGE_H
#define NBDPULL_FORMAT_DAMAGE_H

#include "nbdpull/meta.h"
#include "nbdpull/record.h"

/**
 * Fill err with NP_DAMAGED.
 * @param name   the stream's
 * @param header the record's
 * @param disk   its disk, or NULL when it has none; the guest range is added for DATA, ZERO and INDEX
 * @param cause  a clause that ends the sentence
 * @return -1
 */
int np_damage_record(const char *name, const struct np_record_header *header, const struct np_meta_disk *disk,
                     struct np_error *err, const char *cause, ...) __attribute__((format(printf, 5, 6)));

/** Guest bytes [from, to) of a disk are concerned, no single record. @return -1 */
int np_damage_range(const char *name, const struct np_meta_disk *disk, uint64_t from, uint64_t to,
                    const char *cause, struct np_error *err);

#endif
