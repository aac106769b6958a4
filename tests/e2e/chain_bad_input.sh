#!/bin/bash
# A chain under wrong hands: no chain, a base that keeps no checkpoint, a set that was copied or moved, a domain that
# was renamed or made anew. One clear line and nothing changed, or it works and says what it did.
# labs: system embed
# long labs: embed
. "$(dirname "$0")/lab.sh"
lab_start

set=$LAB_DIR/set
lab_domain "$LAB_NAME" vda:qcow2:4M
names() { lab_virsh "checkpoint-list --name $LAB_NAME" | grep . | sort; }

# exact SET NAME [ARGUMENT...]: a backup of NAME, restored, is what the guest sees.
exact()
{
    local set=$1 name=$2
    shift 2
    lab_truth "$LAB_NAME" vda "$LAB_DIR/tmp/vda"
    np_backup "$name" -o "$set" "$@"
    cp "$NP_ERR" "$LAB_DIR/tmp/said"
    np 0 restore -i "$set" -o "$LAB_DIR/out" --format raw
    lab_same "$LAB_DIR/out/vda.raw" "$LAB_DIR/tmp/vda"
    rm -rf "$LAB_DIR/out"
}

lab_io "$LAB_NAME" vda "write -P 0x11 0 3M"
for level in inc diff; do
    np_refuses 1 "level $level needs a full" backup -c "$LAB_URI" -d "$LAB_NAME" -l $level -o "$LAB_DIR/new"
done
np_backup "$LAB_NAME" -l copy -o "$LAB_DIR/copies"
np_refuses 1 "level inc needs a full" backup -c "$LAB_URI" -d "$LAB_NAME" -l inc -o "$LAB_DIR/copies"

for level in full inc inc inc diff; do
    lab_io "$LAB_NAME" vda "write -P 0x12 1M 64k"
    exact "$set" "$LAB_NAME" -l $level
done
np_refuses 1 'no restore point.*0009' backup -c "$LAB_URI" -d "$LAB_NAME" -l diff -o "$set" --from 0009
np_refuses 1 'point 0005 is a diff' backup -c "$LAB_URI" -d "$LAB_NAME" -l diff -o "$set" --from 5
# The checkpoint of 0002 was pruned: a scan against it is exact all the same, and refused where a bitmap must be.
names | grep -q -- -0002- && lab_fail "the checkpoint of 0002 is there"
np_refuses 8 'require-bitmap' backup -c "$LAB_URI" -d "$LAB_NAME" -l diff -o "$set" --from 2 --require-bitmap
exact "$set" "$LAB_NAME" -l diff --from 2
"$NBDPULL" dump -i "$set" | tail -n 1 | grep -q 'bitmap.*0002.*lost' || lab_fail "$("$NBDPULL" dump -i "$set")"

# A copy of the set, and the set in another place: what was made before is not pruned, and that is said.
cp -a "$set" "$LAB_DIR/copy"
before=$(names)
lab_io "$LAB_NAME" vda "write -P 0x13 2M 64k"
exact "$LAB_DIR/copy" "$LAB_NAME" -l inc
grep -qi 'copied or moved\|copied\|moved' "$LAB_DIR/tmp/said" || lab_fail "not said: $(cat "$LAB_DIR/tmp/said")"
exact "$LAB_DIR/copy" "$LAB_NAME" -l full
[ -z "$(comm -23 <(echo "$before") <(names))" ] || lab_fail "the copy pruned: $before; now $(names)"
exact "$set" "$LAB_NAME" -l inc --require-bitmap
mv "$set" "$LAB_DIR/moved"
exact "$LAB_DIR/moved" "$LAB_NAME" -l inc --require-bitmap

# The UUID decides, not the name.
lab_virsh "destroy $LAB_NAME" >/dev/null 2>&1
is_off() { [ "$(lab_virsh "domstate $LAB_NAME")" = "shut off" ]; }
lab_eventually "the domain is off" is_off
lab_virsh "domrename $LAB_NAME $LAB_NAME-2" >/dev/null || lab_fail "domrename"
LAB_DOMAINS+=("$LAB_NAME-2")
lab_virsh "start --paused $LAB_NAME-2" >/dev/null || lab_fail "start"
exact "$LAB_DIR/moved" "$LAB_NAME-2" -l inc
grep -q "$LAB_NAME-2 now" "$LAB_DIR/tmp/said" || lab_fail "not said: $(cat "$LAB_DIR/tmp/said")"

# Another domain under the old name: refused, with both.
lab_virsh "define $LAB_DIR/$LAB_NAME.xml" >/dev/null || lab_fail "define"
lab_virsh "destroy $LAB_NAME-2" >/dev/null 2>&1
lab_eventually "it starts" lab_virsh "start --paused $LAB_NAME"
np_refuses 1 "belongs to domain $LAB_NAME-2 \\(.*not to $LAB_NAME \\(" backup -c "$LAB_URI" -d "$LAB_NAME" -l inc -o "$LAB_DIR/moved"
exit 0
