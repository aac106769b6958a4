#include "nbdpull/error.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

__attribute__((format(printf, 3, 0))) static void fill(struct np_error *err, enum np_class class,
                                                       const char *format, va_list args)
{
    assert(class != NP_OK);
    err->class = class;
    err->signal = 0;
    vsnprintf(err->message, sizeof(err->message), format, args);
}

int np_fail(struct np_error *err, enum np_class class, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fill(err, class, format, args);
    va_end(args);
    return -1;
}

int np_fail_errno(struct np_error *err, enum np_class class, int errnum, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fill(err, class, format, args);
    va_end(args);

    char text[128];
    size_t used = strlen(err->message);
    snprintf(err->message + used, sizeof(err->message) - used, ": %s",
             strerror_r(errnum, text, sizeof(text)));
    return -1;
}

int np_error_context(struct np_error *err, const char *format, ...)
{
    char was[NP_ERROR_MESSAGE_MAX];
    memcpy(was, err->message, sizeof(was));

    va_list args;
    va_start(args, format);
    vsnprintf(err->message, sizeof(err->message), format, args);
    va_end(args);

    size_t used = strlen(err->message);
    snprintf(err->message + used, sizeof(err->message) - used, ": %s", was);
    return -1;
}

int np_error_where(struct np_error *err, const char *target, uint64_t offset)
{
    if (target != NULL && err->disk[0] == '\0')
        snprintf(err->disk, sizeof(err->disk), "%s", target);
    if (offset != NP_NO_OFFSET && err->offset == NP_NO_OFFSET)
        err->offset = offset;
    return -1;
}

int np_error_range(struct np_error *err, const char *target, uint64_t offset, uint64_t length)
{
    if (offset != NP_NO_OFFSET && err->offset == NP_NO_OFFSET)
        err->length = length;
    return np_error_where(err, target, offset);
}

int np_error_record(struct np_error *err, uint64_t pos, uint64_t number)
{
    if (err->pos == NP_NO_OFFSET) {
        err->pos = pos;
        err->number = number;
    }
    return -1;
}

int np_error_exit_status(const struct np_error *err)
{
    return err->class == NP_INTERRUPTED ? 128 + err->signal : (int)err->class;
}

const char *np_class_name(enum np_class class)
{
    static const char *const names[] = {
        [NP_OK] = "ok",           [NP_FAILED] = "failed",
        [NP_USAGE] = "usage",     [NP_SKIPPED] = "skipped",
        [NP_DAMAGED] = "damaged", [NP_UNCHECKED] = "unchecked",
        [NP_LOSSES] = "losses",   [NP_BUSY] = "busy",
        [NP_BITMAP] = "bitmap",   [NP_INTERRUPTED] = "interrupted",
    };
    return names[class];
}
