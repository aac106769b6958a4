#!/bin/bash
# Disks of every awkward shape, all in one job: each comes back byte for byte, and thin.
# labs: embed system session
. "$(dirname "$0")/lab.sh"
lab_start

random=$LAB_DIR/random
lab_random 3215360 "$random"
lab_filled "$LAB_NAME" vdb qcow2 "$random"

# Sizes that are no multiple of a chunk (1 MiB), of a granule (64 KiB), of a page; and smaller than each.
lab_domain "$LAB_NAME" vda:qcow2:5243392 vdb:qcow2:3215360 vdc:qcow2:102400 vdd:qcow2:512 vde:qcow2:8M \
    vdf:qcow2:20M:cluster_size=4096 vdg:qcow2:33554432:preallocation=full sda:qcow2:66048 sdb:cdrom
lab_io "$LAB_NAME" vda "write -P 0xaa 0 1" "write -P 0xbb 5243391 1"
lab_io "$LAB_NAME" vdd "write -P 0xcc 511 1"
# Zeroes that were written, by data and by command, are zeroes; so is what was written and thrown away.
lab_io "$LAB_NAME" vde "write -P 0 0 2M" "write -z 3M 1M" "write -P 0x44 5M 1M" "discard 5M 1M"
writes=()
for ((i = 0; i < 60; i++)); do
    writes+=("write -P 0x$((i % 9 + 1))1 $((i * 340 + i % 7))k 4k")
done
lab_io "$LAB_NAME" vdf "${writes[@]}"
lab_io "$LAB_NAME" vdg "write -P 0x77 1048575 2"
lab_io "$LAB_NAME" sda "write -P 0x88 65535 513"

lab_round_trip "$LAB_NAME" vda vdb vdc vdd vde vdf vdg sda

for target in vda vdc vde vdg; do
    used=$(lab_used "$LAB_DIR/restored/$target.qcow2")
    [ "$used" -lt $((1 << 20)) ] || lab_fail "$target takes $used bytes after the restore: not thin"
done
[ ! -e "$LAB_DIR/restored/sdb.qcow2" ] || lab_fail "the empty cdrom was restored"
