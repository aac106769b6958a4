# Sourced by the tests of this folder, which run in the top of the source.
# shellcheck shell=bash
set -u -o pipefail

skip()
{
    echo "skipped: $*" >&2
    if [ -n "${NBDPULL_SKIPPED:-}" ]; then
        echo "source $(basename "$0" .sh): $*" >>"$NBDPULL_SKIPPED"
    fi
    exit 77
}

need()
{
    command -v "$1" >/dev/null || skip "no program $1 (tools/packages lists what tests need)"
}
