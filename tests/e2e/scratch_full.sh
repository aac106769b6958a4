#!/bin/bash
# No room for scratch: a refusal that names the place, or, when it fills up later, a backup that is exact.
# labs: system
. "$(dirname "$0")/lab.sh"
lab_start

raw=$LAB_DIR/content
lab_program_files 10M "$raw"
lab_filled "$LAB_NAME" vda qcow2 "$raw"
# Before the domain starts: QEMU does not see what is mounted later.
lab_small_place 300k "$LAB_DIR/tiny"
lab_small_place 2M "$LAB_DIR/small"
lab_domain "$LAB_NAME" vda:qcow2:10M vdb:qcow2:1M

np_refuses 1 "no space.*$LAB_DIR/tiny/nbdpull-.*--scratch-dir" backup -c "$LAB_URI" -d "$LAB_NAME" -l full -o "$LAB_DIR/new" \
    --scratch-dir "$LAB_DIR/tiny"

np_start_slow "$LAB_NAME" "$LAB_DIR/set" --scratch-dir "$LAB_DIR/small"
device=$(lab_device "$LAB_NAME" vda)
for offset in 4M 5M 6M 7M 8M 9M; do # those that do not fit in the scratch fail in the guest
    lab_virsh "qemu-monitor-command $LAB_NAME --hmp 'qemu-io -d $device \"write -P 0x55 $offset 1M\"'" >/dev/null
done
lab_virsh backup-dumpxml "$LAB_NAME" >/dev/null || lab_fail "the job was over before the writes"
np_wait 0
np 0 restore -i "$LAB_DIR/set" -o "$LAB_DIR/out"
lab_same "$LAB_DIR/out/vda.qcow2" "$raw"
[ -z "$(ls -A "$LAB_DIR/small")" ] || lab_fail "left in the scratch directory"
