#!/bin/bash
# dump: the JSON that other programs read, the table that fits a terminal, the map that covers the disk.
# labs: embed
. "$(dirname "$0")/lab.sh"
lab_start

lab_domain "$LAB_NAME" vda:qcow2:10M vdb:raw:1049088
lab_io "$LAB_NAME" vda "write -P 0x11 1M 1M" "write -P 0x12 5M 100k"
lab_io "$LAB_NAME" vdb "write -P 0x13 0 1"
set=$LAB_DIR/set
np_backup "$LAB_NAME" -l full -o "$set"
np_backup "$LAB_NAME" -l copy -i vdb -o "$set"
checkpoint=$(lab_virsh checkpoint-list --name "$LAB_NAME" | sed -n 1p)

# is FILTER: it is true of the document in NP_OUT.
is()
{
    jq -e --arg checkpoint "$checkpoint" "$1" "$NP_OUT" >/dev/null || lab_fail "not so: $1 of $(cat "$NP_OUT")"
}
np 0 dump -i "$set" --json
[ ! -s "$NP_ERR" ] || lab_fail "standard error: $(cat "$NP_ERR")"
[ "$(jq -s length "$NP_OUT")" -eq 1 ] || lab_fail "not one document"
is '[.points[].id] == ["0001", "0002"]'
is '[.points[].level] == ["full", "copy"]'
is '.points[0].checkpoint == $checkpoint'
is '.points[1].checkpoint == null or .points[1].checkpoint == ""'
is '[.points[].time | test("^20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,}Z$")] | all'
is '[.points[0].disks[].target] == ["vda", "vdb"]'
is '[.points[].disks[] | has("target") and has("level") and has("how") and has("why") and has("parent")
    and has("stream_uuid") and has("virtual_size") and has("data_bytes") and has("zero_bytes") and has("stored_bytes")
    and has("codec") and has("file")] | all'
is '[.points[0].disks[] | .level] == ["full", "full"] and [.points[0].disks[] | .parent] == [null, null]'
is '[.points[0].disks[].virtual_size] == [10485760, 1049088]'
# Whole granules of 64 KiB, and the rest of the disk is zero.
is '.points[0].disks[0] | .data_bytes == 1048576 + 131072 and .data_bytes + .zero_bytes == .virtual_size'
is '.points[0].disks[1] | .data_bytes == 65536 and .data_bytes + .zero_bytes == .virtual_size'
is '[.points[].disks[] | select(.file != null) | .stored_bytes < 65536 and .codec == "lz4"] | all'
is '[.points[].disks[].stream_uuid | select(. != null)] | length == (unique | length)'
while read -r file; do
    [ -f "$set/$file" ] || lab_fail "no file $file in the set"
done < <(jq -r '.points[].disks[].file | select(. != null and . != "")' "$NP_OUT")

np 0 dump -i "$set"
[ "$(wc -L <"$NP_OUT")" -le 100 ] || lab_fail "the table is $(wc -L <"$NP_OUT") columns wide"
for word in 0001 0002 full copy vda vdb; do
    grep -qw $word "$NP_OUT" || lab_fail "the table lacks $word: $(cat "$NP_OUT")"
done
np 0 dump -i "$set" --map
[ "$(grep -ciw data "$NP_OUT")" -ge 3 ] && [ "$(grep -ciw zero "$NP_OUT")" -ge 3 ] || lab_fail "map: $(cat "$NP_OUT")"
np 0 dump -i "$set" --map --json
is '[.. | objects | select(has("offset") and has("length"))] | length >= 6'
np 0 dump -i "$set/streams/0001.vda.nbp" --json
is '.points[0].disks | length == 1 and .[0].target == "vda"'

# A set that was only just made has no point, and that is no error.
mkdir "$LAB_DIR/empty"
cp "$set/set.json" "$LAB_DIR/empty/"
mkdir "$LAB_DIR/empty/points" "$LAB_DIR/empty/streams"
np 0 dump -i "$LAB_DIR/empty" --json
is '.points == []'
