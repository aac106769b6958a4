/**
 * @file listener.h
 * A listening Unix socket that nobody else can reach, for a server that is started for us alone. Its path
 * must be short (108 bytes with the NUL), so it cannot lie beside the image.
 */
#ifndef NBDPULL_LISTENER_H
#define NBDPULL_LISTENER_H

#include "nbdpull/error.h"

struct np_listener {
    char path[108]; /**< of the socket; "" when there is none */
    bool named;     /**< the path is that of a file; else it is good in this process only */
    int file;       /**< of a socket that has no name any more, or -1 */
    int fd;         /**< listening, or -1 */
};

/**
 * In a new directory, which is gone when this returns, as is the socket's name: nothing is left when we are
 * killed. Only this process reaches it, by `path`.
 * @param backlog connections that may wait before the server takes the first one
 */
int np_listener_open(struct np_listener *listener, int backlog, struct np_error *err);

/** At a path in a private directory of the caller's. */
int np_listener_open_at(struct np_listener *listener, const char *path, int backlog, struct np_error *err);

/** Close our descriptor, so that the server's one is the last: when it dies, waiting clients are told. */
void np_listener_hand_over(struct np_listener *listener);

/** Remove socket and directory; connections that stand are not touched. Takes what NP_CLEANUP gives it. */
void np_listener_close(struct np_listener *listener);

#define NP_LISTENER_NONE                                                                                     \
    {                                                                                                        \
        .file = -1, .fd = -1                                                                                 \
    }

#endif
