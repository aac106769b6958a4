#!/bin/bash
# What belongs to a guest beside its disks: both XMLs without secrets, NVRAM; and a definition that starts beside it.
# labs: embed system
. "$(dirname "$0")/lab.sh"
lab_start

# Flash needs no firmware in it for a domain that never runs.
code=$LAB_DIR/code.fd
vars=$LAB_DIR/vars.fd
lab_random 1M "$code"
lab_random 128K "$vars"
chmod 644 "$code"
cp "$vars" "$LAB_DIR/vars.before"
mkdir -m 777 "$LAB_DIR/screens"
cat >"$LAB_DIR/screen.xml" <<XML
<graphics type='vnc' passwd='geheim' socket='$LAB_DIR/screens/vnc'/>
XML
lab_domain "$LAB_NAME" vda:qcow2:6M vdb:raw:2M sda:cdrom "nvram:$code:$vars" "screen:xml:$LAB_DIR/screen.xml"
lab_virsh dumpxml --security-info "$LAB_NAME" | grep -q geheim || lab_fail "the domain has no secret to leak"
lab_io "$LAB_NAME" vda "write -P 0x11 1M 1M"
lab_io "$LAB_NAME" vdb "write -P 0x12 1M 512"
lab_truth "$LAB_NAME" vda "$LAB_DIR/truth.vda"
lab_truth "$LAB_NAME" vdb "$LAB_DIR/truth.vdb"

set=$LAB_DIR/set
out=$LAB_DIR/out
np_backup "$LAB_NAME" -l full -o "$set"
# What restore makes is for its owner alone; QEMU's user has to pass through.
mkdir -m 711 "$out"
np 0 restore -i "$set" -o "$out"
grep -r -q geheim "$set" "$out" && lab_fail "a secret of the domain is in the set or in the restore"
[ "$(find "$set/config/0001" -name '*.xml' | wc -l)" -ge 2 ] || lab_fail "config: $(ls "$set/config/0001")"

# As it was saved, and as it can be defined.
original=$out/$LAB_NAME.original.xml
definable=$out/$LAB_NAME.xml
grep -qF "<name>$LAB_NAME</name>" "$original" || lab_fail "$original"
grep -q '<uuid>' "$original" || lab_fail "$original has no uuid"
grep -q '<uuid>' "$definable" && lab_fail "$definable has the original's uuid"
grep -qF "$LAB_DIR/$LAB_NAME" "$definable" && lab_fail "$definable points at the original's disks"
grep -qF "$vars" "$definable" && lab_fail "$definable shares the original's NVRAM"
nvram=$(sed -n 's,.*<nvram[^>]*>\(.*\)</nvram>.*,\1,p' "$definable")
[ "${nvram#"$out"/}" != "$nvram" ] || lab_fail "NVRAM at $nvram"
cmp "$nvram" "$LAB_DIR/vars.before" || lab_fail "the NVRAM differs"

name=$(sed -n 's,.*<name>\(.*\)</name>.*,\1,p' "$definable" | head -n 1)
[ -n "$name" ] && [ "$name" != "$LAB_NAME" ] || lab_fail "the restored guest's name is $name"
# The original runs on; the restored one starts beside it.
LAB_DOMAINS+=("$name")
lab_virsh "define $definable; start $name --paused" >/dev/null || lab_fail "the restored guest does not start"
[ "$(lab_virsh domstate "$LAB_NAME")" = paused ] || lab_fail "the original is $(lab_virsh domstate "$LAB_NAME")"
lab_virsh domblklist "$name" | grep -qF "$out/vda.qcow2" || lab_fail "disks: $(lab_virsh domblklist "$name")"
LAB_FORMAT[$name/vda]=qcow2 LAB_IMAGE[$name/vda]=$out/vda.qcow2
LAB_FORMAT[$name/vdb]=qcow2 LAB_IMAGE[$name/vdb]=$out/vdb.qcow2
for target in vda vdb; do
    lab_truth "$name" $target "$LAB_DIR/again.$target"
    cmp "$LAB_DIR/again.$target" "$LAB_DIR/truth.$target" || lab_fail "the restored guest's $target differs"
done

# And it can be backed up in its turn, but not into the original's set.
np_refuses 1 "$LAB_NAME" backup -c "$LAB_URI" -d "$name" -l full -o "$set"
np_backup "$name" -l full -o "$LAB_DIR/set2"

# Files of a damaged set: each stream of the point has them, and what none has any more is told as lost.
damage()
{
    python3 - "$1" "$2" <<'PY' || lab_fail "no $2 in $1"
import sys
data = bytearray(open(sys.argv[1], "rb").read())
name = sys.argv[2].encode()
at = data.find(len(name).to_bytes(2, "little") + name) - 24 - 96
assert data[at:at + 4] == b"\x89NBP" and data[at + 5] == 4
data[at + 30] ^= 1 # the header: nothing but a gap is left of it
open(sys.argv[1], "wb").write(data)
PY
}

out=$LAB_DIR/salvaged # the restored guest is using the other
damage "$set/streams/0001.vda.nbp" nvram
damage "$set/streams/0001.vdb.nbp" domain.xml
np 0 restore -i "$set" -o "$out" --salvage
cmp "$out/$LAB_NAME.nvram" "$LAB_DIR/vars.before" || lab_fail "the NVRAM differs"
rm -rf "$out"
damage "$set/streams/0001.vdb.nbp" nvram
np 6 restore -i "$set" -o "$out" --salvage
grep -q 'the file nvram of the point is lost' "$NP_ERR" || lab_fail "told: $(cat "$NP_ERR")"
rm -rf "$out"
damage "$set/streams/0001.vda.nbp" domain.xml
np 6 restore -i "$set" -o "$out" --salvage
grep -q 'the file domain.xml of the point is lost' "$NP_ERR" || lab_fail "told: $(cat "$NP_ERR")"
