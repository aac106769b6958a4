#!/bin/bash
# Every shell script is clean for shellcheck.
. "$(dirname "$0")/lib.sh"
need shellcheck
labs='^tests/(e2e|faults)/'
mapfile -t scripts < <(grep -rlE '^#!/bin/(ba)?sh|^# shellcheck shell=' tools tests .ci)
mapfile -t others < <(printf '%s\n' "${scripts[@]}" | grep -vE "$labs")
shellcheck --external-sources --source-path=SCRIPTDIR "${others[@]}" || exit 1
# To follow each test into lab.sh takes seconds a test; without, it cannot know lab.sh's variables and arrays.
printf '%s\n' "${scripts[@]}" | grep -E "$labs" | xargs -n 20 shellcheck --exclude=SC1091,SC2004,SC2034,SC2153,SC2154
