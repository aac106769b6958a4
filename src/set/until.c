#include "until.h"

#include <stdio.h>
#include <string.h>

static bool parse_number(const char **text, int digits, int least, int most, int *value)
{
    *value = 0;
    for (int i = 0; i < digits; i++, ++*text) {
        if (**text < '0' || **text > '9')
            return false;
        *value = *value * 10 + (**text - '0');
    }
    return *value >= least && *value <= most;
}

static bool skip(const char **text, const char *any_of)
{
    if (**text == '\0' || strchr(any_of, **text) == NULL)
        return false;
    ++*text;
    return true;
}

static bool parse_day(const char **text, struct tm *tm)
{
    int year, month;
    if (!parse_number(text, 4, 1970, 9999, &year) || !skip(text, "-") ||
        !parse_number(text, 2, 1, 12, &month) || !skip(text, "-") ||
        !parse_number(text, 2, 1, 31, &tm->tm_mday))
        return false;
    tm->tm_year = year - 1900;
    tm->tm_mon = month - 1;
    return true;
}

static bool parse_time(const char **text, struct tm *tm)
{
    if (!parse_number(text, 2, 0, 23, &tm->tm_hour) || !skip(text, ":") ||
        !parse_number(text, 2, 0, 59, &tm->tm_min))
        return false;
    return !skip(text, ":") || parse_number(text, 2, 0, 59, &tm->tm_sec);
}

/* "Z", "+01:00" or "+0100". @param east out: seconds that local time there is ahead of UTC */
static bool parse_zone(const char **text, long *east)
{
    int hours, minutes;
    *east = 0;
    if (skip(text, "Zz"))
        return true;
    bool negative = **text == '-';
    if (!skip(text, "+-") || !parse_number(text, 2, 0, 23, &hours))
        return false;
    skip(text, ":");
    if (!parse_number(text, 2, 0, 59, &minutes))
        return false;
    *east = (hours * 60L + minutes) * 60 * (negative ? -1 : 1);
    return true;
}

bool np_until_parse(const char *text, time_t *seconds)
{
    struct tm tm = {.tm_isdst = -1};
    if (!parse_day(&text, &tm) || !skip(&text, "T ") || !parse_time(&text, &tm))
        return false;
    int day = tm.tm_mday;
    bool local = *text == '\0';
    long east = 0;
    if (!local && (!parse_zone(&text, &east) || *text != '\0'))
        return false;
    *seconds = local ? mktime(&tm) : timegm(&tm) - east;
    return tm.tm_mday == day; /* there is no 31st of February */
}
