/*
 * libvirt's last error, copied at the call and in the thread of the call, as one of ours.
 */
#ifndef NP_VIRT_VIRT_ERROR_H
#define NP_VIRT_VIRT_ERROR_H

#include "nbdpull/error.h"

/*
 * Fill err with "FORMAT: what libvirt said". The class comes from libvirt's code: NP_BUSY for a lock or a
 * disk that another job holds, NP_BITMAP for a checkpoint or bitmap that is missing or broken, else
 * NP_FAILED. Returns -1.
 */
int np_virt_error(struct np_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Code (virErrorNumber) of this thread's last error. */
int np_virt_error_code(void);

/* Text of this thread's last error; borrowed until the next call of libvirt. */
const char *np_virt_error_text(void);

/*
 * Does the text name this word: a disk's target, a path? Libvirt's texts are translated, the names in them
 * are not. "vda" is not named by "/img/vda.qcow2" nor by "set-vda-7".
 */
bool np_virt_error_names(const char *text, const char *word);

#endif
