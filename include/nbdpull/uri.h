/**
 * @file uri.h
 * URIs in messages, and in words of a command line that may be one.
 */
#ifndef NBDPULL_URI_H
#define NBDPULL_URI_H

#include <stddef.h>

#define NP_URI_SHOWN_MAX 1024

/**
 * The text without the password of a URI: "qemu+ssh://user:***@host/system". What may only be one, in a URI
 * that is no good, goes too. Other texts stay as they are.
 * @param to   the copy, cut to fit; text itself is not changed
 * @param room bytes
 * @return to
 */
const char *np_uri_masked(const char *text, char *to, size_t room);

#endif
