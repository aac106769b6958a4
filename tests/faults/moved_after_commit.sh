#!/bin/bash
# The run is killed between its commit and its end, and the set is moved away from its guardian: the job's end is all that
# is left to do, and the checkpoint of the new point stays.
# labs: system
. "$(dirname "$0")/faults.sh"
fault_start
fault_guest_writes
fault_run inc STOP_LOG="$LAB_DIR/tmp/steps"
[ "$FAULT_STATUS" -eq 0 ] || lab_fail "an undisturbed run: $(cat "$NP_ERR")"
prunes=$(sed -n 's/^virt \(virDomainListAllCheckpoints:.*\)/\1/p' "$LAB_DIR/tmp/steps" | tail -n 1)
fault_guest_writes
fault_run inc STOP_AT="$prunes" STOP_HOW=kill STOP_RUN="mv $FAULT_SET $LAB_DIR/moved"
[ "$FAULT_STATUS" -eq 137 ] || lab_fail "status $FAULT_STATUS: $(cat "$NP_ERR")"
flock "$LAB_DIR/moved/lock" true
[ "$(np_points "$LAB_DIR/moved")" = "0001 0002 0003 0004" ] || lab_fail "points: $(np_points "$LAB_DIR/moved")"
np_backup "$LAB_NAME" -l inc -i vda -o "$LAB_DIR/moved" --require-bitmap
