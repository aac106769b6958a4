/**
 * @file image.h
 * A disk image that is read back, by QEMU's own code: so that the proof that a restored image is the disk
 * does not rest on the code that wrote it.
 */
#ifndef NBDPULL_IMAGE_H
#define NBDPULL_IMAGE_H

#include "nbdpull/cancel.h"
#include "nbdpull/source.h"

struct np_image;

/**
 * Serve an image by qemu-nbd, read-only, to this process alone.
 * @param path    of the image; what of it is in the page cache is dropped first, as far as it is on disk
 *                It must be a file or a block device, and name no other: those would be opened too
 * @param format  as QEMU names it: "raw", "qcow2"; never guessed, for a guest may write any header
 * @param readers that may be open at once
 * @param cancel  borrowed until np_image_close, or NULL: as of np_nbd_source_open
 * @param image   out, owned: np_image_close, in the same thread
 * @param source  out; borrowed from the image
 * @return 0, or -1: NP_FAILED with what qemu-nbd said
 */
int np_image_open(const char *path, const char *format, unsigned readers, struct np_cancel *cancel,
                  struct np_image **image, struct np_source *source, struct np_error *err);

/** Readers are closed. Takes NULL. */
void np_image_close(struct np_image *image);

#endif
