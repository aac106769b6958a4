/* QEMU's locks on an image, as its tools tell of them. */
#ifndef NP_IMAGE_LOCK_H
#define NP_IMAGE_LOCK_H

#include "nbdpull/error.h"

/* err: what a tool of QEMU said of the image; NP_BUSY when another process has it open. @return -1 */
int np_image_file_explain_lock(const char *path, struct np_error *err);

#endif
