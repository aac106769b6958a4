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
#define NP_WORKDIR_EXPORT ".nbd"      /**< ending of the name of a socket that serves one image */

/**
 * A new name PARENT/nbdpull-XXXXXXXX, so that it can be written down before the directory exists.
 * @param path out, owned (free)
 */
int np_workdir_name(const char *parent, char **path, struct np_error *err);

/**
 * Make the directory, of mode 0700. One that is there already is somebody else's: an error.
 * @param held out, owned: the open directory, locked (flock) for as long as the run is at work
 */
int np_workdir_make(const char *path, int *held, struct np_error *err);

/**
 * Give it to QEMU's user, who makes socket and scratch; needs root. By its descriptor: in a place where that
 * user may write, something else may have the name by now.
 */
int np_workdir_give(int held, const char *path, uid_t owner, gid_t group, struct np_error *err);

/** Is a run at work in it? Its path may come from a file that somebody changed, to have it taken away. */
bool np_workdir_is_used(const char *path);

/** Is that the socket of a run that has this directory? */
bool np_workdir_is_socket(const char *path, const char *socket);

/** What there is of a directory's contents. A path that is none of ours holds nothing. */
struct np_workdir_holds {
    bool directory, socket, scratch;
};
void np_workdir_look(const char *path, struct np_workdir_holds *holds);

/**
 * Remove socket, scratch and the directory. Removes nothing else: the path may come from a file of a set
 * that somebody changed. Not there is fine.
 */
int np_workdir_remove(const char *path, struct np_error *err);

#endif
