/**
 * @file signals.h
 * SIGINT, SIGTERM and SIGHUP become a request to stop; a thread waits for them, no handler runs.
 */
#ifndef NP_SIGNALS_H
#define NP_SIGNALS_H

#include "nbdpull/cancel.h"

/** Call before any other thread exists: the signals are blocked for all that come later. */
int np_signals_start(struct np_cancel *cancel, struct np_error *err);

#endif
