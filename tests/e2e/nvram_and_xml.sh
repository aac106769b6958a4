#!/bin/bash
# What belongs to a guest beside its disks: both XMLs without secrets, NVRAM; and a definition that starts beside it.
# labs: system embed
# long labs: embed
# cost: 15
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
at = end = len(data)
if name == b"end": # DIR and END, or the second META too: nothing tells any more how many files there were
    at = data.rfind(b"\x89NBP\x01\x06")
elif name == b"trailer":
    at = data.rfind(b"\x89NBP\x01\x01")
else:
    at = data.find(len(name).to_bytes(2, "little") + name) - 24 - 96
    end = at + 96
    assert data[at:at + 4] == b"\x89NBP" and data[at + 5] == 4
data[at:end] = bytes(end - at) # of a file the header: nothing but a gap is left of it
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

# The live XML alone names the NVRAM, as where libvirt chooses the firmware.
lab_virsh dumpxml --inactive "$LAB_NAME" | sed '/<loader/d; /<nvram/d' >"$LAB_DIR/plain.xml"
lab_virsh define "$LAB_DIR/plain.xml" >/dev/null || lab_fail "cannot define the guest without NVRAM"
np_backup "$LAB_NAME" -l full -o "$set"
# And then there is none.
lab_virsh "destroy $LAB_NAME; start $LAB_NAME --paused" >/dev/null || lab_fail "the guest does not start"
np_backup "$LAB_NAME" -l full -o "$set"
cp -a "$set" "$LAB_DIR/good"

# loses POINT STATUS LOST POSSIBLE WHAT...: a salvage, when that is lost of each stream
loses()
{
    local target what
    rm -rf "$set" "$out"
    cp -a "$LAB_DIR/good" "$set"
    for target in vda vdb; do
        for what in "${@:5}"; do
            damage "$set/streams/$1.$target.nbp" "$what"
        done
    done
    np "$2" restore -i "$set" -o "$out" --until "$1" --salvage --json
    [ "$(jq -r '[(.lost_files | join(" ")), (.possible_files | join(" "))] | join("/")' "$NP_OUT")" = "$3/$4" ] ||
        lab_fail "$*: $(cat "$NP_OUT")"
    [ -z "$3" ] || grep -q "the file ${3%% *} of the point is lost" "$NP_ERR" || lab_fail "$*: $(cat "$NP_ERR")"
    [ -z "$4" ] || grep -q "the file $4 of the point may be lost" "$NP_ERR" || lab_fail "$*: $(cat "$NP_ERR")"
    [ -e "$out/vda.qcow2" ] && [ ! -e "$out/vda.losses" ] || lab_fail "$*: a list of losses, or no image"
}
# The number of files tells that one more is missing than is known.
loses 0002 0 "" "" domain-live.xml checkpoint.xml
cmp "$out/$LAB_NAME.nvram" "$vars" || lab_fail "the NVRAM differs"
loses 0002 6 nvram "" domain-live.xml checkpoint.xml nvram
loses 0002 6 nvram "" domain-live.xml nvram end # by the second META
loses 0002 6 "domain.xml nvram" "" domain.xml domain-live.xml checkpoint.xml nvram
loses 0003 0 "" "" domain-live.xml checkpoint.xml
loses 0003 6 domain.xml "" domain.xml domain-live.xml
# Without it the live XML does, and without that nobody can.
loses 0002 0 "" "" trailer
loses 0002 6 "" nvram nvram trailer
loses 0003 0 "" "" checkpoint.xml trailer
loses 0003 6 "" nvram domain-live.xml trailer
loses 0003 6 domain.xml nvram domain.xml domain-live.xml trailer

# Of one disk alone: what its stream has lost of them, the whole stream of another one has.
one()
{
    local status=$1
    rm -rf "$out"
    np "$status" restore -i "$set" -o "$out" --until 0002 --salvage -d vda
    [ ! -e "$out/vdb.qcow2" ] || lab_fail "vdb was not asked for"
}
rm -rf "$set"
cp -a "$LAB_DIR/good" "$set"
for what in domain.xml domain-live.xml nvram; do
    damage "$set/streams/0002.vda.nbp" $what
done
one 0
cmp "$out/$LAB_NAME.nvram" "$vars" || lab_fail "the NVRAM differs"
[ -e "$out/$LAB_NAME.xml" ] || lab_fail "no XML"
damage "$set/streams/0002.vdb.nbp" nvram
one 6
grep -q 'the file nvram of the point is lost' "$NP_ERR" || lab_fail "told: $(cat "$NP_ERR")"
rm "$set/streams/0002.vdb.nbp"
one 6
