#!/bin/bash
# The guest is frozen and its agent does not answer any more. The run lives: it says so loudly, and its guardian goes on
# trying. The run was killed and its guardian too: later backups go on and try to thaw each time, until the agent answers.
# labs: system
# long: an agent that does not answer is waited for, five times half a minute
. "$(dirname "$0")/lab.sh"
. "$(dirname "$0")/guest.sh"
lab_start

lab_guest "$LAB_NAME" vda:qcow2:64M
set=$LAB_DIR/set
export HOLD_BEGIN=$LAB_DIR/tmp/lab.hold
np_backup "$LAB_NAME" -l full -o "$set"

# start_frozen: a run whose begin is held; the guest is frozen.
start_frozen()
{
    rm -f "$HOLD_BEGIN"
    LD_PRELOAD=$NBDPULL_HOLD np_start backup -c "$LAB_URI" -d "$LAB_NAME" -l inc -o "$set"
    lab_eventually "it begins" test -e "$HOLD_BEGIN"
}

start_frozen
guardian=$(np_guardian)
guest_agent_stops "$LAB_NAME"
rm "$HOLD_BEGIN"
np_wait 1
grep -q "FROZEN.*virsh -c '$LAB_URI' domfsthaw $LAB_NAME" "$NP_ERR" || lab_fail "not loud: $(cat "$NP_ERR")"
lab_virsh backup-dumpxml "$LAB_NAME" >/dev/null 2>&1 && lab_fail "its job runs on"
guest_agent_goes_on "$LAB_NAME"
lab_eventually "the guardian thaws" guest_is_thawed "$LAB_NAME"
lab_eventually "the guardian ends" lab_has_ended "$guardian"
[ ! -e "$set/intent.json" ] || lab_fail "an intent is left"

start_frozen
np_kill_both
guest_is_frozen "$LAB_NAME" || lab_fail "somebody thawed: this test tests nothing"
guest_agent_stops "$LAB_NAME"

for points in 2 3; do
    lab_truth "$LAB_NAME" vda "$LAB_DIR/truth"
    np_backup "$LAB_NAME" -l inc -o "$set"
    grep -q "virsh -c '$LAB_URI' domfsthaw $LAB_NAME" "$NP_ERR" || lab_fail "not loud: $(cat "$NP_ERR")"
    [ "$(np_points "$set" | wc -w)" -eq $points ] || lab_fail "points: $(np_points "$set")"
    jq -e .freeze "$set/intent.json" >/dev/null || lab_fail "it is forgotten that the guest is frozen"
    np 0 restore -i "$set" -o "$LAB_DIR/out$points"
    lab_same "$LAB_DIR/out$points/vda.qcow2" "$LAB_DIR/truth"
done
np 1 backup -c "$LAB_URI" -d "$LAB_NAME" -l inc -o "$set" --quiesce require
grep -q 'quiesce require demands' "$NP_ERR" || lab_fail "it says: $(cat "$NP_ERR")"

guest_agent_goes_on "$LAB_NAME"
np_backup "$LAB_NAME" -l inc -o "$set" --json
guest_is_thawed "$LAB_NAME" || lab_fail "the guest is not thawed"
[ "$(jq .quiesced "$NP_OUT")" = true ] || lab_fail "the next run is not quiesced"
[ ! -e "$set/intent.json" ] || lab_fail "an intent is left"
