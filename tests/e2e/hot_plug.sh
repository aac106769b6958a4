#!/bin/bash
# A disk is plugged in while the guest runs and its chain is there: the next increment is a full of that disk and a bitmap
# increment of the others, in one point; from then on it goes by its bitmap too. All points are exact.
# labs: embed system
. "$(dirname "$0")/lab.sh"
lab_start

set=$LAB_DIR/set
lab_domain "$LAB_NAME" vda:qcow2:8M hda:cdrom # on a machine whose bus takes disks while it runs
lab_io "$LAB_NAME" vda "write -P 0x11 1M 2M"
np_backup "$LAB_NAME" -l full -o "$set"
lab_truth "$LAB_NAME" vda "$LAB_DIR/vda.1"

lab_disk_xml "$LAB_NAME" vdb qcow2 3000320 "" >"$LAB_DIR/vdb.xml"
LAB_IMAGE[$LAB_NAME/vdb]=$LAB_DIR/$LAB_NAME.vdb.qcow2 LAB_FORMAT[$LAB_NAME/vdb]=qcow2
lab_virsh "attach-device $LAB_NAME $LAB_DIR/vdb.xml --live" >/dev/null || lab_fail "attach-device"
lab_io "$LAB_NAME" vda "write -P 0x12 2M 64k" "discard 1M 64k"
lab_io "$LAB_NAME" vdb "write -P 0x21 64k 1M"

# point N HOW-OF-VDA HOW-OF-VDB
point()
{
    local how
    lab_truth "$LAB_NAME" vda "$LAB_DIR/vda.$1"
    lab_truth "$LAB_NAME" vdb "$LAB_DIR/vdb.$1"
    np_backup "$LAB_NAME" -l inc -o "$set" --json
    how=$(jq -r '[.disks[] | select(.stored) | .how] | join(" ")' "$NP_OUT")
    [ "$how" = "$2 $3" ] || lab_fail "point $1: $how: $(jq -c '[.disks[].why]' "$NP_OUT")"
}
point 2 bitmap all
lab_io "$LAB_NAME" vda "write -P 0x13 7M 512"
lab_io "$LAB_NAME" vdb "write -z 64k 64k" "write -P 0x22 2999808 512"
point 3 bitmap bitmap

for n in 1 2 3; do
    np 0 restore -i "$set" -o "$LAB_DIR/out$n" --until $n
    lab_same "$LAB_DIR/out$n/vda.qcow2" "$LAB_DIR/vda.$n"
    [ $n -eq 1 ] || lab_same "$LAB_DIR/out$n/vdb.qcow2" "$LAB_DIR/vdb.$n"
done
[ ! -e "$LAB_DIR/out1/vdb.qcow2" ] || lab_fail "a disk of a later point"
