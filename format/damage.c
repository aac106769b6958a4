#include "damage.h"

#include "nbdpull/bytes.h"

#include <stdarg.h>
#include <stdio.h>

/* The guest bytes that a record is about; false when it is about none, or when they make no sense. */
static bool guest_range(const struct np_record_header *header, const struct np_meta_disk *disk,
                        uint64_t *from, uint64_t *to)
{
    if (disk == NULL || header->offset >= disk->geometry.size)
        return false;
    *from = header->offset;
    if (header->type == NP_RECORD_DATA)
        *to = header->offset + np_window_length(&disk->geometry, header->offset);
    else
        *to = header->offset + header->length;
    return *to > *from;
}

int np_damage_record(const char *name, const struct np_record_header *header, const struct np_meta_disk *disk,
                     struct np_error *err, const char *cause, ...)
{
    char why[NP_ERROR_MESSAGE_MAX / 2], where[160] = "";
    va_list args;
    va_start(args, cause);
    vsnprintf(why, sizeof(why), cause, args);
    va_end(args);

    uint64_t from = NP_NO_OFFSET, to = 0;
    if (guest_range(header, disk, &from, &to))
        snprintf(where, sizeof(where), ", disk %s, guest bytes %ju to %ju", disk->target, (uintmax_t)from,
                 (uintmax_t)(to - 1));
    else if (disk != NULL)
        snprintf(where, sizeof(where), ", disk %s", disk->target);
    np_fail(err, NP_DAMAGED, "%s: record %ju (%s) at byte %ju%s: %s: the stream is damaged", name,
            (uintmax_t)header->number, np_record_type_name(header->type), (uintmax_t)header->pos, where, why);
    np_error_record(err, header->pos, header->number);
    return np_error_range(err, disk != NULL ? disk->target : NULL, from, to - from);
}

int np_damage_range(const char *name, const struct np_meta_disk *disk, uint64_t from, uint64_t to,
                    const char *cause, struct np_error *err)
{
    np_fail(err, NP_DAMAGED, "%s: disk %s, guest bytes %ju to %ju: %s: the stream is damaged", name,
            disk->target, (uintmax_t)from, (uintmax_t)(to - 1), cause);
    return np_error_range(err, disk->target, from, to - from);
}
