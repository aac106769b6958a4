#!/bin/bash
# The file system of an image is mounted again, by another device number: the image is the same, and its bitmap is used.
# labs: embed
. "$(dirname "$0")/lab.sh"
lab_start
lab_need qemu-io

place=$LAB_DIR/images set=$LAB_DIR/set
image=$place/vda.qcow2
lab_small_place 32M "$place"
qemu-img create -q -f qcow2 "$image" 8M
echo "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='$image'/>
    <target dev='vda' bus='virtio'/></disk>" >"$LAB_DIR/vda.xml"
lab_domain --off "$LAB_NAME" "vda:xml:$LAB_DIR/vda.xml"
qemu-io -f qcow2 -c "write -P 0x11 1M 1M" "$image" >/dev/null
np_backup "$LAB_NAME" -l full -o "$set"
qemu-io -f qcow2 -c "write -P 0x12 5M 64k" "$image" >/dev/null

before=$(stat -c "%d %i" "$image")
lab_small_place 32M "$LAB_DIR/again"
cp "$image" "$LAB_DIR/again/vda.qcow2"
mount --bind "$LAB_DIR/again" "$place" || lab_fail "cannot mount $place again"
LAB_MOUNTS=("$place" "${LAB_MOUNTS[@]}")
after=$(stat -c "%d %i" "$image")
[ "${before% *}" != "${after% *}" ] && [ "${before#* }" = "${after#* }" ] ||
    lab_fail "not the case to be tested: device and inode $before, then $after"
np_backup "$LAB_NAME" -l inc -o "$set" --require-bitmap
np 0 restore -i "$set" -o "$LAB_DIR/out"
qemu-img convert -O raw "$image" "$LAB_DIR/tmp/truth"
lab_same "$LAB_DIR/out/vda.qcow2" "$LAB_DIR/tmp/truth"
