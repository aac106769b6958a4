#include "clock.h"

#include <time.h>

#define YEAR_9999_ENDS 253402300799

/* A time that cannot be read again would stand in the way of every look for a point by time. */
static time_t that_can_be_told(time_t time)
{
    return time < 0 ? 0 : time > YEAR_9999_ENDS ? YEAR_9999_ENDS : time;
}

void np_clock_now(char text[NP_TIME_MAX])
{
    time_t now = that_can_be_told(time(NULL));
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(text, NP_TIME_MAX, "%Y-%m-%dT%H:%M:%SZ", &utc);
}

double np_clock_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}
