#!/bin/bash
# A raw disk, and disks whose images stand on backing files: the guest's view is what is restored.
# labs: embed system
. "$(dirname "$0")/lab.sh"
lab_start

# Two layers below vdb; the overlay hides a part of the lower, and its size is larger than theirs.
base=$LAB_DIR/base.raw
lab_random 6M "$base"
qemu-img create -q -f qcow2 -b "$base" -F raw "$LAB_DIR/middle.qcow2" 8M
qemu-io -f qcow2 -c "write -P 0x55 1M 1M" -c "write -z 3M 1M" "$LAB_DIR/middle.qcow2" >/dev/null
lab_domain "$LAB_NAME" vda:raw:20M "vdb:qcow2:12M:backing_file=$LAB_DIR/middle.qcow2,backing_fmt=qcow2" \
    vdc:raw:1049088 vdd:qcow2:4M:compat=0.10
lab_io "$LAB_NAME" vda "write -P 0x11 0 1M" "write -P 0x12 19M 1M" "write -z 5M 1M"
lab_io "$LAB_NAME" vdb "write -P 0x66 0 100k" "write -P 0x67 11M 512" "write -z -u 4M 64k"
lab_io "$LAB_NAME" vdc "write -P 0x13 1049087 1"
lab_io "$LAB_NAME" vdd "write -P 0x14 2M 64k"

# vdd is a qcow2 of version 2, which holds no bitmap, and vda and vdc are raw: no checkpoint for them.
LAB_BACKUP=(-l copy)
lab_round_trip "$LAB_NAME" vda vdb vdc vdd
LAB_BACKUP=(-l full -x vdd)
lab_round_trip "$LAB_NAME" vda vdb vdc
checkpoint=$(lab_virsh checkpoint-list --name "$LAB_NAME" | sed -n '1p')
[ -n "$checkpoint" ] || lab_fail "no checkpoint for vdb"
in_it=$(lab_virsh checkpoint-dumpxml "$LAB_NAME" "$checkpoint" |
    sed -n "/<domain /,/<\/domain>/d; s/.*<disk name='\([a-z]*\)' checkpoint='bitmap'.*/\1/p" | tr '\n' ' ')
[ "$in_it" = "vdb " ] || lab_fail "in the checkpoint: $in_it"
[ "$(qemu-img info --output=json "$LAB_DIR/restored/vdb.qcow2" | jq 'has("backing-filename")')" = false ] ||
    lab_fail "the restored vdb needs a backing file"

# A disk that others may write to is stored, and named.
qemu-img create -q -f raw "$LAB_DIR/shared.raw" 1M
echo "<disk type='file' device='disk'><driver name='qemu' type='raw' cache='none'/><source file='$LAB_DIR/shared.raw'/>
    <target dev='vda' bus='virtio'/><shareable/></disk>" >"$LAB_DIR/shared.xml"
lab_domain "$LAB_NAME-shared" "vda:xml:$LAB_DIR/shared.xml" vdb:qcow2:1M
np_backup "$LAB_NAME-shared" -l full -o "$LAB_DIR/shared"
[ "$(grep -c 'warning: disk vda is shareable' "$NP_ERR")" -eq 1 ] || lab_fail "of a shareable disk: $(cat "$NP_ERR")"
np_backup "$LAB_NAME-shared" -l inc -o "$LAB_DIR/shared" -x vda
grep -q shareable "$NP_ERR" && lab_fail "of a shareable disk that is left out: $(cat "$NP_ERR")"
exit 0
