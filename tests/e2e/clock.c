/*
 * Preloaded: the time of day is what the file $CLOCK_SHIFT says, in seconds before (-) or after the real one,
 * and changes when the file does. CLOCK_MONOTONIC goes on as ever, as it does when somebody sets a machine's
 * clock; the file $CLOCK_LATER puts it forward, for what would have to be waited for.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

typedef int gettime_function(clockid_t clock, struct timespec *now);

static long long shift(const char *variable)
{
    long long seconds = 0;
    const char *path = getenv(variable);
    FILE *file = path == NULL ? NULL : fopen(path, "re");
    if (file != NULL) {
        if (fscanf(file, "%lld", &seconds) != 1)
            seconds = 0;
        fclose(file);
    }
    return seconds;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    gettime_function *real = (gettime_function *)dlsym(RTLD_NEXT, "clock_gettime");
    int result = real == NULL ? -1 : real(clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += shift("CLOCK_SHIFT");
    if (result == 0 && clock == CLOCK_MONOTONIC)
        now->tv_sec += shift("CLOCK_LATER");
    return result;
}

time_t time(time_t *seconds)
{
    struct timespec now = {0};
    clock_gettime(CLOCK_REALTIME, &now);
    if (seconds != NULL)
        *seconds = now.tv_sec;
    return now.tv_sec;
}

int gettimeofday(struct timeval *restrict to, void *restrict zone)
{
    struct timespec now = {0};
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    *to = (struct timeval){.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
    return 0;
}
