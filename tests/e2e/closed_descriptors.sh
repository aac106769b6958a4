#!/bin/bash
# Started with its standard descriptors closed, as some service managers do: no stream, socket or set file takes
# their place, and output that goes nowhere is a failure.
# labs: embed
. "$(dirname "$0")/lab.sh"
lab_start

raw=$LAB_DIR/content
lab_program_files 3M "$raw"
lab_filled "$LAB_NAME" vda qcow2 "$raw"
lab_domain "$LAB_NAME" vda:qcow2:3M
full=("$NBDPULL" backup -c "$LAB_URI" -d "$LAB_NAME" -l full -o "$LAB_DIR/set" -v)
copy=("$NBDPULL" backup -c "$LAB_URI" -d "$LAB_NAME" -l copy -o -)

"${full[@]}" <&- >&- 2>&- || lab_fail "nothing open: status $?"
np 0 restore -i "$LAB_DIR/set" -o "$LAB_DIR/out"
lab_same "$LAB_DIR/out/vda.qcow2" "$raw"

"${copy[@]}" >&- 2>"$LAB_DIR/tmp/lab.err" && lab_fail "a stream to a closed standard output: status 0"
NP_ERR=$LAB_DIR/tmp/lab.err np_said 'standard output'
"${copy[@]}" <&- >&- 2>&- && lab_fail "a stream with nothing open: status 0"

# The point is there although its report is not, and it says so.
"${full[@]}" --json >&- 2>"$LAB_DIR/tmp/lab.err" && lab_fail "a document to a closed standard output: status 0"
grep -q 'point 0002 is committed.*standard output' "$LAB_DIR/tmp/lab.err" || lab_fail "it says: $(cat "$LAB_DIR/tmp/lab.err")"
[ "$(np_points "$LAB_DIR/set")" = "0001 0002" ] || lab_fail "points: $(np_points "$LAB_DIR/set")"
