#!/bin/bash
# libvirt loses its checkpoints, the images keep their bitmaps: the chain goes on by bitmap, and no bitmap stays
# in an image to record for ever.
# labs: system embed
# long labs: embed
. "$(dirname "$0")/lab.sh"
lab_start

set=$LAB_DIR/set
lab_domain "$LAB_NAME" vda:qcow2:24M vdb:qcow2:24M

is_off()
{
    [ "$(lab_virsh "domstate $LAB_NAME")" = "shut off" ]
}

# The embedded driver may have ended it already, in a connection that was closed while it was being opened.
stop()
{
    lab_virsh "destroy $LAB_NAME" >/dev/null 2>&1
    lab_eventually "the domain is off" is_off
}

lose()
{
    stop
    lab_virsh "dumpxml $LAB_NAME" >"$LAB_DIR/tmp/domain.xml"
    lab_virsh "undefine $LAB_NAME --checkpoints-metadata; define $LAB_DIR/tmp/domain.xml;
        start --paused $LAB_NAME" >/dev/null || lab_fail "cannot define it again"
}

lab_io "$LAB_NAME" vda "write -P 0x11 0 8M"
np_backup "$LAB_NAME" -l full -o "$set"
lab_io "$LAB_NAME" vda "write -P 0x12 0 64k"
np_backup "$LAB_NAME" -l inc -o "$set" -i vda
lab_io "$LAB_NAME" vda "write -P 0x13 1M 64k"
lab_io "$LAB_NAME" vdb "write -P 0x23 1M 64k"
lose
for target in vda vdb; do
    lab_truth "$LAB_NAME" $target "$LAB_DIR/tmp/$target"
done
np_backup "$LAB_NAME" -l inc -o "$set" --require-bitmap
np 0 restore -i "$set" -o "$LAB_DIR/out"
for target in vda vdb; do
    lab_same "$LAB_DIR/out/$target.qcow2" "$LAB_DIR/tmp/$target"
done

# What was saved of a checkpoint cannot be read: the disk is compared.
lose
saved=$(find "$set/config" -path '*0003*/checkpoint.xml')
rm "$saved" && mkdir "$saved" || lab_fail "no saved checkpoint"
np 0 backup -c "$LAB_URI" -d "$LAB_NAME" -l inc -o "$set" --json
grep -q 'lost checkpoint .*compared with point 0003: .*checkpoint.xml' "$NP_ERR" || lab_fail "it says: $(cat "$NP_ERR")"
[ "$(jq -r '.disks[].how' "$NP_OUT" | sort -u)" = scan ] || lab_fail "$(cat "$NP_OUT")"

lose
np_backup "$LAB_NAME" -l full -o "$set"
kept=$("$NBDPULL" dump -i "$set" --json | jq -r '.points[-1].checkpoint')
stop
for target in vda vdb; do
    held=$(qemu-img info --output=json "$(lab_image "$LAB_NAME" $target)" |
        jq -r '[."format-specific".data.bitmaps[]?.name] | join(" ")')
    [ "$held" = "$kept" ] || lab_fail "$target holds the bitmaps $held, not only $kept"
done
exit 0
