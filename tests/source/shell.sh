#!/bin/bash
# Every shell script is clean for shellcheck.
. "$(dirname "$0")/lib.sh"
need shellcheck
mapfile -t scripts < <(grep -rlE '^#!/bin/(ba)?sh|^# shellcheck shell=' tools tests .ci | grep -v '^tests/e2e/')
shellcheck --external-sources --source-path=SCRIPTDIR "${scripts[@]}" || exit 1
# To follow each test into lab.sh takes seconds a test; without, it cannot know lab.sh's variables and arrays.
shellcheck --exclude=SC1091,SC2004,SC2034,SC2154 tests/e2e/*.sh
