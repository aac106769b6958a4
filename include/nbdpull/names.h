/**
 * @file names.h
 * A list of names: what a directory holds, what a store has below a prefix, a domain's checkpoints.
 */
#ifndef NBDPULL_NAMES_H
#define NBDPULL_NAMES_H

#include "nbdpull/error.h"

struct np_names {
    char **list; /**< owned, each one too */
    size_t count;
};

/** Append a copy. NP_FAILED out of memory. */
int np_names_add(struct np_names *names, const char *name, struct np_error *err);
void np_names_clear(struct np_names *names); /**< takes a zeroed struct */

/**
 * All entries of an open directory but "." and "..", sorted by bytes.
 * @param path  for messages
 * @param names zeroed; filled
 */
int np_names_of_dir(int dir, const char *path, struct np_names *names, struct np_error *err);

/**
 * True for the name of a file that has not got its own yet: ".NAME.xxxxxxxx.ENDING", eight hexadecimal
 * digits, NAME of [A-Za-z0-9._-].
 * @param length out: of NAME, which begins behind the first dot
 */
bool np_names_is_unfinished(const char *name, const char *ending, size_t *length);

/** True for the names that an interrupted np_file_replace leaves behind: ".NAME.xxxxxxxx.tmp". */
bool np_names_is_temporary(const char *name);

#endif
