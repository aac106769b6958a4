#!/bin/bash
# kill -9 of a run whose set was damaged meanwhile: a job ends whatever became of its set, by the guardian or by the next
# run. What a point may need stays until it can be told: checkpoint, streams and intent.
# labs: system embed
# long labs: embed
. "$(dirname "$0")/lab.sh"
lab_start

raw=$LAB_DIR/content
lab_program_files 12M "$raw"
lab_filled "$LAB_NAME" vda qcow2 "$raw"
lab_domain "$LAB_NAME" vda:qcow2:12M
set=$LAB_DIR/set scratch=$LAB_DIR/scratch
mkdir -m 711 "$scratch"
np_backup "$LAB_NAME" -l full -o "$set"
cp "$set/points/0001.json" "$LAB_DIR/record"
damage() { sed -i 's/"time": "2/"time": "3/' "$set/points/0001.json"; }
mend() { cp "$LAB_DIR/record" "$set/points/0001.json"; }
checkpoints() { lab_virsh checkpoint-list --name "$LAB_NAME" | grep -c nbdpull; }
# no_job WHAT: neither job nor scratch is left.
no_job()
{
    lab_virsh backup-dumpxml "$LAB_NAME" >/dev/null 2>&1 && lab_fail "$1: the job runs"
    [ -z "$(ls -A "$scratch")" ] || lab_fail "$1: left in $scratch: $(ls -A "$scratch")"
}
# killed: the run is dead, and its guardian has done what it can. Another guardian's minute would be over by then.
killed()
{
    local guardian
    guardian=$(np_guardian)
    kill -9 "$NP_PID"
    np_wait 137
    lab_eventually "the guardian ends" lab_has_ended "$guardian"
}
lab_remember

# Another point's record: the guardian knows from the run that its own point was not committed.
np_start_slow "$LAB_NAME" "$set" --scratch-dir "$scratch"
damage
killed
no_job "a damaged record"
np_said "did not come to its end: its job, .* gone now"
mend
lab_unchanged "a run with a damaged record"

# Its own: that it was far from its commit is no reason to remove what somebody has put there. Nor does the next
# run remove it.
np_start_slow "$LAB_NAME" "$set" --scratch-dir "$scratch"
echo '{' >"$set/points/0003.json"
killed
no_job "its own record"
grep -q "did not come to its end: its job, .* gone now" "$NP_ERR" || lab_fail "it says: $(cat "$NP_ERR")"
grep -q "warning: checkpoint and streams of the run of .* stay until .*: .*points/0003.json" "$NP_ERR" ||
    lab_fail "it says: $(cat "$NP_ERR")"
[ -e "$set/intent.json" ] && [ -e "$set/streams/0003.vda.nbp" ] || lab_fail "taken from the set: $(ls "$set" "$set/streams")"
[ "$(checkpoints)" -eq 2 ] || lab_fail "its own record: checkpoints $(checkpoints)"
np 4 backup -c "$LAB_URI" -d "$LAB_NAME" -l full -o "$set"
[ "$(checkpoints)" -eq 2 ] && [ -e "$set/intent.json" ] || lab_fail "the next run took what a point may need"
rm "$set/points/0003.json"
np_backup "$LAB_NAME" -l inc -o "$set" --require-bitmap
np_said "did not come to its end: its checkpoint and partial streams are gone now"
[ "$(checkpoints)" -eq 2 ] || lab_fail "after that: checkpoints $(checkpoints)"
lab_remember

# The intent is gone, or is none any more: the guardian has its own.
for how in rm truncate; do
    np_start_slow "$LAB_NAME" "$set" --scratch-dir "$scratch"
    case $how in
    rm) rm "$set/intent.json" ;;
    truncate) : >"$set/intent.json" ;;
    esac
    killed
    no_job "$how intent.json"
    np_said "did not come to its end: its job, .* gone now"
    lab_unchanged "$how intent.json"
done

# Without a guardian, and with a damaged record, the next run ends the job before it refuses.
np_start_slow "$LAB_NAME" "$set" --scratch-dir "$scratch"
np_kill_both
damage
np 4 backup -c "$LAB_URI" -d "$LAB_NAME" -l full -o "$set"
no_job "the next run"
grep -q "did not come to its end: its .*job.* gone now" "$NP_ERR" || lab_fail "it says: $(cat "$NP_ERR")"
grep -q "warning: checkpoint and streams of the run of .* stay until" "$NP_ERR" || lab_fail "it says: $(cat "$NP_ERR")"
[ "$(checkpoints)" -eq 3 ] || lab_fail "the next run: checkpoints $(checkpoints)"
[ -e "$set/intent.json" ] && [ -e "$set/streams/0007.vda.nbp" ] || lab_fail "taken from the set: $(ls "$set" "$set/streams")"
mend
np_backup "$LAB_NAME" -l inc -o "$set" --require-bitmap
np_said "did not come to its end: its checkpoint and partial streams are gone now"
[ "$(checkpoints)" -eq 2 ] || lab_fail "after that: checkpoints $(checkpoints)"
np 0 restore -i "$set" -o "$LAB_DIR/out"
lab_same "$LAB_DIR/out/vda.qcow2" "$raw"

# A run that is ended takes back all that it began: its own record says that it has no point, whatever other records are.
lab_remember
np_start_slow "$LAB_NAME" "$set" --scratch-dir "$scratch"
damage
kill "$NP_PID"
np_wait 143
mend
lab_unchanged "SIGTERM with a damaged record"
