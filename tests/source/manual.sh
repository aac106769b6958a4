#!/bin/bash
# The manual page has no mistake that mandoc can find, and has exactly the options that --help has, which fits a
# screen of 80 by 24.
. "$(dirname "$0")/lib.sh"
need mandoc
[ -x "$NBDPULL" ] || { echo "no program $NBDPULL" && exit 1; }
mandoc -T lint -W warning docs/nbdpull.1 || exit 1

# options TEXT-COMMAND...: the long options in a text.
options()
{
    "$@" | grep -oE -- '--[a-z][a-z-]+' | sort -u
}
mapfile -t commands < <(echo && "$NBDPULL" --help | sed -n 's/^  \([a-z]\{1,\}\) .*/\1/p')
page() { mandoc -T ascii docs/nbdpull.1 | sed "s/.\x08//g" | sed '/^CAVEATS/,/^[A-Z]* *([0-9])/d'; }
help() { for command in "${commands[@]}"; do "$NBDPULL" ${command:+"$command"} --help; done; }
if ! diff <(options help) <(options page); then
    echo "the options of --help (<) and of the manual page (>) differ"
    exit 1
fi

for command in "${commands[@]}"; do
    "$NBDPULL" ${command:+"$command"} --help |
        awk -v c="$command" 'length > 79 { print "nbdpull " c " --help is too wide: " $0; bad = 1 }
            END { if (NR > 24) { print "nbdpull " c " --help has " NR " lines"; bad = 1 }; exit bad }' || exit 1
done
