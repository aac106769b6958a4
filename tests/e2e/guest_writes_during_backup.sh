#!/bin/bash
# The guest overwrites, zeroes and discards its whole disk during the pull: restored is the moment the job began.
# labs: system session
# long labs: session
. "$(dirname "$0")/lab.sh"
lab_start

raw=$LAB_DIR/content
lab_program_files 10M "$raw"
truncate -s 48M "$raw"
lab_filled "$LAB_NAME" vda qcow2 "$raw"
lab_domain "$LAB_NAME" vda:qcow2:48M vdb:raw:8M
lab_io "$LAB_NAME" vda "write -P 0x11 0 64k" "write -P 0x12 47M 1M"
lab_io "$LAB_NAME" vdb "write -P 0x21 0 8M"
lab_truth "$LAB_NAME" vda "$LAB_DIR/truth.vda"
lab_truth "$LAB_NAME" vdb "$LAB_DIR/truth.vdb"

np_start_slow "$LAB_NAME" "$LAB_DIR/set"
lab_io "$LAB_NAME" vdb "write -P 0x99 0 8M"
lab_io "$LAB_NAME" vda "write -P 0x91 40M 7M" "write -z 30M 2M" "write -z -u 28M 2M" "discard 24M 4M" \
    "write -P 0x92 100k 10M" "write -P 0x93 32M 1M" "write -P 0x94 0 1k"
np_is_pulling "$LAB_DIR/set" "$LAB_NAME" || lab_fail "the job was over before the guest had written"
lab_truth "$LAB_NAME" vda "$LAB_DIR/after.vda"
cmp -s "$LAB_DIR/truth.vda" "$LAB_DIR/after.vda" && lab_fail "the guest wrote nothing"
np_wait 0

np 0 restore -i "$LAB_DIR/set" -o "$LAB_DIR/out"
lab_same "$LAB_DIR/out/vda.qcow2" "$LAB_DIR/truth.vda"
lab_same "$LAB_DIR/out/vdb.qcow2" "$LAB_DIR/truth.vdb"
lab_truth "$LAB_NAME" vda "$LAB_DIR/end.vda"
cmp "$LAB_DIR/after.vda" "$LAB_DIR/end.vda" || lab_fail "the backup changed the guest's disk"
