#!/bin/bash
# Images of a guest that is off are not trusted, nor are QEMU's tools: an image that points to other files is not
# followed there, bitmaps that a full file system has lost are not taken for stored, those of an image that is away are
# not forgotten, and a qemu-img that outlives a killed nbdpull leaves no bitmap behind its guardian.
# labs: system
. "$(dirname "$0")/lab.sh"
lab_need_root "a small file system"
lab_start

LAB_MOUNTS+=("$LAB_DIR/small")
mkdir "$LAB_DIR/small" "$LAB_DIR/bin"
mount -t tmpfs -o size=4M tmpfs "$LAB_DIR/small" || lab_skip "no tmpfs"
cat >"$LAB_DIR/vdb.xml" <<END
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='$LAB_DIR/small/vdb.qcow2'/>
  <target dev='vdb' bus='virtio'/></disk>
END
qemu-img create -q -f qcow2 "$LAB_DIR/small/vdb.qcow2" 2M
lab_domain --off "$LAB_NAME" vda:qcow2:1M "vdb:xml:$LAB_DIR/vdb.xml"
set=$LAB_DIR/set
vda=$(lab_image "$LAB_NAME" vda)
vdb=$LAB_DIR/small/vdb.qcow2
backup=(-c "$LAB_URI" -d "$LAB_NAME" -o "$set")
bitmaps() { qemu-img info --output=json "$1" | jq -c '[."format-specific".data.bitmaps[]?.name]'; }

# Nothing else than the image itself, and files below it.
cp "$vda" "$LAB_DIR/good"
echo 'root:a secret' | dd of="$LAB_DIR/secret" bs=1M conv=sync status=none
rm "$vda"
qemu-img create -q -f qcow2 -o "data_file=$LAB_DIR/data" "$vda" 1M
mv "$LAB_DIR/secret" "$LAB_DIR/data"
np_refuses 1 'vda.*other files.*start the guest' backup "${backup[@]}" -l full
qemu-img create -q -f qcow2 -u -b "$vda" -F qcow2 "$LAB_DIR/top" 1M
mv "$vda" "$LAB_DIR/below"
qemu-img rebase -u -f qcow2 -b "$LAB_DIR/below" -F qcow2 "$LAB_DIR/top"
mv "$LAB_DIR/top" "$vda"
np_refuses 1 'vda.*other files.*start the guest' backup "${backup[@]}" -l full
rm "$vda"
qemu-img create -q -f qcow2 -u -b "nbd:unix:$LAB_DIR/nobody" -F raw "$vda" 1M
np_refuses 1 'vda.*neither a file nor a block device' backup "${backup[@]}" -l full
mv "$LAB_DIR/good" "$vda"

# qemu-img succeeds when it could not store what it added.
np_backup "$LAB_NAME" -l full -o "$set"
before=$(bitmaps "$vda")
dd if=/dev/zero of="$LAB_DIR/small/fill" bs=4k status=none 2>/dev/null
np_refuses 1 'vdb.*store.*full' backup "${backup[@]}" -l full
rm "$LAB_DIR/small/fill"
[ "$(bitmaps "$vda")" = "$before" ] || lab_fail "bitmaps of vda: $(bitmaps "$vda")"
[ "$(bitmaps "$vdb")" = "$before" ] || lab_fail "bitmaps of vdb: $(bitmaps "$vdb")"
np_backup "$LAB_NAME" -l inc -o "$set" --json
[ "$(jq -r '[.disks[].how] | join(" ")' "$NP_OUT")" = "bitmap scan" ] || lab_fail "$(cat "$NP_OUT")"
before=$(bitmaps "$vda")

# A checkpoint stays known while an image that has its bitmap is away.
np_backup "$LAB_NAME" -l full -o "$set" --keep-checkpoints 9
np_backup "$LAB_NAME" -l full -o "$set" --keep-checkpoints 9
mv "$vdb" "$vdb.away"
np_backup "$LAB_NAME" -l full -o "$set" -x vdb
np_said 'vdb.*deferred: No such file'
mv "$vdb.away" "$vdb"
np_backup "$LAB_NAME" -l full -o "$set"
[ "$(bitmaps "$vdb" | jq length)" -eq 1 ] || lab_fail "bitmaps of vdb: $(bitmaps "$vdb")"
before=$(bitmaps "$vda")

# One that begins its work a second after its nbdpull is dead.
cat >"$LAB_DIR/bin/qemu-img" <<END
#!/bin/bash
case "\$*" in
"bitmap --add "*) kill -9 \$PPID && sleep 1 ;;
esac
exec $(command -v qemu-img) "\$@"
END
chmod +x "$LAB_DIR/bin/qemu-img"
has_no_intent() { [ ! -e "$set/intent.json" ] && ! pgrep -x nbdpull-guard >/dev/null; }
PATH=$LAB_DIR/bin:$PATH "$NBDPULL" backup "${backup[@]}" -l inc >/dev/null 2>&1
[ $? -eq 137 ] || lab_fail "it was not killed"
lab_eventually "the guardian puts it right" has_no_intent
lab_eventually "qemu-img ends" eval '! pgrep -x qemu-img >/dev/null'
[ "$(bitmaps "$vda")" = "$before" ] || lab_fail "a bitmap is left: $(bitmaps "$vda")"
exit 0
