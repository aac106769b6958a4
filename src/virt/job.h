/*
 * What the files of this folder see of a job. All of it is constant while the job lives, so several threads
 * may use it.
 */
#ifndef NP_VIRT_JOB_H
#define NP_VIRT_JOB_H

#include "domain.h"

struct np_job {
    struct np_domain *domain; /* borrowed */
    struct np_watch *watch;   /* since before begin */
    char *socket;             /* owned */
};

#endif
