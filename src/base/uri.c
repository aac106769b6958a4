#include "nbdpull/uri.h"

#include <stdio.h>
#include <string.h>

/* A password that somebody forgot to encode may have any character in it, so it ends at the last @. */
const char *np_uri_masked(const char *text, char *to, size_t room)
{
    const char *authority = strstr(text, "://");
    const char *password = authority != NULL ? strchr(authority + 3, ':') : NULL;
    const char *host = password != NULL ? strrchr(password, '@') : NULL;
    if (host == NULL)
        snprintf(to, room, "%s", text);
    else
        snprintf(to, room, "%.*s:***%s", (int)(password - text), text, host);
    return to;
}
