#!/bin/bash
# Each fuzzer for some seconds, from the kept inputs on. Needs clang; NBDPULL_FUZZ_SECONDS says how long.
. "$(dirname "$0")/../source/lib.sh"
command -v clang >/dev/null || skip "no program clang (tools/packages lists what the purpose fuzz needs)"
clang -print-file-name=libclang_rt.fuzzer-x86_64.a | grep -q / || skip "this clang has no libFuzzer"
exec "$(dirname "$0")/../../tools/fuzz" all "${NBDPULL_FUZZ_SECONDS:-20}"
