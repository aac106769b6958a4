#!/bin/bash
# kill -9 in the middle of the pull: without any further run nothing is left but the points that were there.
# labs: system session embed
. "$(dirname "$0")/lab.sh"
lab_start

raw=$LAB_DIR/content
lab_program_files 12M "$raw"
lab_filled "$LAB_NAME" vda qcow2 "$raw"
lab_domain "$LAB_NAME" vda:qcow2:12M vdb:raw:1M
set=$LAB_DIR/set
mkdir -m 711 "$LAB_DIR/scratch"
np_backup "$LAB_NAME" -l full -o "$set"
lab_io "$LAB_NAME" vda "write -P 0x31 1M 1M"
lab_truth "$LAB_NAME" vda "$LAB_DIR/truth"
lab_jobs >"$LAB_DIR/tmp/lab.jobs"
find "$set" "$LAB_DIR/scratch" /var/tmp -mindepth 1 2>/dev/null | sort >"$LAB_DIR/tmp/lab.files"

np_start_slow "$LAB_NAME" "$set" --scratch-dir "$LAB_DIR/scratch"
guardian=$(np_guardian)
kill -9 "$NP_PID"
np_wait 137
lab_eventually "the guardian ends" lab_has_ended "$guardian"
np_said "did not come to its end: its job, .* gone now"
lab_jobs | diff "$LAB_DIR/tmp/lab.jobs" - || lab_fail "a job or a checkpoint stays"
find "$set" "$LAB_DIR/scratch" /var/tmp -mindepth 1 2>/dev/null | sort | diff "$LAB_DIR/tmp/lab.files" - ||
    lab_fail "files stay"

np 0 restore -i "$set" -o "$LAB_DIR/out1"
lab_same "$LAB_DIR/out1/vda.qcow2" "$raw"
np_backup "$LAB_NAME" -l inc -i vda -o "$set" --require-bitmap
[ ! -s "$NP_ERR" ] || lab_fail "the next run says: $(cat "$NP_ERR")"
np 0 restore -i "$set" -d vda -o "$LAB_DIR/out2"
lab_same "$LAB_DIR/out2/vda.qcow2" "$LAB_DIR/truth"
