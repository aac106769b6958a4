#!/bin/bash
# Disks that come while a backup begins, after they were listed: a point without one of the guest's disks is none. Another
# image of the same disk is what QEMU reads, and exact.
# labs: system
. "$(dirname "$0")/lab.sh"
lab_start
: "${NBDPULL_HOLD:?is the library that holds the begin call}"

set=$LAB_DIR/set out=$LAB_DIR/out
lab_domain "$LAB_NAME" vda:qcow2:8M
lab_io "$LAB_NAME" vda "write -P 0x11 1M 2M"
np_backup "$LAB_NAME" -l full -o "$set"
qemu-img create -q -f qcow2 "$LAB_DIR/b.qcow2" 4M && chmod 666 "$LAB_DIR/b.qcow2" || lab_fail "no image"
export HOLD_BEGIN=$LAB_DIR/tmp/lab.hold
held()
{
    LD_PRELOAD=$NBDPULL_HOLD np_start backup -c "$LAB_URI" -d "$LAB_NAME" -l inc -o "$set"
    lab_eventually "it begins" test -e "$HOLD_BEGIN"
}
goes_on()
{
    rm "$HOLD_BEGIN"
    np_wait "$1"
}

points=$(np_points "$set")
held
lab_virsh attach-disk "$LAB_NAME" "$LAB_DIR/b.qcow2" vdb --driver qemu --subdriver qcow2 --live --config >/dev/null || lab_fail "no disk"
goes_on 1
np_said 'disk vdb was attached while the backup began; run it again'
[ "$(np_points "$set")" = "$points" ] || lab_fail "a point without vdb"
lab_virsh backup-dumpxml "$LAB_NAME" >/dev/null 2>&1 && lab_fail "its job runs on"
[ "$(lab_virsh checkpoint-list --name "$LAB_NAME" | grep -c nbdpull)" -eq 1 ] || lab_fail "its checkpoint stays"
np_backup "$LAB_NAME" -l inc -o "$set"
np 0 restore -i "$set" -o "$out"
[ -e "$out/vdb.qcow2" ] || lab_fail "no vdb"

held
lab_virsh snapshot-create-as "$LAB_NAME" --disk-only --no-metadata --diskspec "vda,file=$LAB_DIR/over.qcow2,snapshot=external" \
    --diskspec vdb,snapshot=no >/dev/null || lab_fail "no snapshot"
LAB_IMAGE[$LAB_NAME/vda]=$LAB_DIR/over.qcow2
lab_io "$LAB_NAME" vda "write -P 0x12 4M 64k"
lab_truth "$LAB_NAME" vda "$LAB_DIR/truth"
goes_on 0
rm -r "$out"
np 0 restore -i "$set" -o "$out"
lab_same "$out/vda.qcow2" "$LAB_DIR/truth"
