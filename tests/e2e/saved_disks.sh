#!/bin/bash
# A guest with a saved memory goes on with the disks that it had then. Where its definition names others by now, or has not
# all of them, the point is of what it goes on with, and so is the next one after its start.
# labs: system
. "$(dirname "$0")/lab.sh"
lab_start
[ "$LAB_ISOLATED" = yes ] || lab_skip "the machine's own saved memories must not be touched"

set=$LAB_DIR/set out=$LAB_DIR/out
lab_domain "$LAB_NAME" vda:qcow2:8M vdb:qcow2:8M
lab_io "$LAB_NAME" vda "write -P 0x11 1M 2M"
lab_io "$LAB_NAME" vdb "write -P 0x21 1M 2M"

# plugged TARGET: a disk that only this run of the guest has.
plugged()
{
    local image=$LAB_DIR/plugged.$1.qcow2
    qemu-img create -q -f qcow2 "$image" 4M && chmod 666 "$image" || lab_fail "no image"
    lab_virsh attach-disk "$LAB_NAME" "$image" "$1" --driver qemu --subdriver qcow2 --live >/dev/null || lab_fail "no disk $1"
    LAB_IMAGE[$LAB_NAME/$1]=$image LAB_FORMAT[$LAB_NAME/$1]=qcow2
}
# exact TARGET...: the newest point has these disks, as they are now, and no others.
exact()
{
    local target
    rm -rf "$out"
    np 0 restore -i "$set" -o "$out" --format raw
    [ "$(cd "$out" && echo *.raw)" = "$(printf '%s.raw ' "$@" | sed 's/ $//')" ] || lab_fail "restored: $(ls "$out"), not $*"
    for target in "$@"; do
        lab_truth "$LAB_NAME" "$target" "$LAB_DIR/truth"
        lab_same "$out/$target.raw" "$LAB_DIR/truth"
    done
}
how() { jq -r '[.disks[] | select(.stored) | .how] | join(" ")' "$NP_OUT"; }

np_backup "$LAB_NAME" -l full -o "$set"
plugged vdc
lab_io "$LAB_NAME" vdc "write -P 0x31 1M 1M"

# The next boot is to have another image of vdb, a copy for a move, and larger; the guest writes on to the one it has.
vdb=$(lab_image "$LAB_NAME" vdb)
cp "$vdb" "$LAB_DIR/moved.qcow2" && qemu-img resize -q "$LAB_DIR/moved.qcow2" 16M || lab_fail "no copy"
lab_virsh dumpxml --inactive "$LAB_NAME" | sed "s|$vdb|$LAB_DIR/moved.qcow2|" >"$LAB_DIR/next.xml"
lab_virsh define "$LAB_DIR/next.xml" >/dev/null || lab_fail "no other definition"
lab_io "$LAB_NAME" vdb "write -P 0x22 4M 2M"
lab_virsh managedsave "$LAB_NAME" >/dev/null || lab_fail "it is not saved"
lab_virsh domblklist "$LAB_NAME" | grep -q moved.qcow2 || lab_fail "libvirt names the saved disks: this test tests nothing"

for round in "bitmap bitmap all" "bitmap bitmap scan"; do
    np_backup "$LAB_NAME" -l inc -o "$set" --json
    [ "$(how)" = "$round" ] || lab_fail "how: $(how), not $round"
    [ "$(jq -r .guest "$NP_OUT")" = saved ] || lab_fail "it is $(jq .guest "$NP_OUT")"
    exact vda vdb vdc
done
np 0 verify -i "$set" --deep

# It goes on with them, and so do the bitmaps.
lab_virsh start "$LAB_NAME" --paused >/dev/null || lab_fail "it does not go on"
lab_virsh domblklist "$LAB_NAME" | grep -q "$vdb" || lab_fail "it goes on with others: $(lab_virsh domblklist "$LAB_NAME")"
lab_io "$LAB_NAME" vdb "write -P 0x23 5M 64k"
np_backup "$LAB_NAME" -l inc -o "$set" --json
[[ "$(how)" == "bitmap bitmap "* ]] || lab_fail "how, when it goes on: $(how)"
exact vda vdb vdc

# What a saved memory is made to lead to.
lab_virsh managedsave "$LAB_NAME" >/dev/null || lab_fail "it is not saved"
cp "$vdb" "$LAB_DIR/other.qcow2" && qemu-io -c "write -P 0x77 2M 64k" "$LAB_DIR/other.qcow2" >/dev/null && chmod 666 "$LAB_DIR/other.qcow2"
lab_virsh managedsave-dumpxml "$LAB_NAME" | sed "s|$vdb|$LAB_DIR/other.qcow2|" >"$LAB_DIR/saved.xml"
lab_virsh managedsave-define "$LAB_NAME" "$LAB_DIR/saved.xml" >/dev/null || lab_fail "no other saved memory"
LAB_IMAGE[$LAB_NAME/vdb]=$LAB_DIR/other.qcow2
np_backup "$LAB_NAME" -l inc -o "$set" --json
[[ "$(how)" == "bitmap scan "* ]] || lab_fail "how, of another image: $(how)"
exact vda vdb vdc

# A saved memory that cannot be read: libvirt starts without it, with the disks of the definition.
for size in 0 50; do
    truncate -s $size "/var/lib/libvirt/qemu/save/$LAB_NAME.save" || lab_fail "no saved memory to cut"
    LAB_IMAGE[$LAB_NAME/vdb]=$LAB_DIR/moved.qcow2
    np_backup "$LAB_NAME" -l inc -o "$set" --json
    exact vda vdb
done

# Without the saved memory the definition counts.
lab_virsh managedsave-remove "$LAB_NAME" >/dev/null || lab_fail "it stays saved"
np_backup "$LAB_NAME" -l inc -o "$set" --json
[ "$(jq -r .guest "$NP_OUT")" = off ] || lab_fail "it is $(jq .guest "$NP_OUT")"
exact vda vdb
