#include "clock.h"

#include <time.h>

void np_clock_now(char text[NP_TIME_MAX])
{
    time_t now = time(NULL);
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
