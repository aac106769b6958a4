#!/bin/bash
# 64 TiB of virtual disk with a little data: time and memory follow the data, not the size.
# labs: system embed
# long labs: embed
. "$(dirname "$0")/lab.sh"
lab_start
lab_need_own_memory

# Clusters of 2 MiB keep the image's own tables small.
lab_domain "$LAB_NAME" vda:qcow2:64T:cluster_size=2M
lab_io "$LAB_NAME" vda "write -P 0x11 0 1M" "write -P 0x22 13T 3M" "write -P 0x33 40000001M 70k" \
    "write -P 0x44 70368744177663 1"

np_measured 65536 60000 backup -c "$LAB_URI" -d "$LAB_NAME" -l full -o "$LAB_DIR/set"
np_measured 65536 60000 restore -i "$LAB_DIR/set" -o "$LAB_DIR/out"
np_measured 65536 60000 dump -i "$LAB_DIR/set" --map
restored=$LAB_DIR/out/vda.qcow2
qemu-img compare -U "$LAB_DIR/$LAB_NAME.vda.qcow2" "$restored" || lab_fail "the restored disk differs"
[ "$(lab_virtual_size "$restored")" = 70368744177664 ] || lab_fail "restored size"
