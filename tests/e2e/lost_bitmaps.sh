#!/bin/bash
# libvirt has lost the checkpoints, their bitmaps are in the images: `checkpoints` names them, and --remove removes
# them, whether the guest is off or runs, or says which stay. Nobody else's goes.
# labs: system embed
# long labs: embed
. "$(dirname "$0")/lab.sh"
lab_start

lab_domain "$LAB_NAME" vda:qcow2:8M vdb:qcow2:8M
set=$LAB_DIR/set
vda=$(lab_image "$LAB_NAME" vda)
vdb=$(lab_image "$LAB_NAME" vdb)
domain=(-c "$LAB_URI" -d "$LAB_NAME")
lab_io "$LAB_NAME" vda "write -P 0x11 0 4M"

# bitmaps IMAGE, all that it has
bitmaps() { qemu-img info -U --output=json "$1" | jq -r '.["format-specific"].data.bitmaps[]?.name' | sort; }
no_bitmaps()
{
    local image
    for image in "$vda" "$vdb"; do
        [ -z "$(bitmaps "$image")" ] || lab_fail "$1: $image has $(bitmaps "$image")"
    done
}
is_off() { [ "$(lab_virsh "domstate $LAB_NAME")" = "shut off" ]; }
off() { lab_virsh "destroy $LAB_NAME --graceful" >/dev/null 2>&1; lab_eventually "the guest is off" is_off; }
on() { lab_virsh "start --paused $LAB_NAME" >/dev/null || lab_fail "start"; }
checkpoints() { lab_virsh "checkpoint-list $LAB_NAME --name" | sed '/^$/d' | sort; }
# lose: have libvirt forget the checkpoints; their names are in $lost
lose()
{
    local name
    lost=$(checkpoints)
    [ -n "$lost" ] || lab_fail "no checkpoint: this test tests nothing"
    for name in $lost; do
        lab_virsh "checkpoint-delete $LAB_NAME $name --metadata" >/dev/null || lab_fail "metadata of $name"
    done
    [ -z "$(checkpoints)" ] || lab_fail "not lost: $(checkpoints)"
}

# Off. One that libvirt knows goes along; names that begin alike, and others, stay.
np_backup "$LAB_NAME" -l full -o "$set"
np_backup "$LAB_NAME" -l inc -o "$set"
lose
np_backup "$LAB_NAME" -l full -o "$LAB_DIR/other"
off
[ "$(bitmaps "$vda" | wc -l)" -eq 3 ] || lab_fail "bitmaps: $(bitmaps "$vda")"
qemu-img snapshot -c before "$vda"
qemu-img bitmap --add "$vda" nbdpull-mine
qemu-img bitmap --add "$vda" foreign
np 0 checkpoints "${domain[@]}"
[ "$(grep -c '(libvirt has lost it, its bitmap is left)$' "$NP_OUT")" -eq 2 ] || lab_fail "list: $(cat "$NP_OUT")"
[ "$(wc -l <"$NP_OUT")" -eq 3 ] || lab_fail "list: $(cat "$NP_OUT")"
np 0 checkpoints "${domain[@]}" --json
[ "$(jq -r '.lost[]' "$NP_OUT" | sort)" = "$lost" ] || lab_fail "list: $(cat "$NP_OUT")"
np 0 checkpoints "${domain[@]}" --remove --json
jq -e '.removed == 3 and (.lost | length) == 2 and (.checkpoints | length) == 1' "$NP_OUT" >/dev/null ||
    lab_fail "remove: $(cat "$NP_OUT")"
[ "$(bitmaps "$vda" | tr '\n' ' ')" = "foreign nbdpull-mine " ] || lab_fail "bitmaps: $(bitmaps "$vda")"
[ -z "$(bitmaps "$vdb")" ] || lab_fail "bitmaps: $(bitmaps "$vdb")"
qemu-img bitmap --remove "$vda" nbdpull-mine
qemu-img bitmap --remove "$vda" foreign
np 0 checkpoints "${domain[@]}" --remove --json
jq -e '.removed == 0 and .lost == []' "$NP_OUT" >/dev/null || lab_fail "none: $(cat "$NP_OUT")"

qemu-img snapshot -a before "$vda" || lab_fail "it cannot be reverted to its snapshot"

# It runs, and no image has seen its bitmaps yet.
on
np_backup "$LAB_NAME" -l full -o "$set"
lose
np 0 checkpoints "${domain[@]}"
[ ! -s "$NP_OUT" ] || lab_fail "a list while it runs: $(cat "$NP_OUT")"
np 0 checkpoints "${domain[@]}" --remove --json
[ "$(jq -r '.lost[]' "$NP_OUT" | sort)" = "$lost" ] || lab_fail "live: $(cat "$NP_OUT")"
[ -z "$(checkpoints)" ] || lab_fail "live: libvirt has $(checkpoints)"
off
no_bitmaps live

