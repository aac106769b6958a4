/**
 * @file file.h
 * Files and directories, made durable. Errors name the path.
 *
 * Functions that take `dir` and `name` act on an entry of an open directory, so that a path swapped behind
 * our back changes nothing; `path` is only for the messages.
 */
#ifndef NBDPULL_FILE_H
#define NBDPULL_FILE_H

#include "nbdpull/error.h"

#include <sys/types.h>
#include <sys/uio.h>

/** Read exactly size bytes at pos. NP_FAILED on I/O errors, NP_DAMAGED when the file ends before. */
int np_file_read_at(int fd, const char *path, void *buffer, size_t size, uint64_t pos, struct np_error *err);

/** Write all of size bytes. NP_FAILED with the path and the cause (no space, quota, I/O error). */
int np_file_write(int fd, const char *path, const void *bytes, size_t size, struct np_error *err);

/** As np_file_write for count pieces, in one system call where the kernel takes it. @param pieces changed */
int np_file_writev(int fd, const char *path, struct iovec *pieces, int count, struct np_error *err);

/** Write all of size bytes at pos. */
int np_file_write_at(int fd, const char *path, const void *bytes, size_t size, uint64_t pos,
                     struct np_error *err);

#define NP_FILE_START_WRITING ((uint64_t)8 << 20) /**< so much is worth a call */

/**
 * Let the kernel begin to write a range to the disk, without waiting. It would begin when much memory is
 * dirty or after half a minute, and np_file_sync at the end would wait for all of it. Only a hint: it does
 * not fail, and promises nothing.
 * @param size 0: to the end
 */
void np_file_start_writing(int fd, uint64_t pos, uint64_t size);

/** fsync; NP_FAILED when the kernel cannot promise that the data are there. */
int np_file_sync(int fd, const char *path, struct np_error *err);

/**
 * Replace or create dir/name with the bytes so that a reader, and a power cut, sees the old or the new file
 * and nothing between: write to a temporary name, fsync, rename, fsync the directory. Mode 0600.
 * @param dir open directory
 */
int np_file_replace(int dir, const char *path, const char *name, const void *bytes, size_t size,
                    struct np_error *err);

/**
 * As np_file_replace, but never over an existing name (see np_file_place).
 * NP_FAILED with "exists" when name is taken.
 */
int np_file_create_whole(int dir, const char *path, const char *name, const void *bytes, size_t size,
                         struct np_error *err);

/**
 * Give the durable file dir/temporary its final name, never over an existing one, and make that durable.
 * On failure the temporary one is still there, or, if only the directory could not be made durable, neither
 * is; after a power cut the new one may be.
 */
int np_file_place(int dir, const char *path, const char *temporary, const char *name, struct np_error *err);

/**
 * The whole file as a NUL-terminated buffer.
 * @param limit most bytes to accept; NP_DAMAGED beyond it
 * @param bytes out, owned (free)
 * @param size  out, without the NUL
 */
int np_file_read_whole(int dir, const char *path, const char *name, size_t limit, char **bytes, size_t *size,
                       struct np_error *err);

/**
 * Give its mode to what this process has just made, of which a umask may have taken bits away. Whoever may
 * write to the directory may have put something else there meanwhile: no link is followed.
 * @param dir  directory of name, or AT_FDCWD
 * @param path for messages
 * @param type S_IFDIR or S_IFSOCK; NP_FAILED when something else stands there
 */
int np_file_set_mode(int dir, const char *path, const char *name, mode_t type, mode_t mode,
                     struct np_error *err);

/**
 * Does a name still lead to what is open? It may have been renamed, deleted or replaced since, or what it was
 * mounted by is gone.
 * @param dir   directory of name, or AT_FDCWD
 * @param path  for messages
 * @param flags 0, or AT_SYMLINK_NOFOLLOW
 * @param is    out; false also when nothing stands there
 * @return 0, or -1: NP_FAILED when it cannot be known
 */
int np_file_is_at(int fd, int dir, const char *path, const char *name, int flags, bool *is,
                  struct np_error *err);

/** Make a directory of mode 0700 (whatever the umask); one that exists already is fine. */
int np_dir_make(int dir, const char *path, const char *name, struct np_error *err);

/** Open a directory without following a link in its last part. @return descriptor, or -1 */
int np_dir_open(int dir, const char *path, const char *name, struct np_error *err);

/**
 * Make the name of an open directory durable, in the directory that holds it, whoever made it.
 * @param path of it, for messages
 */
int np_dir_sync_name(int dir, const char *path, struct np_error *err);

/** Remove what is below dir/name and itself; what is not there is fine. Never follows links. */
int np_dir_remove(int dir, const char *path, const char *name, struct np_error *err);

/** "A/B" in new memory, owned (free); NULL when out of memory. */
char *np_path_join(const char *a, const char *b);

/**
 * True if a name from a domain or a stream may become part of a file name: 1 to 64 of [A-Za-z0-9._-], no
 * leading dot or dash.
 */
bool np_name_is_safe(const char *name);

#endif
