#!/bin/bash
# A guest that is off, on, off and on again, with all levels over disks of odd sizes: every point is exact, and
# each increment after the first full goes by bitmap, whoever made it.
# labs: system embed session
# long labs: embed session
. "$(dirname "$0")/lab.sh"
lab_start

set=$LAB_DIR/set
disks="vda vdb vdc vdd"
lab_domain --off "$LAB_NAME" vda:qcow2:24M vdb:qcow2:9000448 vdc:raw:5000192 vdd:qcow2:7M:cluster_size=4k

# on | off: start, or end as a guest does, so that QEMU closes its images.
running=
on()
{
    lab_virsh "start $LAB_NAME --paused" >/dev/null || lab_fail "cannot start"
    running=yes
}
off()
{
    # libvirt may see QEMU's end before its own command does, and then calls that a failure.
    lab_virsh "destroy $LAB_NAME --graceful" >/dev/null 2>&1
    [ "$(lab_virsh domstate "$LAB_NAME")" = "shut off" ] || lab_fail "cannot stop"
    running=
}
# change TARGET COMMAND...: by the guest when it runs, else to its image.
change()
{
    local target=$1 command
    shift
    if [ -n "$running" ]; then
        lab_io "$LAB_NAME" "$target" "$@"
        return
    fi
    for command in "$@"; do
        qemu-io -f "${LAB_FORMAT[$LAB_NAME/$target]}" -c "$command" "$(lab_image "$LAB_NAME" "$target")" >/dev/null ||
            lab_fail "qemu-io $target $command"
    done
}

# point LEVEL HOWS [ARGUMENT...]: take one, keep what the guest sees, check what was done.
points=0
point()
{
    local level=$1 hows=$2 target
    shift 2
    points=$((points + 1))
    for target in $disks; do
        lab_truth "$LAB_NAME" "$target" "$LAB_DIR/tmp/$points.$target"
    done
    np_backup "$LAB_NAME" -l "$level" -o "$set" --json "$@"
    [ "$(jq -r '[.disks[] | .how] | join(" ")' "$NP_OUT")" = "$hows" ] || lab_fail "point $points: $(cat "$NP_OUT")"
    [ "$(jq -r .guest "$NP_OUT")" = "$([ -n "$running" ] && echo running || echo off)" ] || lab_fail "$(cat "$NP_OUT")"
    jq -r '.point' "$NP_OUT" >"$LAB_DIR/tmp/$points.id"
    if [ -z "$running" ] && [ "$level" != copy ] && [ "$level" != diff ]; then
        lab_virsh checkpoint-list --name "$LAB_NAME" | grep -q "$(jq -r .checkpoint "$NP_OUT")" ||
            lab_fail "point $points: libvirt does not know its checkpoint"
    fi
}

change vda "write -P 0x11 0 8M" "write -P 0x12 20M 1M"
change vdb "write -P 0x21 0 9000448"
change vdc "write -P 0x31 1M 1M"
change vdd "write -P 0x41 0 6M"
point auto "all all all all"
on
change vda "discard 1M 2M" "write -z 4M 1M" "write -P 0x13 12M 65k"
change vdb "write -P 0x22 8999936 512"
change vdc "write -z 1M 512k"
change vdd "write -P 0x42 1000448 512"
point inc "bitmap bitmap scan bitmap"
change vdd "write -P 0x43 2M 4k"
off
change vda "write -P 0x14 2M 1k" "discard 20M 512k"
point inc "bitmap bitmap scan bitmap"
jq -e '.disks[1].read_bytes == 0 and .disks[3].read_bytes <= 131072' "$NP_OUT" >/dev/null || lab_fail "$(cat "$NP_OUT")"
change vda "write -P 0x15 3M 1k"
point diff "bitmap bitmap scan bitmap" --from full
change vdb "write -z 0 1M"
on
change vda "write -P 0x16 23M 1M"
point inc "bitmap bitmap scan bitmap"
off
change vdd "discard 1M 1M"
point inc "scan scan scan scan" --scan
point copy "all all all all"
point full "all all all all"
on
change vda "write -P 0x17 0 1k"
disks="vda vdb vdd"
point inc "bitmap bitmap  bitmap" --require-bitmap -x vdc
off
point inc "bitmap bitmap  bitmap" --require-bitmap -x vdc
jq -e '[.disks[] | .read_bytes] == [0, 0, 0, 0]' "$NP_OUT" >/dev/null || lab_fail "$(cat "$NP_OUT")"

for ((i = 1; i <= points; i++)); do
    np 0 restore -i "$set" -o "$LAB_DIR/out.$i" --format raw --until "$(cat "$LAB_DIR/tmp/$i.id")"
    for target in $disks; do
        lab_same "$LAB_DIR/out.$i/$target.raw" "$LAB_DIR/tmp/$i.$target"
    done
    if [ -e "$LAB_DIR/tmp/$i.vdc" ]; then
        lab_same "$LAB_DIR/out.$i/vdc.raw" "$LAB_DIR/tmp/$i.vdc"
    fi
    rm -rf "$LAB_DIR/out.$i"
done

# The rule of what is kept is the same while it is off: the newest and its full, in libvirt and in the images.
[ "$(lab_virsh checkpoint-list --name "$LAB_NAME" | grep -c '^nbdpull-')" -eq 2 ] || lab_fail "checkpoints"
for target in vda vdb vdd; do
    [ "$(qemu-img info --output=json "$(lab_image "$LAB_NAME" $target)" |
        jq '."format-specific".data.bitmaps | length')" -eq 2 ] || lab_fail "bitmaps of $target"
done
[ "$("$NBDPULL" dump -i "$set" --json | jq -r '[.points[].guest] | join(" ")')" = \
    "off running off off running off off off running off" ] || lab_fail "dump does not tell who was off"
np 0 checkpoints -c "$LAB_URI" -d "$LAB_NAME" --remove
[ -z "$(lab_virsh checkpoint-list --name "$LAB_NAME")" ] || lab_fail "checkpoints after --remove"
for target in vda vdb vdd; do
    qemu-img info --output=json "$(lab_image "$LAB_NAME" $target)" | jq -e '."format-specific".data.bitmaps == null' \
        >/dev/null || lab_fail "bitmaps of $target after --remove"
done
exit 0
