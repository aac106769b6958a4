/**
 * @file estimate.h
 * The estimate, for the command of that name and for `backup --estimate`.
 */
#ifndef NP_ESTIMATE_H
#define NP_ESTIMATE_H

#include "command.h"
#include "options.h"

/**
 * Estimate and print. Never changes anything, whatever the request holds.
 * @param done what reading the command line gave: on -1 only the document is printed, when --json asks for it
 * @return 0, or -1 with err, which may be filled already
 */
int np_estimate_command(const struct np_context *context, const struct np_backup_request *request, bool exact,
                        const struct np_common *common, int done, struct np_error *err);

#endif
