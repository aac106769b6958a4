/**
 * @file image_file.h
 * Image files of a guest that is off, by qemu-img: what they are, and their dirty bitmaps.
 *
 * An image that a QEMU has open is not touched: QEMU's locks refuse it (NP_BUSY). A path must be absolute,
 * for QEMU takes others for protocols and options.
 */
#ifndef NBDPULL_IMAGE_FILE_H
#define NBDPULL_IMAGE_FILE_H

#include "nbdpull/names.h"

/** What an image and its backing chain say of themselves. */
struct np_image_file {
    uint64_t on_host;       /**< bytes that the chain takes on the host */
    struct np_names usable; /**< bitmaps in the image itself that record, and were closed properly */
    struct np_names broken; /**< its others: left open by a QEMU that was killed, or disabled */
    struct np_names below;  /**< bitmaps in the images of the backing chain */
    char *backing;          /**< owned; the chain below: "FORMAT PATH\n" for each image, nearest first */
};

/**
 * @param format of the image, never probed. NP_FAILED too when an image of the chain does not say what format
 *               the one below it has: QEMU would have to guess, and a guest could have made it guess wrong;
 *               and when data lie where only the image says: not in a file or block device, or in a data file
 * @param image  out, owned: np_image_file_clear
 */
int np_image_file_look(const char *path, const char *format, struct np_image_file *image,
                       struct np_error *err);
void np_image_file_clear(struct np_image_file *image); /**< takes a zeroed struct */

/** Images that nobody can open for writing while these are held. */
struct np_image_holds {
    int *fds; /**< owned; closed when another program is executed */
    size_t count;
};

/**
 * As np_image_file_look, and keep writers out of each image of the chain that is not qcow2: a QEMU that reads
 * a raw image lets others write to it, where it keeps them from a qcow2 by itself. Where the file system
 * knows no locks, nobody is kept out. NP_BUSY when somebody can write to one of these images by now.
 * @param holds in, out: those of the chain are added, also on -1; np_image_holds_clear. NULL: none are held
 */
int np_image_file_hold(const char *path, const char *format, struct np_image_holds *holds,
                       struct np_image_file *image, struct np_error *err);
void np_image_holds_clear(struct np_image_holds *holds); /**< takes a zeroed struct */

/** Is the name among these? */
bool np_image_file_has(const struct np_names *bitmaps, const char *name);

/**
 * Add a bitmap that records from now on; durable. It is finished even if we are killed.
 * @param held a descriptor that stays open until it is finished, so that whoever sees its other end close
 *             can take the bitmap back; or -1
 */
int np_image_file_bitmap_add(const char *path, const char *name, int held, struct np_error *err);

/**
 * Remove a bitmap from the image itself, whatever state it is in; durable. Fine when there is none, or no
 * such file. Waits a moment for a lock to go, as that of a process that is just being killed.
 * @param removed out; NULL: not asked
 */
int np_image_file_bitmap_remove(const char *path, const char *name, bool *removed, struct np_error *err);

#endif
