#!/bin/bash
# The manual page has no mistake that mandoc can find, and has exactly the options that --help has.
. "$(dirname "$0")/lib.sh"
need mandoc
[ -x "$NBDPULL" ] || { echo "no program $NBDPULL" && exit 1; }
mandoc -T lint -W warning docs/nbdpull.1 || exit 1

# options TEXT-COMMAND...: the long options in a text.
options()
{
    "$@" | grep -oE -- '--[a-z][a-z-]+' | sort -u
}
page() { mandoc -T ascii docs/nbdpull.1 | sed "s/.\x08//g" | sed '/^CAVEATS/,/^[A-Z]* *([0-9])/d'; }
help() { for command in "" backup restore dump verify estimate checkpoints; do "$NBDPULL" $command --help; done; }
if ! diff <(options help) <(options page); then
    echo "the options of --help (<) and of the manual page (>) differ"
    exit 1
fi
