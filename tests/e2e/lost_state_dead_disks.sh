#!/bin/bash
# libvirt loses its checkpoints, and not every disk still has its bitmap: the others' serve. When none is of use,
# what is left of them is removed from the images.
# labs: system embed
# long labs: embed
. "$(dirname "$0")/lab.sh"
lab_start

set=$LAB_DIR/set
lab_domain "$LAB_NAME" vda:qcow2:24M vdb:qcow2:8M vdc:qcow2:4M vdd:raw:2M
vdb=$(lab_image "$LAB_NAME" vdb)

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

# Of a domain that is off.
lose()
{
    lab_virsh "dumpxml $LAB_NAME" >"$LAB_DIR/tmp/domain.xml"
    lab_virsh "undefine $LAB_NAME --checkpoints-metadata; define $LAB_DIR/tmp/domain.xml;
        start --paused $LAB_NAME" >/dev/null || lab_fail "cannot define it again"
}

# exact HOWS DISK...: an increment of these disks is done so, and restores to what the guest sees.
exact()
{
    local hows=$1 target
    shift
    for target in "$@"; do
        lab_truth "$LAB_NAME" "$target" "$LAB_DIR/tmp/$target"
    done
    np_backup "$LAB_NAME" -l inc -o "$set" --json
    [ "$(jq -r '[.disks[] | select(.stored) | .how] | join(" ")' "$NP_OUT")" = "$hows" ] || lab_fail "$(cat "$NP_OUT")"
    np 0 restore -i "$set" -o "$LAB_DIR/out"
    for target in "$@"; do
        lab_same "$LAB_DIR/out/$target.qcow2" "$LAB_DIR/tmp/$target"
    done
    rm -rf "$LAB_DIR/out"
}

lab_io "$LAB_NAME" vda "write -P 0x11 0 8M"
lab_io "$LAB_NAME" vdb "write -P 0x21 0 8M"
np_backup "$LAB_NAME" -l full -o "$set"
lab_io "$LAB_NAME" vda "write -P 0x12 1M 64k"
lab_io "$LAB_NAME" vdb "write -P 0x22 1M 64k"

# vdb's image is another one, vdc and the raw vdd are gone.
stop
qemu-img convert -O qcow2 "$vdb" "$vdb.x" && cat "$vdb.x" >"$vdb" && rm "$vdb.x" || lab_fail "convert"
lab_virsh "detach-disk $LAB_NAME vdc --config; detach-disk $LAB_NAME vdd --config" >/dev/null || lab_fail "detach"
lose
exact "bitmap scan" vda vdb
exact "bitmap bitmap" vda vdb

# QEMU killed: every bitmap is inconsistent.
pid=$(find "$LAB_DIR" /run/libvirt/qemu -name "$LAB_NAME.pid" 2>/dev/null | head -n 1)
kill -9 "$(cat "$pid")" || lab_fail "no QEMU"
lab_eventually "the domain is off" is_off
lose
exact "scan scan" vda vdb
kept=$("$NBDPULL" dump -i "$set" --json | jq -r '.points[-1].checkpoint')
stop
for target in vda vdb; do
    held=$(qemu-img info --output=json "$(lab_image "$LAB_NAME" $target)" |
        jq -r '[."format-specific".data.bitmaps[]?.name] | join(" ")')
    [ "$held" = "$kept" ] || lab_fail "$target holds the bitmaps $held, not only $kept"
done
exit 0
