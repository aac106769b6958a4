#!/bin/bash
# Each test that a document names as test_WHAT__BEHAVIOUR is there.
. "$(dirname "$0")/lib.sh"
bad=0
while read -r name; do
    grep -qrhw -e "$name" tests --include=*.c || { echo "no test is called $name" && bad=1; }
done < <(grep -ohE 'test_[a-z0-9_]+__[a-z0-9_]+' ./*.md docs/*.md tests/*.md format/*.md | sort -u)
exit $bad
