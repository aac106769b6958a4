/**
 * @file workdir.h
 * The private directory of one run: NBD socket and scratch files, made by QEMU's user in it.
 */
#ifndef NP_WORKDIR_H
#define NP_WORKDIR_H

#include "nbdpull/error.h"

#include <sys/types.h>

#define NP_WORKDIR_DEFAULT "/var/tmp"
#define NP_WORKDIR_SOCKET "nbd.sock"
#define NP_WORKDIR_SCRATCH ".scratch" /**< ending of a scratch file's name */

/**
 * Make PARENT/nbdpull-XXXXXX of mode 0700.
 * @param owner QEMU's user, or NULL to keep our own; needs root
 * @param path  out, owned (free)
 */
int np_workdir_make(const char *parent, const uid_t *owner, const gid_t *group, char **path,
                    struct np_error *err);

/**
 * Remove socket, scratch and the directory. Removes nothing else: the path may come from a file of a set
 * that somebody changed. Not there is fine.
 */
int np_workdir_remove(const char *path, struct np_error *err);

#endif
