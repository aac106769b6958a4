/**
 * @file cleanup.h
 * The one idiom for unwinding: scope cleanup and early return; ownership leaves a scope by NP_STEAL.
 * Each module declares the cleanup attribute of its own types beside their _free or _close.
 */
#ifndef NBDPULL_CLEANUP_H
#define NBDPULL_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

/** Variable attribute: call function(&variable) when the scope ends. */
#define NP_CLEANUP(function) __attribute__((cleanup(function)))

/** The value of an owning pointer, which is NULL afterwards. */
#define NP_STEAL(pointer)                                                                                    \
    ({                                                                                                       \
        __typeof__(pointer) np_stolen_ = (pointer);                                                          \
        (pointer) = NULL;                                                                                    \
        np_stolen_;                                                                                          \
    })

static inline void np_cleanup_free(void *pointer_to_pointer)
{
    free(*(void **)pointer_to_pointer);
}

static inline void np_cleanup_fd(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

/** `NP_AUTO_FREE char *text = NULL;` */
#define NP_AUTO_FREE NP_CLEANUP(np_cleanup_free)

/** `NP_AUTO_FD int fd = -1;` */
#define NP_AUTO_FD NP_CLEANUP(np_cleanup_fd)

/** The value of an owned descriptor, which is -1 afterwards. */
static inline int np_steal_fd(int *fd)
{
    int stolen = *fd;
    *fd = -1;
    return stolen;
}

#endif
