/**
 * @file opened.h
 * What the QEMU of a guest that runs has open, which need not be what lies at the paths by now.
 */
#ifndef NP_OPENED_H
#define NP_OPENED_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

/**
 * @param image path of the disk's image: who has it open for writing is the one to ask
 * @param below of the files that are to be open beside it
 * @return true when somebody has the image open, and nobody who has it has all of these. False too when
 * nobody is seen: processes of other users, or outside our container
 */
bool np_opened_others(const char *image, const struct stat below[], size_t count);

#endif