# It runs again, with a bitmap that is closed in one image and left open in the other.
on
np_backup "$LAB_NAME" -l full -o "$set"
lose
off
cp "$vda" "$LAB_DIR/tmp/vda.closed"
on
pid=$(find "$LAB_DIR" /run/libvirt/qemu -name "$LAB_NAME.pid" 2>/dev/null | head -n 1)
kill -9 "$(cat "$pid")" || lab_fail "no QEMU"
lab_eventually "the guest is off" is_off
cp "$LAB_DIR/tmp/vda.closed" "$vda"
on
np 0 checkpoints "${domain[@]}" --remove
off
no_bitmaps "live, one was left open"

# The image of a disk is away: said.
on
np_backup "$LAB_NAME" -l full -o "$set"
lose
off
mv "$vdb" "$LAB_DIR/tmp/away"
np 0 checkpoints "${domain[@]}"
grep -q "^$lost " "$NP_OUT" || lab_fail "list: $(cat "$NP_OUT")"
np 1 checkpoints "${domain[@]}" --remove
grep -q "^nbdpull: bitmap $lost.* disk vdb: " "$NP_ERR" || lab_fail "it says: $(cat "$NP_ERR")"
mv "$LAB_DIR/tmp/away" "$vdb"
np 0 checkpoints "${domain[@]}" --remove
no_bitmaps "the image is there again"
mv "$vdb" "$LAB_DIR/tmp/away"
np_refuses 1 "disk vdb: cannot look for bitmaps" checkpoints "${domain[@]}" --remove
mv "$LAB_DIR/tmp/away" "$vdb"

# The next increment is exact.
on
lab_io "$LAB_NAME" vda "write -P 0x12 1M 64k"
lab_truth "$LAB_NAME" vda "$LAB_DIR/truth"
np_backup "$LAB_NAME" -l inc -o "$set"
np 0 restore -i "$set" -o "$LAB_DIR/out"
lab_same "$LAB_DIR/out/vda.qcow2" "$LAB_DIR/truth"

# libvirt makes the bitmaps of an overlay, of one chain with those below: they go together, and only while it runs.
lose
lab_virsh "snapshot-create-as $LAB_NAME --disk-only --no-metadata --diskspec vda,file=$LAB_DIR/over.qcow2 \
    --diskspec vdb,snapshot=no" >/dev/null || lab_fail "snapshot"
off
[ "$(bitmaps "$vda") $(bitmaps "$LAB_DIR/over.qcow2")" = "$lost $lost" ] || lab_fail "this test tests nothing"
np_refuses 1 "bitmap $lost.* vda: .*deferred until the domain runs" checkpoints "${domain[@]}" --remove
on
np 0 checkpoints "${domain[@]}" --remove
off
no_bitmaps "below an overlay"
[ -z "$(bitmaps "$LAB_DIR/over.qcow2")" ] || lab_fail "the overlay has $(bitmaps "$LAB_DIR/over.qcow2")"

# One that only a backing image has may be that of another guest of the same image.
qemu-img bitmap --add "$vda" nbdpull-0123456789ab-0001-01234567
stays="bitmap nbdpull-0123456789ab-0001-01234567, whose checkpoint libvirt has lost, stays: it is in a backing image"
np 0 checkpoints "${domain[@]}" --remove
grep -q "$stays" "$NP_ERR" || lab_fail "off: $(cat "$NP_ERR")"
on
np 0 checkpoints "${domain[@]}" --remove
grep -q "$stays" "$NP_ERR" || lab_fail "live: $(cat "$NP_ERR")"
off
[ "$(bitmaps "$vda")" = nbdpull-0123456789ab-0001-01234567 ] || lab_fail "the backing image: $(bitmaps "$vda")"

# Nor is what another domain knows, which has the same image as its disk, lost; nor what is in an image that is only read.
np 0 checkpoints "${domain[@]}" --remove
on
np_backup "$LAB_NAME" -l full -o "$LAB_DIR/shared"
off
own=$(bitmaps "$vdb")
[ -n "$own" ] || lab_fail "no bitmap in vdb"
for how in '' '<readonly/>'; do
    cat >"$LAB_DIR/tmp/rescue.xml" <<XML
<domain type='qemu'><name>$LAB_NAME-rescue</name><memory unit='MiB'>16</memory><os><type>hvm</type></os><devices>
  <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='$vdb'/><target dev='vda' bus='virtio'/>$how</disk>
</devices></domain>
XML
    lab_virsh define "$LAB_DIR/tmp/rescue.xml" >/dev/null || lab_fail "no other domain"
    np 0 checkpoints -c "$LAB_URI" -d "$LAB_NAME-rescue"
    [ ! -s "$NP_OUT" ] || lab_fail "it lists another domain's: $(cat "$NP_OUT")"
    np 0 checkpoints -c "$LAB_URI" -d "$LAB_NAME-rescue" --remove
    [ "$(bitmaps "$vdb")" = "$own" ] || lab_fail "another domain's bitmaps: $(bitmaps "$vdb"), not $own"
    lab_virsh undefine "$LAB_NAME-rescue" >/dev/null || lab_fail "the other domain stays"
done
exit 0
