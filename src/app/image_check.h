/**
 * @file image_check.h
 * Is an image the disk of a point? For restore --verify and verify --image.
 */
#ifndef NP_IMAGE_CHECK_H
#define NP_IMAGE_CHECK_H

#include "origin.h"

#include "nbdpull/cancel.h"

struct np_image_check {
    const char *path, *format; /**< of the image */
    const char *target;        /**< the disk */
    unsigned workers;
    struct np_cancel *cancel;
    struct np_progress_hook progress;
};

/**
 * Read the image back through qemu-nbd and compare it with the disk of the origin's chosen point.
 * @return 0, or -1: NP_DAMAGED when it differs (or the chain is damaged); NP_FAILED when it cannot be read
 */
int np_image_check(const struct np_image_check *check, struct np_origin *origin, struct np_error *err);

#endif
