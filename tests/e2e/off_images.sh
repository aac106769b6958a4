#!/bin/bash
# What a guest that is off may have become behind the back: QEMU killed, images swapped, an overlay, a saved memory, a
# lost checkpoint. Each is followed by an increment that is exact and says why, and then by one by bitmap. Estimate and
# threshold change nothing; what cannot be read while the guest is off is refused.
# labs: system embed
# long labs: embed
. "$(dirname "$0")/lab.sh"
lab_start

lab_domain "$LAB_NAME" vda:qcow2:8M vdb:qcow2:8M
set=$LAB_DIR/set
vda=$(lab_image "$LAB_NAME" vda)
vdb=$(lab_image "$LAB_NAME" vdb)
backup=(-c "$LAB_URI" -d "$LAB_NAME" -o "$set")
is_off() { [ "$(lab_virsh "domstate $LAB_NAME")" = "shut off" ]; }
off()
{
    lab_virsh "destroy $LAB_NAME --graceful" >/dev/null 2>&1
    lab_eventually "the guest is off" is_off
}
write() { qemu-io -f qcow2 -c "write -P $2" "$1" >/dev/null || lab_fail "qemu-io $*"; }

# exact HOW-OF-VDA HOW-OF-VDB [WHY-OF-VDA]: an increment, restored and compared.
count=0
exact()
{
    local target
    count=$((count + 1))
    for target in vda vdb; do
        lab_truth "$LAB_NAME" $target "$LAB_DIR/tmp/truth.$target"
    done
    np 0 backup "${backup[@]}" -l inc --json
    [ "$(jq -r '[.disks[].how] | join(" ")' "$NP_OUT")" = "$1 $2" ] || lab_fail "$count: not $1 $2: $(cat "$NP_OUT")"
    [[ $(jq -r '.disks[0].why' "$NP_OUT") == *"${3:-}"* ]] || lab_fail "$count: why: $(cat "$NP_OUT")"
    np 0 restore -i "$set" -o "$LAB_DIR/out.$count" --format raw
    for target in vda vdb; do
        lab_same "$LAB_DIR/out.$count/$target.raw" "$LAB_DIR/tmp/truth.$target"
    done
    rm -r "$LAB_DIR/out.$count"
}

lab_io "$LAB_NAME" vda "write -P 0x11 0 4M"
lab_io "$LAB_NAME" vdb "write -P 0x21 1M 4M"
np_backup "$LAB_NAME" -l full -o "$set"
off

# Estimates: what is dirty, and nothing else happens. Less than the threshold: skipped.
write "$vda" "0x12 1M 128k"
lab_remember
np 0 estimate "${backup[@]}" -l inc --json
jq -e '[.levels[0].disks[] | .how, .to_read_bytes] == ["bitmap", 131072, "bitmap", 0]' "$NP_OUT" >/dev/null ||
    lab_fail "estimate: $(cat "$NP_OUT")"
np 0 estimate "${backup[@]}" --exact --json
jq -e '.levels[1].disks[0] | .to_read_bytes == 131072 and .source == "extents"' "$NP_OUT" >/dev/null ||
    lab_fail "estimate --exact: $(cat "$NP_OUT")"
lab_unchanged estimate
np 3 backup "${backup[@]}" -l inc --threshold 1M
np_refuses 1 'is off.*quiesce' backup "${backup[@]}" -l inc --quiesce require
[ "$(np_points "$set")" = 0001 ] || lab_fail "a point below the threshold"
exact bitmap bitmap

# A saved memory: the point says so, the guest goes on from it, and the chain too.
lab_virsh "start $LAB_NAME --paused; managedsave $LAB_NAME" >/dev/null || lab_fail "managedsave"
exact bitmap bitmap
[ "$("$NBDPULL" dump -i "$set" --json | jq -r '.points[-1].guest')" = saved ] || lab_fail "the point is not saved"
has_saved() { [[ $(lab_virsh "dominfo $LAB_NAME") == *"Managed save:   $1"* ]]; }
has_saved yes || lab_fail "the saved memory is gone"
lab_virsh "start $LAB_NAME" >/dev/null || lab_fail "the guest does not go on"
has_saved no || lab_fail "it did not go on from the saved memory"
lab_io "$LAB_NAME" vda "write -P 0x13 2M 64k"
exact bitmap bitmap

# QEMU killed: its bitmaps were left open.
pid=$(pgrep -f "guest=$LAB_NAME," | head -n 1)
lab_io "$LAB_NAME" vdb "write -P 0x22 3M 64k"
kill -9 "$pid"
lab_eventually "the guest is off" is_off
exact scan scan 'lost or not usable'
exact bitmap bitmap
[ "$(qemu-img info --output=json "$vda" | jq '."format-specific".data.bitmaps | length')" -eq 2 ] ||
    lab_fail "bitmaps: $(qemu-img info "$vda")"

# Images swapped under the domain.
mv "$vda" "$LAB_DIR/swap"
mv "$vdb" "$vda"
mv "$LAB_DIR/swap" "$vdb"
exact scan scan 'another one'
exact bitmap bitmap

# An overlay under the same name: the bitmap below it is not enough.
mv "$vda" "$LAB_DIR/below.qcow2"
qemu-img create -q -f qcow2 -b "$LAB_DIR/below.qcow2" -F qcow2 "$vda"
write "$vda" "0x14 5M 64k"
exact scan bitmap 'another one'
exact bitmap bitmap

# libvirt has lost its checkpoints: the bitmaps are in the images.
for name in $(lab_virsh checkpoint-list --name "$LAB_NAME"); do
    lab_virsh "checkpoint-delete $LAB_NAME $name --metadata" >/dev/null
done
write "$vda" "0x15 6M 64k"
exact bitmap bitmap
lab_virsh "start $LAB_NAME --paused" >/dev/null
lab_io "$LAB_NAME" vda "write -P 0x16 7M 4k"
exact bitmap bitmap
off

# A backing image of no known format, and disks that only QEMU can read.
mv "$vdb" "$LAB_DIR/below2.qcow2"
qemu-img create -q -f qcow2 -b "$LAB_DIR/below2.qcow2" -F qcow2 "$vdb"
at=$(LC_ALL=C grep -obUaP -m 1 '\xE2\x79\x2A\xCA' "$vdb" | head -n 1 | cut -d : -f 1)
printf '\1\2\3\4' | dd of="$vdb" bs=1 seek="$at" conv=notrunc status=none # as an older qemu-img left it
np_refuses 1 'vdb.*format' backup "${backup[@]}" -l inc
cat >"$LAB_DIR/net.xml" <<EOF
<disk type='network' device='disk'><driver name='qemu' type='raw'/><source protocol='nbd' name='x'>
  <host name='127.0.0.1' port='10809'/></source><target dev='vdb' bus='virtio'/></disk>
EOF
lab_domain --off "$LAB_NAME-net" vda:qcow2:1M "vdb:xml:$LAB_DIR/net.xml"
np_refuses 1 'vdb.*network.*start' estimate -c "$LAB_URI" -d "$LAB_NAME-net" -l full
np_refuses 1 'cannot start domain.*paused, to read its disks' backup -c "$LAB_URI" -d "$LAB_NAME-net" -l full \
    -o "$LAB_DIR/net"
np 0 backup -c "$LAB_URI" -d "$LAB_NAME-net" -l full -o "$LAB_DIR/net" -x vdb
