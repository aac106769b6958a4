#!/bin/bash
# What leaves a clean bitmap over changed data, or none (libvirt and QEMU say nothing): after each, an increment is
# exact for the whole disk, or, where only the sample could tell, --scan is.
# labs: system embed
# long labs: embed
# cost: 20
. "$(dirname "$0")/lab.sh"
lab_start
lab_need qemu-io

set=$LAB_DIR/set
disks="vda vdb"
lab_domain "$LAB_NAME" vda:qcow2:24M vdb:qcow2:24M:cluster_size=4k
vda=$(lab_image "$LAB_NAME" vda)
vdb=$(lab_image "$LAB_NAME" vdb)
lab_io "$LAB_NAME" vda "write -P 0x11 0 8M" "write -P 0x12 20M 1M"
lab_io "$LAB_NAME" vdb "write -P 0x21 1M 8M" "write -P 0x22 23M 1M"

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

run()
{
    lab_virsh "start --paused $LAB_NAME" >/dev/null || lab_fail "start"
}

# exact CASE LEVEL HOW-OF-VDA HOW-OF-VDB [ARGUMENT...]: back up, restore, compare whole disks.
exact()
{
    local case=$1 level=$2 want="$3 $4" target how
    shift 4
    for target in $disks; do
        lab_truth "$LAB_NAME" "$target" "$LAB_DIR/tmp/$target"
    done
    np_backup "$LAB_NAME" -l "$level" -o "$set" --json "$@"
    checkpoint=$(jq -r .checkpoint "$NP_OUT")
    how=$(jq -r '[.disks[].how] | join(" ")' "$NP_OUT")
    [ "$how" = "$want" ] || lab_fail "$case: $how, not $want: $(jq -c "[.disks[].why]" "$NP_OUT")"
    np 0 restore -i "$set" -o "$LAB_DIR/out"
    for target in $disks; do
        lab_same "$LAB_DIR/out/$target.qcow2" "$LAB_DIR/tmp/$target"
    done
    rm -rf "$LAB_DIR/out"
    lab_note "$case: exact"
}

exact "the full" full all all

# facts 6, row "swapped": the images change places, by name.
lab_io "$LAB_NAME" vda "write -P 0x13 1M 64k"
stop
mv "$vda" "$vda.x" && mv "$vdb" "$vda" && mv "$vda.x" "$vdb"
run
exact "images swapped by name" inc scan scan

# The same by content: path, device and inode stay.
stop
cp "$vda" "$vda.x" && cat "$vdb" >"$vda" && cat "$vda.x" >"$vdb" && rm "$vda.x"
run
exact "images swapped by content" inc scan scan
exact "nothing since" inc bitmap bitmap

# facts 3 and 6, "shrink + grow": live, to a size inside a granule. A cluster of 64 KiB comes back whole; of the
# small clusters some are lost, and the granule is half data. What was data and is zero now, and not dirty, betrays both.
lab_virsh "blockresize $LAB_NAME vda 4195328B; blockresize $LAB_NAME vda 24M;
    blockresize $LAB_NAME vdb 5247488B; blockresize $LAB_NAME vdb 24M" >/dev/null || lab_fail "blockresize"
exact "shrunk and grown live" inc scan scan

# The same off, and grown beyond the old size.
lab_io "$LAB_NAME" vda "write -P 0x14 0 24M"
exact "filled" inc bitmap bitmap
stop
qemu-img resize -q --shrink "$vda" 3000320 && qemu-img resize -q "$vda" 25M || lab_fail "resize"
run
lab_io "$LAB_NAME" vda "write -P 0x15 20M 512"
exact "shrunk and grown off" inc scan bitmap

# facts 6, "older copy put back": the newest checkpoint's name is never in it.
stop
cp "$vda" "$vda.old"
run
lab_io "$LAB_NAME" vda "write -P 0x16 2M 1M"
exact "before the image is rolled back" inc bitmap bitmap
stop
cat "$vda.old" >"$vda"
run
exact "older image put back" inc scan bitmap

# facts 6, "convert" with and without bitmaps.
stop
qemu-img convert -O qcow2 "$vda" "$vda.x" && cat "$vda.x" >"$vda" || lab_fail "convert"
qemu-img convert -O qcow2 --bitmaps "$vdb" "$vda.x" && cat "$vda.x" >"$vdb" || lab_fail "convert --bitmaps"
rm "$vda.x"
run
exact "converted" inc scan bitmap

# facts 6, "in-use": QEMU killed.
lab_io "$LAB_NAME" vda "write -P 0x17 0 64k"
pid=$(find "$LAB_DIR" /run/libvirt/qemu -name "$LAB_NAME.pid" 2>/dev/null | head -n 1)
kill -9 "$(cat "$pid")" || lab_fail "no QEMU"
lab_eventually "the domain is off" is_off
run
exact "QEMU killed" inc scan scan

# facts 6, "host write": the bitmap is switched off, so it records nothing. A change of everything is seen by
# the sample; zeroes over data, and data over zeroes, by block status; one granule among many only by --scan.
behind()
{
    stop
    qemu-img bitmap --disable "$vda" "$checkpoint" && qemu-io -c "$1" "$vda" >/dev/null &&
        qemu-img bitmap --enable "$vda" "$checkpoint" || lab_fail "cannot write behind the bitmap"
    run
}
lab_io "$LAB_NAME" vda "write -P 0x18 0 24M"
exact "filled again" inc bitmap bitmap
behind "write -z -u 5M 64k"
exact "zeroed behind the bitmap" inc scan bitmap
behind "write -P 0x19 5M 64k"
exact "written over zeroes behind the bitmap" inc scan bitmap
behind "write -P 0x1a 7M 64k"
exact "one granule behind the bitmap" inc scan scan --scan

[ "$(lab_virsh checkpoint-list --name "$LAB_NAME" | grep -c '^nbdpull-')" -eq 2 ] || lab_fail "checkpoints"
exit 0
