/*
 * libvirt's event loop, in one thread of its own.
 */
#ifndef NP_VIRT_EVENTS_H
#define NP_VIRT_EVENTS_H

#include "nbdpull/error.h"

/*
 * Make libvirt ready for this process, once: event loop running, its own printing silenced. Must be called
 * before any connection is opened. The loop runs until the process ends: an embedded driver needs it to the
 * last.
 */
int np_events_start(struct np_error *err);

#endif
