#!/bin/bash
# A real guest shuts down by itself in the middle of a backup: no point, and the next increments, off and on, go by bitmap
# and are exact. libvirt 9.0 then waits 30 s for each of the guest's virtio ports that somebody in it had open:
# NBDPULL_PORTS_OPEN leaves them so.
# labs: system
# cost: 25
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
        lab_truth "$LAB_NAME" $target "$LAB_DIR/truth.$target"
        lab_same "$LAB_DIR/out$1/$target.qcow2" "$LAB_DIR/truth.$target"
    done
}

# Told by a sector of vdb, when the agent is gone and the shell has closed its port.
down='echo written while the backup ran >/vda/during; sync; umount /vda; poweroff -f'
told='[ $(dd if=/dev/vdb bs=512 skip=2048 count=1 iflag=direct 2>/dev/null | tr -d s | wc -c) -eq 0 ]'
if [ -z "${NBDPULL_PORTS_OPEN:-}" ]; then
    guest_shell "$LAB_NAME" "(until $told; do usleep 50000; done; $down) </dev/null 3<&- & kill \$(pidof qemu-ga); kill -9 \$PPID; exec </dev/null 3<&-"
    lab_eventually "the agent is gone" guest_agent_is_gone "$LAB_NAME"
fi

np_backup "$LAB_NAME" -l full -o "$set"
np_start backup -c "$LAB_URI" -d "$LAB_NAME" -l full -o "$set" --bwlimit 1M
lab_eventually "the job begins" np_is_pulling "$set" "$LAB_NAME"
if [ -z "${NBDPULL_PORTS_OPEN:-}" ]; then
    lab_io "$LAB_NAME" vdb "write -P 0x73 1M 512"
else
    guest_shell "$LAB_NAME" "$down"
fi
np_wait 1
lab_eventually "the guest is off" is_off
flock "$set/lock" true # what the run could not know, its guardian puts right
[ "$(np_points "$set")" = 0001 ] || lab_fail "points: $(np_points "$set")"
exact 2
grep -q -a 'written while the backup ran' "$LAB_DIR/truth.vda" || lab_fail "the guest did not write"
lab_virsh "start $LAB_NAME --paused" >/dev/null || lab_fail "start"
lab_io "$LAB_NAME" vdb "write -P 0x31 1M 64k"
exact 3
[ "$(lab_virsh "checkpoint-list --name $LAB_NAME" | grep -c nbdpull)" -eq 2 ] || lab_fail "checkpoints"
