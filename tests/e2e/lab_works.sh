#!/bin/bash
# The laboratory itself: what lab_io writes is there, what differs is found, what is left behind is noticed.
# labs: embed system session
. "$(dirname "$0")/lab.sh"
lab_start

lab_domain "$LAB_NAME" vda:qcow2:8M sdb:raw:4M sdc:cdrom
lab_io "$LAB_NAME" vda "write -P 0x11 1M 1M" "write -z 1500k 4k" "write -P 0x22 7M 64k"
lab_io "$LAB_NAME" sdb "write -P 0x33 1M 512"
lab_holds "$LAB_NAME" vda "-P 0x11 1M 400k"
lab_holds "$LAB_NAME" vda "-P 0 1500k 4k"
(lab_holds "$LAB_NAME" vda "-P 0x11 1M 2M") 2>/dev/null && lab_fail "lab_holds found what is not there"
(lab_io "$LAB_NAME" vda "write -P 0x11 9M 64k") 2>/dev/null && lab_fail "lab_io wrote beyond the end"

truth=$LAB_DIR/tmp/truth
lab_truth "$LAB_NAME" vda "$truth"
cp "$LAB_DIR/$LAB_NAME.vda.qcow2" "$LAB_DIR/copy.qcow2"
lab_same "$LAB_DIR/copy.qcow2" "$truth"
lab_io "$LAB_NAME" vda "write -P 0x23 7M 1"
cp "$LAB_DIR/$LAB_NAME.vda.qcow2" "$LAB_DIR/copy.qcow2"
(lab_same "$LAB_DIR/copy.qcow2" "$truth") >/dev/null 2>&1 && lab_fail "lab_same does not see one byte"

lab_remember
lab_unchanged
: >"$LAB_DIR/left"
(lab_unchanged) 2>/dev/null && lab_fail "lab_unchanged does not see a file"
rm "$LAB_DIR/left"
echo "<domaincheckpoint><name>foreign</name><disks><disk name='sdb' checkpoint='no'/></disks></domaincheckpoint>" \
    >"$LAB_DIR/tmp/lab.xml"
lab_virsh checkpoint-create "$LAB_NAME" "$LAB_DIR/tmp/lab.xml" >/dev/null || lab_fail "no checkpoint"
(lab_unchanged) 2>/dev/null && lab_fail "lab_unchanged does not see a checkpoint"
exit 0
