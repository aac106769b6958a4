/* QEMU's locks on an image, as its tools tell of them. */
#ifndef NP_IMAGE_LOCK_H
#define NP_IMAGE_LOCK_H

#include "nbdpull/image_file.h"

/* @return -1, NP_BUSY */
int np_image_file_busy(const char *path, struct np_error *err);

/* Open the image and keep everybody from writing to it. NP_BUSY when somebody can. */
int np_image_holds_add(struct np_image_holds *holds, const char *path, struct np_error *err);

/* err: what a tool of QEMU said of the image; NP_BUSY when another process has it open. @return -1 */
int np_image_file_explain_lock(const char *path, struct np_error *err);

#endif
