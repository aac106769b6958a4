#!/bin/bash
# Disks of a guest that hold nearly the same and are of different sizes, one of which ends within a granule (a clone that was
# grown): the other one's image, brought to the same size, comes to the disk's place. The short granule at the end tells
# nothing, what lies before it does. Each point is exact.
# labs: system
. "$(dirname "$0")/lab.sh"
lab_start

short=$((30 * 1048576 + 512))
lab_random $short "$LAB_DIR/raw"
lab_random 4k "$LAB_DIR/own"

# point HOW-OF-VDA HOW-OF-VDB LEVEL: it restores to what is there.
point()
{
    local want="$1 $2" target
    np_backup "$name" -l "$3" -o "$LAB_DIR/$name" --json
    [ "$(jq -r '[.disks[].how] | join(" ")' "$NP_OUT")" = "$want" ] || lab_fail "not $want: $(cat "$NP_OUT")"
    [[ $want != scan* ]] || grep -q "disk vda: .*content has changed" "$NP_ERR" || lab_fail "it says: $(cat "$NP_ERR")"
    np 0 restore -i "$LAB_DIR/$name" -o "$LAB_DIR/restored" --verify
    for target in vda vdb; do
        lab_truth "$name" $target "$LAB_DIR/truth"
        lab_same "$LAB_DIR/restored/$target.qcow2" "$LAB_DIR/truth"
    done
    rm -r "$LAB_DIR/restored"
}

# replaced SIZE-OF-VDA SIZE-OF-VDB: vdb gets the size of vda, and is copied over it.
replaced()
{
    local vda vdb
    name=$LAB_NAME-$1
    lab_filled "$name" vdb qcow2 "$LAB_DIR/raw"
    cp "$LAB_DIR/raw" "$LAB_DIR/changed"
    dd if="$LAB_DIR/own" of="$LAB_DIR/changed" bs=4k seek=2500 conv=notrunc status=none
    lab_filled "$name" vda qcow2 "$LAB_DIR/changed"
    lab_domain --off "$name" "vda:qcow2:$1" "vdb:qcow2:$2"
    vda=$(lab_image "$name" vda) vdb=$(lab_image "$name" vdb)
    qemu-img resize -q "$vda" "$1" && qemu-img resize -q "$vdb" "$2" || lab_fail "resize"
    point all all full
    point bitmap bitmap inc
    qemu-img resize -q --shrink "$vdb" "$1" || lab_fail "resize to $1"
    cp "$vdb" "$vda"
    point scan "$3" inc
}

# Shrunk within a cluster before the point and grown after it: the rest of the cluster is there again, called clean, vda's own.
cut()
{
    local vda vdb target
    name=$LAB_NAME-cut
    cp "$LAB_DIR/raw" "$LAB_DIR/changed"
    truncate -s 32M "$LAB_DIR/changed"
    dd if=/dev/urandom of="$LAB_DIR/changed" bs=1M seek=30 count=2 conv=notrunc status=none
    for target in vda vdb; do
        qemu-img convert -f raw -O qcow2 -o cluster_size=2M "$LAB_DIR/changed" "$LAB_DIR/$name.$target.qcow2"
        dd if="$LAB_DIR/own" of="$LAB_DIR/changed" bs=4k seek=2500 conv=notrunc status=none
    done
    vda=$LAB_DIR/$name.vda.qcow2 vdb=$LAB_DIR/$name.vdb.qcow2
    qemu-img resize -q --shrink "$vdb" $((30 * 1048576 + 65536))
    lab_domain --off "$name" vda:qcow2:32M vdb:qcow2:32M
    point all all full
    qemu-img resize -q "$vdb" 32M || lab_fail "resize to 32M"
    cp "$vdb" "$vda"
    point scan bitmap inc
}

replaced 32M $short bitmap
replaced $short 32M all
cut
exit 0
