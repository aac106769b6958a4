#include "nbdpull/uuid.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

int np_uuid_random(struct np_uuid *uuid, struct np_error *err)
{
    ssize_t got = getrandom(uuid->bytes, sizeof(uuid->bytes), 0);
    if (got != (ssize_t)sizeof(uuid->bytes))
        return np_fail_errno(err, NP_FAILED, got < 0 ? errno : EIO, "cannot get random bytes");
    uuid->bytes[6] = (uint8_t)((uuid->bytes[6] & 0x0f) | 0x40);
    uuid->bytes[8] = (uint8_t)((uuid->bytes[8] & 0x3f) | 0x80);
    return 0;
}

static bool dash_before(size_t i)
{
    return i == 4 || i == 6 || i == 8 || i == 10;
}

void np_uuid_format(const struct np_uuid *uuid, char text[NP_UUID_TEXT_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    char *to = text;
    for (size_t i = 0; i < sizeof(uuid->bytes); i++) {
        if (dash_before(i))
            *to++ = '-';
        *to++ = digits[uuid->bytes[i] >> 4];
        *to++ = digits[uuid->bytes[i] & 15];
    }
    *to = '\0';
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool np_uuid_parse(const char *text, struct np_uuid *uuid)
{
    struct np_uuid parsed;
    for (size_t i = 0; i < sizeof(parsed.bytes); i++) {
        if (dash_before(i) && *text++ != '-')
            return false;
        int high = hex_value(text[0]);
        int low = high < 0 ? -1 : hex_value(text[1]);
        if (low < 0)
            return false;
        parsed.bytes[i] = (uint8_t)(high << 4 | low);
        text += 2;
    }
    if (*text != '\0')
        return false;
    *uuid = parsed;
    return true;
}

bool np_uuid_equal(const struct np_uuid *a, const struct np_uuid *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

bool np_uuid_is_nil(const struct np_uuid *uuid)
{
    static const struct np_uuid nil;
    return np_uuid_equal(uuid, &nil);
}
