/**
 * @file losses.h
 * Writing the list of losses: window by window, the last word on a granule first.
 */
#ifndef NBDPULL_FORMAT_LOSSES_H
#define NBDPULL_FORMAT_LOSSES_H

#include "nbdpull/salvage.h"

struct np_loss_writer;

/** @param geometry borrowed. @param room borrowed; the list is appended to its file */
int np_loss_writer_new(const struct np_geometry *geometry, struct np_salvage_room *room,
                       struct np_loss_writer **writer, struct np_error *err);

/**
 * Add one granule of a window. Windows come in rising order; a granule that is there already stays, except a
 * possible loss, which gives way to what is certain.
 */
int np_loss_writer_granule(struct np_loss_writer *writer, uint64_t window, unsigned granule,
                           enum np_loss_kind kind, uint64_t pos, struct np_error *err);

/** Add whole windows, behind all that was added before. @param end ends a window, or the disk */
int np_loss_writer_run(struct np_loss_writer *writer, uint64_t offset, uint64_t end, enum np_loss_kind kind,
                       uint64_t pos, struct np_error *err);

/**
 * No more come.
 * @param possible false: possible losses are none, as is known by now, and are left out
 */
int np_loss_writer_finish(struct np_loss_writer *writer, bool possible, struct np_losses **losses,
                          struct np_error *err);

void np_loss_writer_free(struct np_loss_writer *writer); /**< takes NULL */

#endif
