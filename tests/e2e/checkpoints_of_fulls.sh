#!/bin/bash
# A committed full removes the checkpoint that its set no longer needs, and no one else's.
# labs: system embed
# long labs: embed
. "$(dirname "$0")/lab.sh"
lab_start

lab_domain "$LAB_NAME" vda:qcow2:4M vdb:qcow2:4M
lab_io "$LAB_NAME" vda "write -P 0x11 1M 1M"
checkpoints() { lab_virsh checkpoint-list --name "$LAB_NAME" | sed '/^$/d' | sort | tr '\n' ' '; }
bitmaps() { qemu-img info -U --output=json "$1" | jq -r '[."format-specific".data.bitmaps[]?.name] | length'; }

echo "<domaincheckpoint><name>foreign</name></domaincheckpoint>" >"$LAB_DIR/foreign.xml"
lab_virsh checkpoint-create "$LAB_NAME" "$LAB_DIR/foreign.xml" >/dev/null || lab_fail "no foreign checkpoint"

np_backup "$LAB_NAME" -l full -o "$LAB_DIR/a"
a1=$(checkpoints | grep -o 'nbdpull-[^ ]*')
[[ $a1 =~ ^nbdpull-[0-9a-f]+-0001-[0-9a-f]{8}$ ]] || lab_fail "checkpoint $a1"
np_backup "$LAB_NAME" -l full -o "$LAB_DIR/b"
b1=$(checkpoints | grep -o 'nbdpull-[^ ]*' | grep -vxF "$a1")
[ -n "$b1" ] || lab_fail "checkpoints: $(checkpoints)"

np_backup "$LAB_NAME" -l full -o "$LAB_DIR/a"
now=$(checkpoints)
[[ $now == *foreign* ]] || lab_fail "the foreign checkpoint is gone: $now"
[[ $now == *"$b1"* ]] || lab_fail "the other set's checkpoint is gone: $now"
[[ $now != *"$a1"* ]] || lab_fail "the first full's checkpoint stayed: $now"
[ "$(wc -w <<<"$now")" -eq 3 ] || lab_fail "checkpoints: $now"

# A full of one disk only: the other's newest full still needs its checkpoint.
a2=$(tr ' ' '\n' <<<"$now" | grep -- -0002-)
np_backup "$LAB_NAME" -l full -i vda -o "$LAB_DIR/a"
now=$(checkpoints)
[[ $now == *"$a2"* ]] || lab_fail "vdb lost its checkpoint: $now"
[ "$(wc -w <<<"$now")" -eq 4 ] || lab_fail "checkpoints: $now"
