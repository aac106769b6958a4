/**
 * @file clock.h
 * The two clocks: what time it is (for people), and how long something took.
 */
#ifndef NP_CLOCK_H
#define NP_CLOCK_H

#include "nbdpull/meta.h"

/** Now in UTC, RFC 3339 with seconds, fixed width. */
void np_clock_now(char text[NP_TIME_MAX]);

/** Seconds of a clock that never steps back. */
double np_clock_seconds(void);

#endif
