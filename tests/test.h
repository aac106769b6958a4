/* The one place that includes cmocka, after the headers it wants before it. */
#ifndef NBDPULL_TEST_H
#define NBDPULL_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "nbdpull/error.h"

/** Fail the test with the error's text unless the call gave 0. `err` is in scope. */
#define ok(call)                                                                                             \
    do {                                                                                                     \
        if ((call) < 0)                                                                                      \
            fail_msg("%s: %s", #call, err.message);                                                          \
    } while (0)

/** The call must fail with that class; the text is there to be looked at. `err` is in scope, and is reset. */
#define fails(wanted_class, call)                                                                            \
    do {                                                                                                     \
        err = (struct np_error)NP_ERROR_INIT;                                                                \
        assert_int_equal((call), -1);                                                                        \
        assert_int_equal(err.class, wanted_class);                                                           \
        assert_true(err.message[0] != '\0');                                                                 \
    } while (0)

#endif
