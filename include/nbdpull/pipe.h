/**
 * @file pipe.h
 * Standard input and output as the ends of a pipe whose other side may stand still: waiting ends when the
 * run is asked to stop.
 */
#ifndef NBDPULL_PIPE_H
#define NBDPULL_PIPE_H

#include "nbdpull/cancel.h"

#include <sys/uio.h>

struct np_pipe {
    int fd;           /**< what is read or written; a description of our own when it is a pipe to write */
    bool own;         /**< fd is ours to close */
    bool socket;      /**< written without blocking by a flag of each call */
    bool blocks;      /**< a write of more than there is room for waits, and nothing wakes it */
    bool file;        /**< what is written is to be durable in the end */
    uint64_t written; /**< bytes, of a file */
    int wake;         /**< eventfd, readable once somebody asked to stop */
    const char *name; /**< for messages */
    struct np_cancel *cancel;
    struct np_cancel_entry entry;
};

/**
 * @param fd     borrowed; its flags, which other processes share, are not changed
 * @param output it will be written
 * @param name   "standard input"; static
 * @param cancel or NULL
 * @param pipe   out; stays where it is until np_pipe_close
 */
int np_pipe_open(int fd, bool output, const char *name, struct np_cancel *cancel, struct np_pipe *pipe,
                 struct np_error *err);
void np_pipe_close(struct np_pipe *pipe); /**< takes one with name NULL */

/** Up to size bytes; *got 0 only at the end. NP_INTERRUPTED when asked to stop. */
int np_pipe_read(struct np_pipe *pipe, void *buffer, size_t size, size_t *got, struct np_error *err);

/** All pieces. @param pieces changed */
int np_pipe_writev(struct np_pipe *pipe, struct iovec *pieces, int count, struct np_error *err);

/** After the last byte: what was written to a file or a block device is durable. Of a pipe nobody can know.
 */
int np_pipe_sync(struct np_pipe *pipe, struct np_error *err);

#endif
