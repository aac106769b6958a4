/*
 * What all fuzz targets share. A target is a file fuzz_NAME.c with LLVMFuzzerTestOneInput: linked with
 * libFuzzer (preset "fuzz") it looks for new inputs, linked with replay.c it is the test fuzz.NAME, which
 * runs over the inputs kept in corpus/NAME.
 *
 * A target says what must hold, and does not only wait for a crash.
 */
#ifndef NBDPULL_FUZZ_H
#define NBDPULL_FUZZ_H

#include "nbdpull/bytes.h"
#include "nbdpull/cleanup.h"
#include "nbdpull/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* No assert(): it must hold in every build. */
#define MUST(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            broken(__FILE__, __LINE__, #condition, NULL);                                                    \
    } while (0)

/* As MUST, of a call that takes err. */
#define MUST_WORK(call)                                                                                      \
    do {                                                                                                     \
        if ((call) < 0)                                                                                      \
            broken(__FILE__, __LINE__, #call, &err);                                                         \
    } while (0)

static inline _Noreturn void broken(const char *file, int line, const char *what, const struct np_error *err)
{
    fprintf(stderr, "%s:%d: this must hold: %s\n", file, line, what);
    if (err != NULL)
        fprintf(stderr, "  class %u: %s\n", (unsigned)err->class, err->message);
    abort();
}

/* Of the processor, so that a busy machine breaks nothing. Sanitisers take a tenfold of it. */
#define SECONDS_MAX 5

static inline struct timespec processor_time(void)
{
    struct timespec now = {0};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return now;
}

static inline void check_time(const struct timespec *began)
{
    MUST(processor_time().tv_sec - began->tv_sec <= SECONDS_MAX);
}

/* First in a target: what one input takes is bounded. */
#define BOUNDED_TIME                                                                                         \
    __attribute__((unused)) NP_CLEANUP(check_time) const struct timespec began = processor_time()

/* An error that is told must be a whole one. */
static inline int refused(const struct np_error *err)
{
    MUST(err->class == NP_DAMAGED || err->class == NP_FAILED);
    MUST(err->message[0] != '\0' && strlen(err->message) < NP_ERROR_MESSAGE_MAX);
    return 0;
}

/* A copy of exactly that size, so that a read behind its end is seen, with a NUL where a text is wanted. */
static inline char *text_of(const uint8_t *bytes, size_t size)
{
    char *text = malloc(size + 1);
    MUST(text != NULL);
    if (size > 0)
        memcpy(text, bytes, size);
    text[size] = '\0';
    return text;
}

#endif
