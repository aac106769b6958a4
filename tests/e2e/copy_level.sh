#!/bin/bash
# A copy restores like a full, makes no checkpoint, and stands beside fulls in one set.
# labs: system embed
# long labs: embed
. "$(dirname "$0")/lab.sh"
lab_start

lab_domain "$LAB_NAME" vda:qcow2:16M
lab_io "$LAB_NAME" vda "write -P 0x11 1M 3M"
LAB_BACKUP=(-l copy)
lab_round_trip "$LAB_NAME" vda
[ -z "$(lab_virsh checkpoint-list --name "$LAB_NAME")" ] || lab_fail "a copy made a checkpoint"

set=$LAB_DIR/both
lab_truth "$LAB_NAME" vda "$LAB_DIR/first"
np_backup "$LAB_NAME" -l full -o "$set"
checkpoints=$(lab_virsh checkpoint-list --name "$LAB_NAME")
lab_io "$LAB_NAME" vda "write -P 0x22 2M 5M"
lab_truth "$LAB_NAME" vda "$LAB_DIR/second"
np_backup "$LAB_NAME" -l copy -o "$set"
[ "$(lab_virsh checkpoint-list --name "$LAB_NAME")" = "$checkpoints" ] || lab_fail "a copy changed the checkpoints"
[ "$(np_points "$set")" = "0001 0002" ] || lab_fail "points: $(np_points "$set")"

np 0 restore -i "$set" -o "$LAB_DIR/out1" --until 1
lab_same "$LAB_DIR/out1/vda.qcow2" "$LAB_DIR/first"
np 0 restore -i "$set" -o "$LAB_DIR/out2"
lab_same "$LAB_DIR/out2/vda.qcow2" "$LAB_DIR/second"
