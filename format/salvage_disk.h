/**
 * @file salvage_disk.h
 * The records of one disk in a stream that is scanned: good ones go into a new index, what the others should
 * say into the list of losses. A damaged record's own map tells which granules are lost, or the leaf of the
 * index that lists it, and the leaf also tells of records of which not even the header is left.
 */
#ifndef NBDPULL_FORMAT_SALVAGE_DISK_H
#define NBDPULL_FORMAT_SALVAGE_DISK_H

#include "losses.h"
#include "scan.h"
#include "trailer.h"

struct np_salvage_disk;

/** @param stream its input reads by positions; borrowed. @param room borrowed */
int np_salvage_disk_new(const struct np_stream *stream, const struct np_meta_disk *disk,
                        struct np_salvage_room *room, struct np_salvage_disk **out, struct np_error *err);

/** Records are missing from that position on; whose they were is not known. */
void np_salvage_disk_gap(struct np_salvage_disk *disk, uint64_t pos);

/** A DATA, ZERO or INDEX record of the disk. */
int np_salvage_disk_take(struct np_salvage_disk *disk, const struct np_record_header *header,
                         struct np_error *err);

/**
 * There are no more.
 * @param records that the disk had by DIR; NP_ANY_NUMBER: not known
 * @param dir     out: root and totals of the new index
 * @param losses  out, owned
 * @param whole   out: no record was damaged or missing
 */
int np_salvage_disk_end(struct np_salvage_disk *disk, uint64_t records, struct np_dir_disk *dir,
                        struct np_losses **losses, bool *whole, struct np_error *err);

void np_salvage_disk_free(struct np_salvage_disk *disk); /**< takes NULL */

#endif
