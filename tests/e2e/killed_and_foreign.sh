#!/bin/bash
# kill -9 of a run and of its guardian, in the middle of the pull: the next run says so in one line, takes back what
# was begun, and works.
# labs: system
. "$(dirname "$0")/lab.sh"
lab_start

raw=$LAB_DIR/content
lab_program_files 5M "$raw"
lab_filled "$LAB_NAME" vda qcow2 "$raw"
lab_domain "$LAB_NAME" vda:qcow2:5M
set=$LAB_DIR/set scratch=$LAB_DIR/scratch
mkdir -m 711 "$scratch"
checkpoints() { lab_virsh checkpoint-list --name "$LAB_NAME" | grep -c nbdpull; }

for attempt in 1 2; do # into a new set, then into one with a point
    np_start_slow "$LAB_NAME" "$set" --scratch-dir "$scratch"
    np_kill_both
    lab_virsh backup-dumpxml "$LAB_NAME" | grep -q "$scratch" || lab_fail "the job ended by itself"
    np_backup "$LAB_NAME" -l full -o "$set" --scratch-dir "$scratch"
    np_said 'did not come to its end: its job, .* gone now'
    lab_virsh backup-dumpxml "$LAB_NAME" >/dev/null 2>&1 && lab_fail "$attempt: a job stayed"
    [ "$(checkpoints)" -eq 1 ] || lab_fail "$attempt: checkpoints $(checkpoints)"
    [ -z "$(ls -A "$scratch")" ] || lab_fail "$attempt: left in $scratch: $(ls -A "$scratch")"
    rm -rf "$LAB_DIR/out"
    np 0 restore -i "$set" -o "$LAB_DIR/out"
    lab_same "$LAB_DIR/out/vda.qcow2" "$raw"
done

# Something foreign in the directory of socket and scratch: it stays, that is said, and no later run is stopped by
# it. Once it is gone the next run removes the directory.
np_start_slow "$LAB_NAME" "$set" --scratch-dir "$scratch"
touch "$(echo "$scratch"/nbdpull-*)/foreign"
np_wait 0
NP_ERR=$LAB_DIR/tmp/lab.bg.err np_said "warning.*$scratch/nbdpull-"
rm "$scratch"/nbdpull-*/foreign
np_backup "$LAB_NAME" -l full -o "$set" --scratch-dir "$scratch"
[ -z "$(ls -A "$scratch")" ] || lab_fail "left in $scratch: $(ls -A "$scratch")"
np_start_slow "$LAB_NAME" "$set" --scratch-dir "$scratch"
touch "$(echo "$scratch"/nbdpull-*)/foreign"
np_kill_both
np_backup "$LAB_NAME" -l full -o "$set" --scratch-dir "$scratch"
np_said "warning.*$scratch/nbdpull-"
[ -e "$(echo "$scratch"/nbdpull-*/foreign)" ] || lab_fail "a foreign file was removed"
np_backup "$LAB_NAME" -l full -o "$set" --scratch-dir "$scratch"
[ ! -s "$NP_ERR" ] || lab_fail "it goes on saying: $(cat "$NP_ERR")"
