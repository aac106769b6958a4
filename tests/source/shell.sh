#!/bin/bash
# Every shell script is clean for shellcheck.
. "$(dirname "$0")/lib.sh"
need shellcheck
mapfile -t scripts < <(grep -rlE '^#!/bin/(ba)?sh|^# shellcheck shell=' tools tests .ci)
shellcheck --external-sources --source-path=SCRIPTDIR "${scripts[@]}"
