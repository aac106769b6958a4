#!/bin/bash
# What a restore must not do: overwrite, guess a point, invent a disk. It changes nothing then.
# labs: embed
. "$(dirname "$0")/lab.sh"
lab_start

lab_domain "$LAB_NAME" vda:qcow2:4M vdb:qcow2:2M
lab_io "$LAB_NAME" vda "write -P 0x11 1M 1M"
set=$LAB_DIR/set
np_backup "$LAB_NAME" -l full -o "$set"

np 0 restore -i "$set" -o "$LAB_DIR/out"
np_refuses 1 "vda.qcow2.*exists|exists.*vda.qcow2" restore -i "$set" -o "$LAB_DIR/out"
# One of two is in the way: neither is restored.
mkdir "$LAB_DIR/half"
echo precious >"$LAB_DIR/half/vdb.qcow2"
np_refuses 1 "vdb.qcow2.*exists|exists.*vdb.qcow2" restore -i "$set" -o "$LAB_DIR/half"
[ "$(cat "$LAB_DIR/half/vdb.qcow2")" = precious ] || lab_fail "it overwrote"
# Also a name that is only a dangling link, and a directory.
mkdir "$LAB_DIR/link"
ln -s "$LAB_DIR/elsewhere" "$LAB_DIR/link/vda.raw"
np_refuses 1 "vda.raw.*exists|exists.*vda.raw" restore -i "$set" -o "$LAB_DIR/link" --format raw
[ ! -e "$LAB_DIR/elsewhere" ] || lab_fail "it wrote through a link"

for until in 0002 7 nbdpull-no-such-checkpoint yesterdayish; do
    np_refuses 1 "$until.*0001" restore -i "$set" -o "$LAB_DIR/new" --until $until
done
np_refuses 1 'vdx.*vda' restore -i "$set" -o "$LAB_DIR/new" -d vdx
echo file >"$LAB_DIR/file"
np_refuses 1 "$LAB_DIR/file" restore -i "$set" -o "$LAB_DIR/file"

# Streams that are missing, cut, exchanged or foreign are found before anything is written.
cp -r "$set" "$LAB_DIR/gone" && rm "$LAB_DIR/gone/streams/0001.vdb.nbp"
np 4 restore -i "$LAB_DIR/gone" -o "$LAB_DIR/new"
np_said '0001.vdb.nbp'
cp -r "$set" "$LAB_DIR/swapped"
mv "$LAB_DIR/swapped/streams/0001.vda.nbp" "$LAB_DIR/swapped/streams/x"
mv "$LAB_DIR/swapped/streams/0001.vdb.nbp" "$LAB_DIR/swapped/streams/0001.vda.nbp"
mv "$LAB_DIR/swapped/streams/x" "$LAB_DIR/swapped/streams/0001.vdb.nbp"
np 4 restore -i "$LAB_DIR/swapped" -o "$LAB_DIR/new"
np_said '0001.vd[ab].nbp'
np_backup "$LAB_NAME" -l full -o "$LAB_DIR/other"
cp -r "$set" "$LAB_DIR/foreign"
cp "$LAB_DIR/other/streams/0001.vda.nbp" "$LAB_DIR/foreign/streams/"
np 4 restore -i "$LAB_DIR/foreign" -o "$LAB_DIR/new"
np_said '0001.vda.nbp'
sed '/"sum"/d; s/"vda"/"..\/x"/' "$set/points/0001.json" >"$LAB_DIR/foreign/points/0001.json"
np 4 restore -i "$LAB_DIR/foreign" -o "$LAB_DIR/new"
[ -z "$(find "$LAB_DIR" -name 'x.*')" ] || lab_fail "it followed a path in a name"
[ -z "$(find "$LAB_DIR/new" -name '*.qcow2' 2>/dev/null)" ] || lab_fail "an image appeared"
