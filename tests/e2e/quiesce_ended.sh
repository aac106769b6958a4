#!/bin/bash
# A run that is ended between freeze and thaw: by SIGTERM it thaws itself, after kill -9 its guardian does, and when
# that is killed too the next run.
# labs: system
# cost: 25
. "$(dirname "$0")/lab.sh"
. "$(dirname "$0")/guest.sh"
lab_start

lab_guest "$LAB_NAME" vda:qcow2:64M
set=$LAB_DIR/set
export HOLD_BEGIN=$LAB_DIR/tmp/lab.hold
np_backup "$LAB_NAME" -l full -o "$set"
cp "$set/points/0001.json" "$LAB_DIR/tmp/record"

# start_frozen: a run whose begin is held; the guest is frozen.
start_frozen()
{
    rm -f "$HOLD_BEGIN"
    LD_PRELOAD=$NBDPULL_HOLD np_start backup -c "$LAB_URI" -d "$LAB_NAME" -l inc -o "$set"
    lab_eventually "it begins" test -e "$HOLD_BEGIN"
    guest_is_frozen "$LAB_NAME" || lab_fail "begin is called, and the guest is not frozen"
    jq -e .freeze "$set/intent.json" >/dev/null || lab_fail "the intent does not say so: $(cat "$set/intent.json")"
}

# thaws: the next run does, and is a run like any other.
thaws()
{
    np_backup "$LAB_NAME" -l inc -o "$set" --json
    np_said 'did not come to its end.*frozen guest'
    [ "$(jq .quiesced "$NP_OUT")" = true ] || lab_fail "the next run is not quiesced"
    guest_is_thawed "$LAB_NAME" || lab_fail "the guest is not thawed"
    [ ! -e "$set/intent.json" ] || lab_fail "an intent is left"
}

lab_remember
start_frozen
kill -TERM "$NP_PID"
rm "$HOLD_BEGIN"
np_wait 143
guest_is_thawed "$LAB_NAME" || lab_fail "SIGTERM: the guest is not thawed"
lab_unchanged "SIGTERM"

start_frozen
guardian=$(np_guardian)
kill -9 "$NP_PID"
np_wait 137
lab_eventually "the guardian thaws" guest_is_thawed "$LAB_NAME"
lab_eventually "the guardian ends" lab_has_ended "$guardian"
lab_unchanged "kill -9"

# Damage in the set keeps nobody from thawing.
start_frozen
guardian=$(np_guardian)
echo '{' >"$set/points/0001.json"
kill -9 "$NP_PID"
np_wait 137
lab_eventually "the guardian thaws, with a damaged record" guest_is_thawed "$LAB_NAME"
lab_eventually "the guardian ends" lab_has_ended "$guardian"
cp "$LAB_DIR/tmp/record" "$set/points/0001.json"
lab_unchanged "kill -9 with a damaged record"

start_frozen
np_kill_both
guest_is_frozen "$LAB_NAME" || lab_fail "somebody thawed: this test tests nothing"
thaws
[ "$(np_points "$set" | wc -w)" -eq 2 ] || lab_fail "points: $(np_points "$set")"

# The agent refuses to thaw: it is said loudly, and the guardian goes on trying. quiesce_stuck has one that does not answer.
lab_remember
start_frozen
guardian=$(np_guardian)
guest_agent_again "$LAB_NAME" -b guest-fsfreeze-thaw
rm "$HOLD_BEGIN"
np_wait 1
grep -q "FROZEN.*virsh -c '$LAB_URI' domfsthaw $LAB_NAME" "$NP_ERR" || lab_fail "not loud: $(cat "$NP_ERR")"
lab_virsh backup-dumpxml "$LAB_NAME" >/dev/null 2>&1 && lab_fail "its job runs on"
jq -e .freeze "$set/intent.json" >/dev/null || lab_fail "it is forgotten that the guest is frozen"
for i in {1..24}; do # while the guardian has time to try some more
    guest_is_frozen "$LAB_NAME" || lab_fail "question $i: somebody thawed"
done
guest_agent_again "$LAB_NAME"
lab_eventually "the guardian thaws, once the agent does" guest_is_thawed "$LAB_NAME"
lab_eventually "the guardian ends" lab_has_ended "$guardian"
[ "$(grep -c 'did not come to its end' "$NP_ERR")" -le 2 ] && [ "$(grep -c 'MAY BE FROZEN' "$NP_ERR")" -le 2 ] ||
    lab_fail "it repeats itself: $(cat "$NP_ERR")"
lab_unchanged "an agent that refused"
