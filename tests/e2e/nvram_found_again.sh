#!/bin/bash
# Of a guest whose firmware libvirt chooses by itself, libvirt says where the NVRAM lies only while the guest runs. When it is
# off, the last point that saw it run knows; a set that names another file leads nowhere; where none knows, that is said.
# labs: system
. "$(dirname "$0")/lab.sh"
lab_start
[ "$LAB_ISOLATED" = yes ] || lab_skip "a firmware of our own needs a mount namespace"

# Flash needs no firmware in it for a domain that never runs.
lab_small_place 200M "$LAB_DIR/qemu"
cp -a /usr/share/qemu/. "$LAB_DIR/qemu" && mkdir -p "$LAB_DIR/qemu/firmware" || lab_fail "cannot copy QEMU's files"
truncate -s 1M "$LAB_DIR/qemu/code.fd"
lab_random 128K "$LAB_DIR/qemu/vars.fd"
chmod 644 "$LAB_DIR/qemu"/{code,vars}.fd
cat >"$LAB_DIR/qemu/firmware/00-test.json" <<'JSON'
{"description": "test", "interface-types": ["uefi"], "mapping": {"device": "flash",
    "executable": {"filename": "/usr/share/qemu/code.fd", "format": "raw"},
    "nvram-template": {"filename": "/usr/share/qemu/vars.fd", "format": "raw"}},
  "targets": [{"architecture": "x86_64", "machines": ["pc-q35-*"]}], "features": [], "tags": []}
JSON
mount --bind "$LAB_DIR/qemu" /usr/share/qemu || lab_fail "cannot mount /usr/share/qemu"
LAB_MOUNTS=(/usr/share/qemu "${LAB_MOUNTS[@]}")

lab_domain_xml "$LAB_NAME" vda:qcow2:2M | sed "s/<os>/<os firmware='efi'>/" >"$LAB_DIR/efi.xml"
LAB_IMAGE[$LAB_NAME/vda]=$LAB_DIR/$LAB_NAME.vda.qcow2 LAB_FORMAT[$LAB_NAME/vda]=qcow2
LAB_DOMAINS+=("$LAB_NAME")
lab_virsh "define $LAB_DIR/efi.xml; start $LAB_NAME --paused" >/dev/null || lab_fail "the domain does not start"
set=$LAB_DIR/set out=$LAB_DIR/out
np_backup "$LAB_NAME" -l full -o "$set"
nvram=$(lab_virsh dumpxml "$LAB_NAME" | sed -n 's|.*<nvram.*>\(/.*\)</nvram>.*|\1|p')
[ -s "$nvram" ] || lab_fail "no NVRAM: $nvram"
lab_virsh destroy "$LAB_NAME" >/dev/null
if lab_virsh dumpxml "$LAB_NAME" | grep -q '<nvram'; then
    lab_note "this libvirt says where it lies also when the guest is off"
fi

# nvram_is_in POINT: restored, it is what the host has.
nvram_is_in()
{
    rm -rf "$out"
    np 0 restore -i "$set" -o "$out" --until "$1"
    cmp "$out/$LAB_NAME.nvram" "$nvram" || lab_fail "the NVRAM of point $1"
    grep -q "<nvram>$out/$LAB_NAME.nvram</nvram>" "$out/$LAB_NAME.xml" || lab_fail "the XML does not name it"
}

# As the guest might have left it.
lab_random 128K "$nvram"
np_backup "$LAB_NAME" -l inc -o "$set"
[ ! -s "$NP_ERR" ] || lab_fail "it says: $(cat "$NP_ERR")"
nvram_is_in 2

# A set of somebody who would like to read another file.
cp -a "$set" "$LAB_DIR/hostile"
echo secret >"$LAB_DIR/secret"
sed -i "s|>$nvram<|>$LAB_DIR/secret<|" "$LAB_DIR/hostile/config/0001/domain-live.xml"
np_backup "$LAB_NAME" -l full -o "$LAB_DIR/hostile"
grep -q 'warning: the NVRAM is not in this backup: libvirt says where it lies only while the guest runs' "$NP_ERR" ||
    lab_fail "it says: $(cat "$NP_ERR")"
grep -r -q -a secret "$LAB_DIR/hostile/streams" "$LAB_DIR/hostile"/config/000[23] && lab_fail "it read the other file"

# Nobody knows; and the file is gone.
np_backup "$LAB_NAME" -l full -o "$LAB_DIR/new"
np_said 'warning: the NVRAM is not in this backup: libvirt says where it lies only while the guest runs'
mv "$nvram" "$nvram.away"
np_backup "$LAB_NAME" -l inc -o "$set"
np_said "warning: the NVRAM is not in this backup: $nvram: cannot open"
mv "$nvram.away" "$nvram"
