#!/bin/bash
# Every public header compiles alone, and its comments name the parameters that it has.
. "$(dirname "$0")/lib.sh"
need clang
status=0
for header in include/nbdpull/*.h; do
    clang -std=gnu11 -D_GNU_SOURCE -Iinclude -fsyntax-only -Wall -Wextra -Wdocumentation -Wno-unused-function -Werror -x c "$header" ||
        status=1
done
exit $status
