#!/bin/bash
# A chain of full, increments and differentials over two qcow2 disks and a raw one: every point is exact.
# labs: system embed session
# long labs: embed session
# cost: 15
. "$(dirname "$0")/lab.sh"
lab_start

set=$LAB_DIR/set
disks="vda vdb vdc"
lab_domain "$LAB_NAME" vda:qcow2:24M vdb:qcow2:9000448 vdc:raw:5M
lab_io "$LAB_NAME" vda "write -P 0x11 0 8M" "write -P 0x12 20M 1M"
lab_io "$LAB_NAME" vdb "write -P 0x21 0 9000448"
lab_io "$LAB_NAME" vdc "write -P 0x31 1M 1M"

# point LEVEL HOW-OF-VDA [ARGUMENT...]: take one, keep what the guest sees, check what was done.
points=0
point()
{
    local level=$1 how=$2 target
    shift 2
    points=$((points + 1))
    for target in $disks; do
        lab_truth "$LAB_NAME" "$target" "$LAB_DIR/tmp/$points.$target"
    done
    np_backup "$LAB_NAME" -l "$level" -o "$set" --json "$@"
    [ "$(jq -r '.disks[] | select(.target == "vda") | .how' "$NP_OUT")" = "$how" ] ||
        lab_fail "point $points: $(cat "$NP_OUT")"
    jq -r '.point' "$NP_OUT" >"$LAB_DIR/tmp/$points.id"
}

point auto all
lab_io "$LAB_NAME" vda "discard 1M 2M" "write -z 4M 1M" "write -P 0x13 12M 65k"
lab_io "$LAB_NAME" vdb "write -P 0x22 8999936 512"
lab_io "$LAB_NAME" vdc "write -z 1M 512k"
point inc bitmap
jq -e '[.disks[] | .how] == ["bitmap", "bitmap", "scan"]' "$NP_OUT" >/dev/null || lab_fail "$(cat "$NP_OUT")"
point inc bitmap # nothing has changed
jq -e '.disks[0].read_bytes == 0 and .disks[0].stored_bytes == 0' "$NP_OUT" >/dev/null || lab_fail "$(cat "$NP_OUT")"
lab_io "$LAB_NAME" vda "write -P 0x14 2M 1k"
point diff bitmap
lab_io "$LAB_NAME" vda "write -P 0x15 3M 1k"
point diff bitmap --from full
point inc bitmap
lab_io "$LAB_NAME" vda "write -P 0x16 23M 1M"
point inc scan --scan
lab_io "$LAB_NAME" vdb "discard 0 64k"
point auto bitmap
point full all
lab_io "$LAB_NAME" vda "write -P 0x17 0 1k"
point inc bitmap --require-bitmap -x vdc

for ((i = 1; i <= points; i++)); do
    np 0 restore -i "$set" -o "$LAB_DIR/out.$i" --until "$(cat "$LAB_DIR/tmp/$i.id")"
    for target in $disks; do
        if [ "$i" -lt "$points" ] || [ "$target" != vdc ]; then
            lab_same "$LAB_DIR/out.$i/$target.qcow2" "$LAB_DIR/tmp/$i.$target"
        fi
    done
    rm -rf "$LAB_DIR/out.$i"
done

# A chain keeps its newest checkpoint and its full's; nothing builds on a diff.
[ "$(lab_virsh checkpoint-list --name "$LAB_NAME" | grep -c '^nbdpull-')" -eq 2 ] || lab_fail "checkpoints"
np_refuses 8 'require-bitmap' backup -c "$LAB_URI" -d "$LAB_NAME" -l inc -o "$set" --require-bitmap
np_refuses 1 'full' backup -c "$LAB_URI" -d "$LAB_NAME" -l inc -o "$LAB_DIR/new"
np_refuses 2 'from' backup -c "$LAB_URI" -d "$LAB_NAME" -l inc -o "$set" --from 0001
exit 0
