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

/**
 * The set's directory, by what stays when the file system is mounted again. The number of its device does
 * not: network file systems get another one by each mount, loop and mapped devices by each boot.
 */
struct np_home {
    char host[NP_HOME_HOST_MAX]; /**< /etc/machine-id, or the host's name where there is none */
    uint64_t dev, ino;           /**< dev counts only where neither fs nor born is known of both */
    uint64_t fs;                 /**< id of the file system; 0: none that stays */
    uint64_t born;               /**< when the directory was made, ns since 1970; 0: not known */
};

/** @param dir open directory of the set. @param path of it, for messages */
int np_home_find(int dir, const char *path, struct np_home *home, struct np_error *err);

/** The first 12 hexadecimal digits of a UUID. */
void np_home_id(const struct np_uuid *uuid, char id[NP_HOME_ID_SIZE]);

bool np_home_equal(const struct np_home *a, const struct np_home *b);

/** Equal, but found knows more than noted: sets of earlier versions have neither fs nor born. */
bool np_home_tells_more(const struct np_home *found, const struct np_home *noted);

#endif
