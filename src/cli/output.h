/**
 * @file output.h
 * What a person sees: log lines and the progress line on standard error, sizes in words.
 */
#ifndef NP_OUTPUT_H
#define NP_OUTPUT_H

#include "nbdpull/app.h"

#include <stdio.h>

#define NP_SIZE_TEXT 16

/** "2.7 GiB", "512 B". */
const char *np_output_size(uint64_t bytes, char text[NP_SIZE_TEXT]);

/** Bytes of the UTF-8 character at text, or 0 when none begins there. Source: RFC 3629, section 4. */
size_t np_output_character(const char *text);

/**
 * Does the character show as something else than itself: a control character, which could move the cursor or
 * break a line, or one that changes the direction of what is written?
 */
bool np_output_is_control(const char *character);

/**
 * A text from a set, a stream or libvirt as it may be shown: control characters become spaces, and what is
 * not UTF-8 question marks.
 * @param to out; cut to fit
 */
const char *np_output_text(const char *text, char *to, size_t room);

/** One line, whatever the texts in it hold; without its line break. */
void np_output_line(FILE *to, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** Send log lines to standard error: warnings always, information unless quiet, steps when verbose. */
void np_output_log(bool quiet, bool verbose);

/** The message of a failure on standard error, in one line whatever it holds. */
void np_output_error(const char *message);

/** A hook that draws one line on a terminal; one that does nothing when standard error is none, or quiet. */
struct np_progress_hook np_output_progress(bool quiet);

/** Take the progress line away, before anything else is printed. */
void np_output_clear_line(void);

#endif
