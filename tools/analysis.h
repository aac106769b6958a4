/*
 * Read by the analysers of tools/analyse before each file, never compiled. They see one file at a time, so they do not
 * know that these functions of another always return -1, and follow paths on which an error is none.
 */
#include "nbdpull/error.h"

#define np_fail(...) (np_fail(__VA_ARGS__), -1)
#define np_fail_errno(...) (np_fail_errno(__VA_ARGS__), -1)
#define np_error_context(...) (np_error_context(__VA_ARGS__), -1)
#define np_error_where(...) (np_error_where(__VA_ARGS__), -1)
