#!/bin/bash
# kill -9 in the middle of the pull: no point; the next backup into the set ends the job and clears up.
# labs: system session
. "$(dirname "$0")/lab.sh"
lab_start

raw=$LAB_DIR/content
lab_program_files 32M "$raw"
lab_filled "$LAB_NAME" vda qcow2 "$raw"
lab_domain "$LAB_NAME" vda:qcow2:32M vdb:raw:1M
set=$LAB_DIR/set
mkdir -m 711 "$LAB_DIR/scratch"
np_backup "$LAB_NAME" -l full -o "$set"

np_start_slow "$LAB_NAME" "$set" --scratch-dir "$LAB_DIR/scratch"
kill -9 "$NP_PID"
wait "$NP_PID" 2>/dev/null
[ "$(np_points "$set")" = 0001 ] || lab_fail "points of a killed run: $(np_points "$set")"
lab_virsh backup-dumpxml "$LAB_NAME" >/dev/null || lab_fail "libvirt ended the job by itself: this test tests nothing"
np 0 restore -i "$set" -o "$LAB_DIR/out1"
lab_same "$LAB_DIR/out1/vda.qcow2" "$raw"

lab_io "$LAB_NAME" vda "write -P 0x31 1M 1M"
lab_truth "$LAB_NAME" vda "$LAB_DIR/truth"
np_backup "$LAB_NAME" -l full -o "$set"
lab_virsh backup-dumpxml "$LAB_NAME" >/dev/null 2>&1 && lab_fail "the killed run's job still runs"
[ -z "$(find "$LAB_DIR/scratch" -mindepth 1)" ] || lab_fail "left: $(find "$LAB_DIR/scratch" -mindepth 1)"
[ "$(lab_virsh checkpoint-list --name "$LAB_NAME" | grep -c nbdpull)" -eq 1 ] ||
    lab_fail "checkpoints: $(lab_virsh checkpoint-list --name "$LAB_NAME")"
[ "$(np_points "$set" | wc -w)" -eq 2 ] || lab_fail "points: $(np_points "$set")"
[ "$(find "$set/streams" -type f | wc -l)" -eq 4 ] || lab_fail "streams: $(ls "$set/streams")"
np 0 restore -i "$set" -o "$LAB_DIR/out2"
lab_same "$LAB_DIR/out2/vda.qcow2" "$LAB_DIR/truth"
