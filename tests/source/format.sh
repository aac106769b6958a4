#!/bin/bash
# Every C file is exactly as clang-format writes it. Its versions differ, so only that of Debian 12 decides.
. "$(dirname "$0")/lib.sh"
need clang-format
clang-format --version | grep -q 'version 14\.' || skip "needs clang-format 14"
find src format include tests -name '*.[ch]' -print0 | xargs -0 clang-format --dry-run -Werror
