/**
 * @file uuid.h
 * UUIDs as 16 bytes and as the usual 36 characters in lower case.
 */
#ifndef NBDPULL_UUID_H
#define NBDPULL_UUID_H

#include "nbdpull/error.h"

#include <stdbool.h>
#include <stdint.h>

#define NP_UUID_TEXT_SIZE 37 /**< with the closing NUL */

struct np_uuid {
    uint8_t bytes[16];
};

/** A random (version 4) UUID from the kernel. NP_FAILED when the kernel gives no random bytes. */
int np_uuid_random(struct np_uuid *uuid, struct np_error *err);

/** Writes 36 characters and a NUL. */
void np_uuid_format(const struct np_uuid *uuid, char text[NP_UUID_TEXT_SIZE]);

/** True if text is exactly a UUID of 36 characters (either case) and was stored in *uuid. */
bool np_uuid_parse(const char *text, struct np_uuid *uuid);

bool np_uuid_equal(const struct np_uuid *a, const struct np_uuid *b);

/** True for the UUID of sixteen zero bytes, which stands for "none". */
bool np_uuid_is_nil(const struct np_uuid *uuid);

#endif
