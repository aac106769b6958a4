/**
 * @file level.h
 * The levels that can be asked for.
 */
#ifndef NP_LEVEL_H
#define NP_LEVEL_H

#include "nbdpull/error.h"

/** Whether there is such a level, and --from fits it (NP_USAGE). @param from NULL: no --from */
int np_level_check(const char *level, const char *from, struct np_error *err);

#endif
