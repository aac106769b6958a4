#!/bin/bash
# Which disks take part: all that can, those asked for, or all but some; who is left out is named, with the reason.
# labs: embed
. "$(dirname "$0")/lab.sh"
lab_start

: >"$LAB_DIR/disc.iso"
truncate -s 1M "$LAB_DIR/disc.iso"
truncate -s 1440K "$LAB_DIR/floppy.img"
lab_domain "$LAB_NAME" vda:qcow2:2M vdb:qcow2:2M vdc:raw:2M hda:cdrom "hdb:cdrom:$LAB_DIR/disc.iso" \
    "fda:floppy:$LAB_DIR/floppy.img"

# takes WANTED [ARGUMENT...]: the targets that a copy with these arguments holds.
takes()
{
    local wanted=$1 got
    shift
    rm -rf "$LAB_DIR/set"
    np_backup "$LAB_NAME" -l copy -o "$LAB_DIR/set" "$@"
    got=$(find "$LAB_DIR/set/streams" -name '*.nbp' -printf '%f\n' | sed 's/^0001\.\(.*\)\.nbp/\1/' | sort | tr '\n' ' ')
    [ "$got" = "$wanted " ] || lab_fail "with $*: $got"
}
takes "vda vdb vdc"
for disk in hda hdb fda; do
    grep -qiE "$disk.*(cd-?rom|floppy|empty)" "$NP_ERR" || lab_fail "not said why not $disk: $(cat "$NP_ERR")"
done
takes "vda vdb vdc" -q
[ ! -s "$NP_ERR" ] || lab_fail "with -q it says: $(cat "$NP_ERR")"
takes "vdb" -i vdb
takes "vda vdc" -i vda -i vdc
takes "vda vdc" -i vda,vdc
takes "vdb vdc" -x vda
takes "vdb" -x vda,vdc
takes "vda vdb vdc" -x hda
for disk in hda hdb fda; do
    np_refuses 1 "$disk.*(cd-?rom|floppy|empty)" backup -c "$LAB_URI" -d "$LAB_NAME" -l copy -o "$LAB_DIR/new" -i $disk
done
np_refuses 1 "hdb" backup -c "$LAB_URI" -d "$LAB_NAME" -l copy -o "$LAB_DIR/new" -i vda,hdb
