#!/bin/bash
# A sector of a stream cannot be read, each of its last ones once. Of a disk that is left out, and that another one is to be
# told from: a scan of the other one. Of the disk's own base: all of it is stored. Both warn, neither fails.
# labs: system
# shellcheck source=../e2e/lab.sh
. "$(dirname "$0")/../e2e/lab.sh"
lab_start
: "${NBDPULL_STOP_AT:?is the library that stops the program}"

set=$LAB_DIR/set
lab_random 16M "$LAB_DIR/raw"
for target in vda vdb; do
    lab_random 4k "$LAB_DIR/own"
    dd if="$LAB_DIR/own" of="$LAB_DIR/raw" bs=4k seek=1500 conv=notrunc status=none
    lab_filled "$LAB_NAME" $target qcow2 "$LAB_DIR/raw"
done
lab_domain --off "$LAB_NAME" vda:qcow2:16M vdb:qcow2:16M
np_backup "$LAB_NAME" -l full -o "$set"
lab_truth "$LAB_NAME" vda "$LAB_DIR/truth"

# each_sector COUNT TARGET HOW WARNING: that disk's stream; vda is then stored so, at some sectors.
each_sector()
{
    local stream at=0 tried doubted=0
    stream=$(readlink -f "$set/$("$NBDPULL" dump -i "$set" --json |
        jq -r --arg target "$2" '.points[0].disks[] | select(.target == $target) | .file')")
    at=$(($(stat -c %s "$stream") / 512 * 512))
    for ((tried = 0; tried < $1; tried++, at -= 512)); do
        rm -rf "$LAB_DIR/out"
        LD_PRELOAD=$NBDPULL_STOP_AT STOP_BAD=$stream:$at np_backup "$LAB_NAME" -l diff -o "$set" -x vdb --json
        case $(jq -r '.disks[] | select(.target == "vda") | .how' "$NP_OUT") in
        "$3")
            doubted=$((doubted + 1))
            np_said "disk vda: .*$4.*0001.$2.nbp: cannot read.*Input/output"
            ;;
        bitmap) ;;
        *) lab_fail "sector $at of $2: $(cat "$NP_OUT")" ;;
        esac
        np 0 restore -i "$set" -o "$LAB_DIR/out" --format raw -d vda
        lab_same "$LAB_DIR/out/vda.raw" "$LAB_DIR/truth"
    done
    lab_note "$doubted of $tried sectors of $2 make it $3"
    [ $doubted -gt 2 ] || lab_fail "only $doubted sectors of $2 were needed"
}

each_sector 24 vdb scan "(from disk vdb|another disk of the guest)"
each_sector 24 vda all "(chain is broken|index of its chain cannot be read), so all of it is stored"
exit 0
