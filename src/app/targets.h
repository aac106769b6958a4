/**
 * @file targets.h
 * Looking for a disk's name in a list from the command line.
 */
#ifndef NP_TARGETS_H
#define NP_TARGETS_H

#include "nbdpull/app.h"

bool np_targets_contain(const struct np_targets *targets, const char *target);

/** True when the list is empty (everything is wanted) or contains the name. */
bool np_targets_want(const struct np_targets *targets, const char *target);

#endif
