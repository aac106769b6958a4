/**
 * @file home.h
 * Where a set lives: a set that was copied or moved must not take the checkpoints of the original's points
 * for its own.
 */
#ifndef NBDPULL_SET_HOME_H
#define NBDPULL_SET_HOME_H

#include "nbdpull/error.h"
#include "nbdpull/uuid.h"

#define NP_HOME_HOST_MAX 65
#define NP_HOME_ID_SIZE 13 /**< 12 hexadecimal digits and a NUL */

struct np_home {
    char host[NP_HOME_HOST_MAX]; /**< /etc/machine-id, or the host's name where there is none */
    uint64_t dev, ino;           /**< of the set's directory */
};

/** @param dir open directory of the set. @param path of it, for messages */
int np_home_find(int dir, const char *path, struct np_home *home, struct np_error *err);

/** The first 12 hexadecimal digits of a UUID. */
void np_home_id(const struct np_uuid *uuid, char id[NP_HOME_ID_SIZE]);

bool np_home_equal(const struct np_home *a, const struct np_home *b);

#endif
