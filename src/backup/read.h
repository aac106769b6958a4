/**
 * @file read.h
 * Reading a window's data granules from a source.
 */
#ifndef NP_READ_H
#define NP_READ_H

#include "schedule.h"

/**
 * Read the runs of data granules of a window, one after the other.
 * @param reader of the source
 * @param step   a window
 * @param buffer room for a chunk
 */
int np_read_window(const struct np_source *source, void *reader, const struct np_geometry *geometry,
                   const struct np_step *step, uint8_t *buffer, struct np_error *err);

#endif
