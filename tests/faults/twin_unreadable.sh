#!/bin/bash
# A disk that is left out of the backup, and that another one is to be told from: no sector of its index can be read. That
# makes a scan of the other one, and no failure.
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
stream=$(readlink -f "$set/$("$NBDPULL" dump -i "$set" --json | jq -r '.points[-1].disks[] | select(.target == "vdb") | .file')")

lab_truth "$LAB_NAME" vda "$LAB_DIR/truth"
tried=0 doubted=0
for ((at = $(stat -c %s "$stream") / 512 * 512; at > 0 && tried < 24; at -= 512)); do
    tried=$((tried + 1))
    rm -rf "$LAB_DIR/out"
    LD_PRELOAD=$NBDPULL_STOP_AT STOP_BAD=$stream:$at np_backup "$LAB_NAME" -l diff -o "$set" -x vdb --json
    case $(jq -r '.disks[] | select(.target == "vda") | .how' "$NP_OUT") in
    scan)
        doubted=$((doubted + 1))
        np_said "disk vda: .*(from disk vdb|another disk of the guest).*0001.vdb.nbp: cannot read.*Input/output"
        ;;
    bitmap) ;;
    *) lab_fail "sector $at: $(cat "$NP_OUT")" ;;
    esac
    np 0 restore -i "$set" -o "$LAB_DIR/out" --format raw -d vda
    lab_same "$LAB_DIR/out/vda.raw" "$LAB_DIR/truth"
done
lab_note "$doubted of $tried sectors make a scan"
[ $doubted -gt 2 ] || lab_fail "only $doubted sectors were needed"
exit 0
