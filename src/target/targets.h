/* The image formats of the table in target.c: one file each. */
#ifndef TARGET_TARGETS_H
#define TARGET_TARGETS_H

#include "nbdpull/target.h"

extern const struct np_target_ops np_target_qcow2;
extern const struct np_target_ops np_target_raw;

#endif
