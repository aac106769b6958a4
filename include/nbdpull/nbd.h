/**
 * @file nbd.h
 * A disk of a pull-mode job as a source: one NBD connection per reader.
 *
 * The export must not change while the source is open, as those of backup jobs and of read-only servers do
 * not: a reader keeps the server's last block status answer and hands it out piece by piece. That answer is
 * bounded (2 MiB a reader at most), whatever the size of the disk.
 */
#ifndef NBDPULL_NBD_H
#define NBDPULL_NBD_H

#include "nbdpull/cancel.h"
#include "nbdpull/source.h"

/**
 * Connect once to learn size and abilities (structured replies and base:allocation are required).
 * @param socket      path of the Unix socket; copied
 * @param export_name copied
 * @param bitmap      dirty bitmap exported with it ("qemu:dirty-bitmap:NAME" without the prefix), or NULL.
 * When given and the server does not offer it: an error, never "nothing dirty".
 * @param cancel      borrowed until np_nbd_source_close, or NULL: whoever asks it to stop ends this call, and
 * whatever readers do or wait for, also where nobody looks at it between requests; the reason is the error
 * @param source      out, owned: np_nbd_source_close
 */
int np_nbd_source_open(const char *socket, const char *export_name, const char *bitmap,
                       struct np_cancel *cancel, struct np_source *source, struct np_error *err);
void np_nbd_source_close(struct np_source *source); /**< readers are closed; takes a zeroed struct */

/** Block sizes the server advertises (minimum, preferred), 0 when it does not. */
void np_nbd_source_blocks(const struct np_source *source, uint32_t *minimum, uint32_t *preferred);

#endif
