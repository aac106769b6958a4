#!/bin/bash
# The disks of a guest hold nearly the same (halves of a mirror, a clone), and an image comes to another one's place:
# the checkpoint's bitmap of the right name comes with it, clean, and path and inode are as before. Each point is exact.
# labs: system
. "$(dirname "$0")/lab.sh"
lab_start

set=$LAB_DIR/set
lab_random 32M "$LAB_DIR/raw"
for target in vda vdb vdc; do
    # One granule of 512 is each disk's own.
    lab_random 4k "$LAB_DIR/own"
    dd if="$LAB_DIR/own" of="$LAB_DIR/raw" bs=4k seek=2500 conv=notrunc status=none
    lab_filled "$LAB_NAME" $target qcow2 "$LAB_DIR/raw"
done
lab_domain --off "$LAB_NAME" vda:qcow2:32M vdb:qcow2:32M vdc:qcow2:32M
vda=$(lab_image "$LAB_NAME" vda) vdb=$(lab_image "$LAB_NAME" vdb) vdc=$(lab_image "$LAB_NAME" vdc)

# point LEVEL HOWS TARGETS [ARGUMENT...]: take one, check how, and that it restores to what is there.
point()
{
    local level=$1 hows=$2 targets=$3 target
    shift 3
    np_backup "$LAB_NAME" -l "$level" -o "$set" --json "$@"
    [ "$(jq -r '[.disks[].how | values] | join(" ")' "$NP_OUT")" = "$hows" ] || lab_fail "not $hows: $(cat "$NP_OUT")"
    # Of a scan: what speaks against the bitmap.
    [ "$(grep -c "$why" "$NP_ERR")" -eq "$(grep -o scan <<<"$hows" | wc -l)" ] || lab_fail "$(cat "$NP_ERR")"
    rm -rf "$LAB_DIR/restored"
    np 0 restore -i "$set" -o "$LAB_DIR/restored" --verify
    for target in $targets; do
        lab_truth "$LAB_NAME" "$target" "$LAB_DIR/truth"
        lab_same "$LAB_DIR/restored/$target.qcow2" "$LAB_DIR/truth"
    done
}
why="warning: disk vd[ab]: .*content has changed"
swap() # IMAGE IMAGE: their contents
{
    cp "$1" "$LAB_DIR/moved"
    cp "$2" "$1"
    cp "$LAB_DIR/moved" "$2"
}

point full "all all all" "vda vdb vdc"
swap "$vda" "$vdb"
point inc "scan scan bitmap" "vda vdb vdc"

# What the guest writes goes by bitmap, although the disks are as much alike as before.
lab_virsh "start $LAB_NAME --paused" >/dev/null
lab_io "$LAB_NAME" vda "write -P 0x31 12M 64k"
lab_io "$LAB_NAME" vdb "write -P 0x31 12M 64k"
point inc "bitmap bitmap bitmap" "vda vdb vdc"
lab_virsh "destroy $LAB_NAME --graceful" >/dev/null 2>&1

# The other one's disk is not in this run; and then its chain is broken, so that nothing can be told from it.
cp "$vdc" "$vda"
point inc "scan bitmap" "vda vdb" -x vdc
point full "all all all" "vda vdb vdc"
last=$("$NBDPULL" dump -i "$set" --json | jq -r '.points[-1].disks[] | select(.target == "vdc") | .file')
mv "$set/$last" "$LAB_DIR/away"
why="warning: disk vd[ab]: .*cannot be told from disk vdc, whose chain is broken.*: .*missing"
point inc "scan scan" "vda vdb" -x vdc
mv "$LAB_DIR/away" "$set/$last"
np 0 verify -i "$set" --deep
exit 0
