/**
 * @file options.h
 * Reading a command line: one table of options a command, long and short, and the kinds of value they take.
 */
#ifndef NP_OPTIONS_H
#define NP_OPTIONS_H

#include "nbdpull/app.h"
#include "nbdpull/error.h"

enum np_option_kind {
    NP_OPTION_FLAG,    /**< bool */
    NP_OPTION_STRING,  /**< const char * */
    NP_OPTION_MAYBE,   /**< const char *; "" when the option stands without a value (--name, not --name=value)
                        */
    NP_OPTION_TARGETS, /**< struct np_targets: repeatable, comma-separated */
    NP_OPTION_WORKERS, /**< unsigned, 1..NP_WORKERS_MAX */
    NP_OPTION_COUNT,   /**< unsigned, up to 1000000 */
    NP_OPTION_ORDINAL, /**< unsigned, 1..1000000 */
    NP_OPTION_PERCENT, /**< unsigned, 1..100 */
    NP_OPTION_SIZE,    /**< uint64_t, bytes: a number with K, M, G or T behind it (of 1024), or none */
    NP_OPTION_ROOM,    /**< as NP_OPTION_SIZE, and not 0 */
};

/** One option. Tables end with an entry without a name. */
struct np_option {
    char letter; /**< 0: none */
    const char *name;
    enum np_option_kind kind;
    void *value; /**< out, of the kind's type */
};

/** Options that every command has; np_options_parse reads them too. */
struct np_common {
    bool quiet, verbose, json, help;
};

/**
 * Parse; no arguments besides options are taken. With --help the rest is not looked at; behind what is wrong
 * only for --json, so that the failure is told as it was asked for.
 * Sets up the log for -q and -v.
 * @param argv[0] the command's name; strings are borrowed, comma lists are split in place
 * @return 0, or -1 with NP_USAGE
 */
int np_options_parse(int argc, char **argv, const struct np_option *options, struct np_common *common,
                     struct np_error *err);

void np_targets_clear(struct np_targets *targets); /**< takes a zeroed struct */

#endif
