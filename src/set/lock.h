/**
 * @file lock.h
 * One writer a set: flock on SET/lock, which ends with the last process that holds the descriptor.
 */
#ifndef NBDPULL_SET_LOCK_H
#define NBDPULL_SET_LOCK_H

#include "nbdpull/error.h"

/**
 * Take the lock, or say who holds it. The file stays afterwards: removing it would let two writers hold
 * locks on two files.
 * @param dir     open directory of the set; borrowed
 * @param path    of the set, for messages
 * @param command what this run does
 * @param fd      out, owned: closing it (in every process that inherited it) gives the lock back
 * @return 0, or -1: NP_BUSY when it is held (pid, command, since when); NP_FAILED when the directory cannot
 *         be written or its file system has no locks
 */
int np_lock_take(int dir, const char *path, const char *command, int *fd, struct np_error *err);

/**
 * To look only: see to it that nobody writes to it meanwhile, on another host or by another mount too. The
 * lock file is neither made nor written.
 * @param fd out, owned; -1 when no lock file is there, and so no writer
 * @return 0, or -1: NP_BUSY as np_lock_take; NP_FAILED when the file cannot be opened
 */
int np_lock_share(int dir, const char *path, int *fd, struct np_error *err);

/** Is this descriptor, which was inherited, the lock of that set, and held? NP_FAILED when not. */
int np_lock_check(int dir, const char *path, int fd, struct np_error *err);

#endif
