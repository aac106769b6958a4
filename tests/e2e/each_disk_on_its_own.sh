#!/bin/bash
# Each disk goes its own way in one job and one point: taken at other times, added, removed, grown, shrunk. Every point
# is exact for the disks it holds, says of each what was done and why, and a restore names what a point does not hold.
# labs: system embed
# long labs: embed
. "$(dirname "$0")/lab.sh"
lab_start

set=$LAB_DIR/set
lab_domain "$LAB_NAME" vda:qcow2:8M vdb:qcow2:4M vdc:raw:1M

# The embedded driver may have ended it already, in a connection that was closed while it was being opened.
stop()
{
    lab_virsh "destroy $LAB_NAME" >/dev/null 2>&1
    lab_eventually "the domain is off" is_off
}

is_off()
{
    [ "$(lab_virsh "domstate $LAB_NAME")" = "shut off" ]
}

run()
{
    lab_virsh "start --paused $LAB_NAME" >/dev/null || lab_fail "start"
}

# point LEVEL WANT [ARGUMENT...]: WANT is "DISK:LEVEL:HOW:PARENT ..." of the disks that are stored.
points=0
point()
{
    local level=$1 want=$2 said target
    shift 2
    points=$((points + 1))
    np_backup "$LAB_NAME" -l "$level" -o "$set" --json "$@"
    said=$(jq -r '[.disks[] | select(.stored) | "\(.target):\(.level):\(.how):\(.parent // "")"] | join(" ")' "$NP_OUT")
    [ "$said" = "$want" ] || lab_fail "point $points: $said, not $want"
    for target in $(jq -r '.disks[] | select(.stored) | .target' "$NP_OUT"); do
        lab_truth "$LAB_NAME" "$target" "$LAB_DIR/tmp/$points.$target"
    done
}

# why DISK PATTERN: the newest point's reason, in the backup's document and in dump.
why()
{
    jq -r --arg d "$1" '.disks[] | select(.target == $d) | .why' "$NP_OUT" | grep -qE "$2" ||
        lab_fail "$1: no /$2/ in $(jq -c .disks "$NP_OUT")"
    "$NBDPULL" dump -i "$set" --json | jq -r --arg d "$1" '.points[-1].disks[] | select(.target == $d) | .why' |
        grep -qE "$2" || lab_fail "dump, $1: no /$2/"
    "$NBDPULL" dump -i "$set" | grep -A 1 "^ *$1 " | grep -qE "$2" || lab_fail "dump for people, $1: no /$2/"
}

write()
{
    lab_io "$LAB_NAME" vda "write -P $1 $((points % 7))M 100k"
    lab_io "$LAB_NAME" vdb "write -P $1 1M 64k"
}

write 0x11
point full "vda:full:all:" -i vda
why vdb "not among the disks of -i"
write 0x12
point inc "vda:inc:bitmap:0001 vdb:full:all: vdc:full:all:"
why vdb "no point of a chain holds it"
write 0x13
# The base of this diff does not hold vdb, so all of it is stored; but nothing builds on a diff.
point diff "vda:diff:bitmap:0001 vdb:full:all:" --from 1 -x vdc
write 0x14
point inc "vda:inc:bitmap:0002 vdb:inc:bitmap:0002" -x vdc --require-bitmap
why vdc "excluded"
write 0x15
point inc "vdb:inc:bitmap:0004" -i vdb
write 0x16
point inc "vda:inc:bitmap:0004 vdb:inc:bitmap:0005 vdc:inc:scan:0002"
why vdc "raw"

# A new disk, a grown one and one that is gone.
lab_disk_xml "$LAB_NAME" vdd qcow2 2M '' >"$LAB_DIR/vdd.xml"
LAB_IMAGE[$LAB_NAME/vdd]=$LAB_DIR/$LAB_NAME.vdd.qcow2
LAB_FORMAT[$LAB_NAME/vdd]=qcow2
stop
lab_virsh "attach-device $LAB_NAME $LAB_DIR/vdd.xml --config; detach-disk $LAB_NAME vdb --config" >/dev/null ||
    lab_fail "cannot change the disks"
run
lab_io "$LAB_NAME" vdd "write -P 0x41 1M 1M"
lab_virsh "blockresize $LAB_NAME vda 9M" >/dev/null || lab_fail "blockresize"
lab_io "$LAB_NAME" vda "write -P 0x17 8M 512"
point inc "vda:inc:bitmap:0006 vdc:inc:scan:0006 vdd:full:all:"
why vdb "the domain has it no longer.*0006"
jq -e '.disks[] | select(.target == "vdb") | .stored == false' "$NP_OUT" >/dev/null || lab_fail "$(cat "$NP_OUT")"

# A shrunk one; what is gone stays named.
lab_virsh "blockresize $LAB_NAME vda 6M" >/dev/null || lab_fail "blockresize"
point inc "vda:full:all: vdc:inc:scan:0007 vdd:inc:bitmap:0007"
why vda "smaller"
why vdb "the domain has it no longer.*0006"
np_refuses 8 'vda.*require-bitmap|vdc.*require-bitmap' backup -c "$LAB_URI" -d "$LAB_NAME" -l inc -o "$set" --require-bitmap

for ((i = 1; i <= points; i++)); do
    np 0 restore -i "$set" -o "$LAB_DIR/out" --until "$i" --format raw --json
    stored=$("$NBDPULL" dump -i "$set" --json | jq -r ".points[$((i - 1))].disks[] | select(.stored) | .target")
    [ "$(jq -r '.disks[].target' "$NP_OUT")" = "$stored" ] || lab_fail "point $i: $(cat "$NP_OUT")"
    for target in $stored; do
        lab_same "$LAB_DIR/out/$target.raw" "$LAB_DIR/tmp/$i.$target"
    done
    rm -rf "$LAB_DIR/out"
done
np 0 restore -i "$set" -o "$LAB_DIR/out"
grep -q 'vdb is not in point 0008 .*0006' "$NP_ERR" || lab_fail "vdb is not named: $(cat "$NP_ERR")"
np_refuses 1 'vdb.*0006' restore -i "$set" -o "$LAB_DIR/new" -d vdb
exit 0
