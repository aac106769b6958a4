#!/bin/bash
# A transient domain is destroyed in the middle of the pull, and libvirt forgets it with its checkpoints. When it is
# made again, the next increment is exact, and no bitmap of the failed run stays in an image.
# labs: system
. "$(dirname "$0")/lab.sh"
lab_start

raw=$LAB_DIR/content
lab_program_files 10M "$raw"
lab_filled "$LAB_NAME" vda qcow2 "$raw"
lab_domain "$LAB_NAME" vda:qcow2:10M vdb:qcow2:1M vdc:raw:1M
uuid=$(lab_virsh domuuid "$LAB_NAME" | head -n 1)
sed -i "s#<name>#<uuid>$uuid</uuid><name>#" "$LAB_DIR/$LAB_NAME.xml"
make() { lab_virsh "create $LAB_DIR/$LAB_NAME.xml --paused" >/dev/null || lab_fail "cannot make the domain"; }
lab_virsh "destroy $LAB_NAME; undefine $LAB_NAME" >/dev/null
make
set=$LAB_DIR/set

# bitmaps TARGET
bitmaps()
{
    qemu-img info -U --output=json "$(lab_image "$LAB_NAME" "$1")" |
        jq -r '.["format-specific"].data.bitmaps[]?.name' | sort
}

np_backup "$LAB_NAME" -l full -o "$set"
lab_io "$LAB_NAME" vda "write -P 0x31 1M 1M"
np_start_slow "$LAB_NAME" "$set"
lab_virsh destroy "$LAB_NAME" >/dev/null
np_wait 1
flock "$set/lock" true
[ "$(bitmaps vda | wc -l)" -eq 2 ] || lab_fail "no bitmap of the failed run: this test tests nothing: $(bitmaps vda)"

make
lab_io "$LAB_NAME" vda "write -P 0x32 3M 64k"
lab_truth "$LAB_NAME" vda "$LAB_DIR/truth"
np_backup "$LAB_NAME" -l inc -o "$set" --json
jq -e '.disks[0].how == "bitmap"' "$NP_OUT" >/dev/null || lab_fail "$(cat "$NP_OUT")"
np 0 restore -i "$set" -o "$LAB_DIR/out"
lab_same "$LAB_DIR/out/vda.qcow2" "$LAB_DIR/truth"
lab_virsh destroy "$LAB_NAME" >/dev/null
needed=$("$NBDPULL" dump -i "$set" --json | jq -r '.points[].checkpoint' | sort)
for target in vda vdb; do
    [ "$(bitmaps $target)" = "$needed" ] || lab_fail "$target holds the bitmaps $(bitmaps $target), not $needed"
done
exit 0
