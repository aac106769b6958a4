#!/bin/bash
# The golden streams of a released format never change, and none goes: SHA256SUMS only grows.
. "$(dirname "$0")/lib.sh"
cd tests/golden || exit 1
sha256sum --check --strict --quiet SHA256SUMS || exit 1
for stream in *.nbp; do
    grep -q -F " ./$stream" SHA256SUMS || { echo "$stream is not in SHA256SUMS" >&2 && exit 1; }
done
