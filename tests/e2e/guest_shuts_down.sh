#!/bin/bash
# A real guest shuts down by itself in the middle of a backup: no point, and the next increments, off and on, go by bitmap
# and are exact.
# labs: system
. "$(dirname "$0")/lab.sh"
. "$(dirname "$0")/guest.sh"
lab_start

lab_program_files 16M "$LAB_DIR/content"
lab_filled "$LAB_NAME" vdb qcow2 "$LAB_DIR/content"
lab_guest "$LAB_NAME" vda:qcow2:64M vdb:qcow2:16M
set=$LAB_DIR/set
is_off() { [ "$(lab_virsh "domstate $LAB_NAME")" = "shut off" ]; }

# exact N: an increment by bitmap of both disks, restored and compared.
exact()
{
    local target
    np_backup "$LAB_NAME" -l inc -o "$set" --require-bitmap
    np 0 restore -i "$set" -o "$LAB_DIR/out$1"
    for target in vda vdb; do
        lab_truth "$LAB_NAME" $target "$LAB_DIR/truth"
        lab_same "$LAB_DIR/out$1/$target.qcow2" "$LAB_DIR/truth"
    done
}

np_backup "$LAB_NAME" -l full -o "$set"
np_start backup -c "$LAB_URI" -d "$LAB_NAME" -l full -o "$set" --bwlimit 1M
lab_eventually "the job begins" np_is_pulling "$set" "$LAB_NAME"
guest_write "$LAB_NAME" /vda/during "written while the backup ran"
guest_sync "$LAB_NAME"
guest_shell "$LAB_NAME" 'umount /vda; poweroff -f'
np_wait 1
lab_eventually "the guest is off" is_off
flock "$set/lock" true # what the run could not know, its guardian puts right
[ "$(np_points "$set")" = 0001 ] || lab_fail "points: $(np_points "$set")"
exact 2
lab_virsh "start $LAB_NAME --paused" >/dev/null || lab_fail "start"
lab_io "$LAB_NAME" vdb "write -P 0x31 1M 64k"
exact 3
[ "$(lab_virsh "checkpoint-list --name $LAB_NAME" | grep -c nbdpull)" -eq 2 ] || lab_fail "checkpoints"
