/**
 * @file until.h
 * A time given to --until, as a person writes it.
 */
#ifndef NBDPULL_SET_UNTIL_H
#define NBDPULL_SET_UNTIL_H

#include <stdbool.h>
#include <time.h>

/**
 * "2026-11-20 03:00", "2026-11-20T03:00:00Z", "2026-11-20 03:00+01:00": date and time of day, seconds
 * optional; local time unless it carries Z or an offset.
 * @return false when text is no such time
 */
bool np_until_parse(const char *text, time_t *seconds);

#endif
