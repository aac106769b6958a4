#!/bin/bash
# A libvirt URI of some hundred bytes stands whole in the intent, for whoever has to open it; one that would not is refused.
# labs: system
. "$(dirname "$0")/lab.sh"
lab_start

lab_program_files 6M "$LAB_DIR/content"
lab_filled "$LAB_NAME" vda qcow2 "$LAB_DIR/content"
lab_domain "$LAB_NAME" vda:qcow2:6M
set=$LAB_DIR/set
long() { printf '%s?x=%*s' "$LAB_URI" "$1" '' | tr ' ' a; }

np 1 backup -c "$(long 1100)" -d "$LAB_NAME" -l full -o "$LAB_DIR/refused"
np_said 'URI is longer'
LAB_URI=$(long 400)
np_start_slow "$LAB_NAME" "$set"
[ "$(jq -r .uri "$set/intent.json")" = "$LAB_URI" ] || lab_fail "intent: $(cat "$set/intent.json")"
kill -9 "$NP_PID"
np_wait 137
flock "$set/lock" true
np_said 'its job'
