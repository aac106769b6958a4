#!/bin/bash
# A set, and a restore's directory, at the root of what is mounted where nothing can be synced, as below an automounter's
# directory. Here such a directory is one of procfs.
# labs: embed
. "$(dirname "$0")/lab.sh"
lab_start
lab_need_root "a mount"
[ "$LAB_ISOLATED" = yes ] || lab_skip "a mount needs a mount namespace"
mkdir "$LAB_DIR/proc"
mount -t proc proc "$LAB_DIR/proc" || lab_fail "cannot mount proc"
LAB_MOUNTS=("$LAB_DIR/proc" "${LAB_MOUNTS[@]}")
set=$LAB_DIR/proc/fs out=$LAB_DIR/proc/bus
for place in "$set" "$out"; do
    mount -t tmpfs -o size=50M tmpfs "$place" || lab_fail "cannot mount $place"
    LAB_MOUNTS=("$place" "${LAB_MOUNTS[@]}")
done

lab_domain "$LAB_NAME" vda:qcow2:2M
lab_io "$LAB_NAME" vda "write -P 0x11 1M 64k"
lab_truth "$LAB_NAME" vda "$LAB_DIR/truth"
np_backup "$LAB_NAME" -l full -o "$set"
np_backup "$LAB_NAME" -l inc -o "$set"
np 0 restore -i "$set" -o "$out"
lab_same "$out/vda.qcow2" "$LAB_DIR/truth"
