/**
 * @file error.h
 * The one idiom for errors: a function that can fail takes a `struct np_error *err` last and returns 0 or
 * -1; on -1 the error has been filled exactly once, where the fault was seen, and callers only put context
 * in front of it. Nothing below src/cli prints or exits: behind every error there may be a libvirt job to
 * end.
 */
#ifndef NBDPULL_ERROR_H
#define NBDPULL_ERROR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** What the caller of the program can do about an error; maps one to one to the exit status. */
enum np_class {
    NP_OK = 0,
    NP_FAILED,      /**< 1: failed, nothing changed */
    NP_USAGE,       /**< 2: the command line is wrong */
    NP_SKIPPED,     /**< 3: skipped by the threshold */
    NP_DAMAGED,     /**< 4: stored data is damaged */
    NP_UNCHECKED,   /**< 5: could not check */
    NP_LOSSES,      /**< 6: restored with losses */
    NP_BUSY,        /**< 7: the set is locked or a foreign job runs */
    NP_BITMAP,      /**< 8: a bitmap was required and is not usable */
    NP_INTERRUPTED, /**< 128+n: ended by signal n, after the unwinding */
};

#define NP_ERROR_MESSAGE_MAX 2048
#define NP_ERROR_DISK_MAX 64
#define NP_NO_OFFSET UINT64_MAX

/** Owned by the caller, of fixed size, no allocation. Initialise with NP_ERROR_INIT. */
struct np_error {
    enum np_class class;
    int signal;                         /**< NP_INTERRUPTED: the signal's number */
    uint64_t offset;                    /**< guest byte offset the error is about, or NP_NO_OFFSET */
    uint64_t length;                    /**< guest bytes from there; 0: not known */
    uint64_t pos, number;               /**< of the record of a stream it is about, or NP_NO_OFFSET */
    char disk[NP_ERROR_DISK_MAX];       /**< target name of the disk, or "" */
    char message[NP_ERROR_MESSAGE_MAX]; /**< one line: what, where, cause, what to do next */
};

#define NP_ERROR_INIT                                                                                        \
    {                                                                                                        \
        .class = NP_OK, .offset = NP_NO_OFFSET, .pos = NP_NO_OFFSET, .number = NP_NO_OFFSET                  \
    }

/**
 * Fill err. A message that does not fit is cut at its end.
 * @param err   borrowed; must not be filled already
 * @param class any but NP_OK
 * @return -1 always, so that `return np_fail(...)` reads well
 */
int np_fail(struct np_error *err, enum np_class class, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/** As np_fail, and appends ": " and the text of errnum (an errno value), read in the same thread. */
int np_fail_errno(struct np_error *err, enum np_class class, int errnum, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/**
 * Put context in front: "CONTEXT: MESSAGE". Returns -1.
 */
int np_error_context(struct np_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/**
 * Say which disk, and which guest byte of it, the error is about, unless a deeper caller said so already.
 * @param target target name such as "vda"; borrowed; NULL leaves the disk as it is
 * @param offset guest bytes, or NP_NO_OFFSET
 * @return -1
 */
int np_error_where(struct np_error *err, const char *target, uint64_t offset);

/** As np_error_where, and how many guest bytes from there. */
int np_error_range(struct np_error *err, const char *target, uint64_t offset, uint64_t length);

/**
 * Say which record of a stream the error is about, unless a deeper caller said so already.
 * @param pos    bytes from the stream's beginning
 * @param number NP_NO_OFFSET: not known
 * @return -1
 */
int np_error_record(struct np_error *err, uint64_t pos, uint64_t number);

/** Documented exit status of an error; 0 for NP_OK. */
int np_error_exit_status(const struct np_error *err);

/** Word for JSON and logs: "ok", "failed", "usage", "skipped", "damaged", ... Static string. */
const char *np_class_name(enum np_class class);

#endif
