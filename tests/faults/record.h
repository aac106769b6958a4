/*
 * The write log: what the program does to files and directories, in the order in which it was done, for
 * powercut.py, which makes of it what a power cut could have left. Part of stop_at.so.
 *
 * An entry is a line, and the bytes of a write behind it. Files and directories go by DEVICE:INODE, because
 * descriptors outlive names; a name is the rest of its line.
 *
 *   file|dir|link DIR INODE NAME     a name that was not there; file and dir: and an inode that was not
 *   gone DIR NAME
 *   move DIR TO NAME                 and on a line of its own the name in TO, in place of what had it
 *   write INODE POS LENGTH           and the bytes
 *   size INODE LENGTH
 *   sync INODE
 */
#ifndef NBDPULL_TESTS_RECORD_H
#define NBDPULL_TESTS_RECORD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

/** Log to that file from here on. */
void record_start(const char *path);

bool record_is_on(void);

/** Around each call: so the order in the log is the order in which things happened. */
void record_lock(void);
void record_unlock(void);

/* What was done, after it succeeded. */
void record_name(const char *kind, int dir, const char *path);
void record_gone(int dir, const char *path);
void record_move(int from, const char *old, int to, const char *new);
void record_write(int fd, const void *bytes, size_t size, uint64_t pos);
/** At the descriptor's position, which is already behind them. */
void record_writev(int fd, const struct iovec *pieces, size_t size);
void record_size(int fd);
void record_sync(int fd);

bool record_is_there(int dir, const char *path);

#endif
