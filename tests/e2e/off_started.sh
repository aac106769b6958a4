#!/bin/bash
# While the images of a guest that is off are read, it cannot be started, and can afterwards; signals, a server that
# dies and a guest that was started a moment before end the backup and leave nothing; a guest that shuts down in the
# middle of a backup of a running one loses that point only.
# labs: system
# cost: 20
. "$(dirname "$0")/lab.sh"
lab_start

raw=$LAB_DIR/content
lab_program_files 6M "$raw"
lab_filled "$LAB_NAME" vda qcow2 "$raw"
lab_domain --off "$LAB_NAME" vda:qcow2:6M vdb:qcow2:1M
set=$LAB_DIR/set
vda=$(lab_image "$LAB_NAME" vda)
np_backup "$LAB_NAME" -l full -o "$set"

bitmaps() { qemu-img info -U --output=json "$1" | jq -r '[."format-specific".data.bitmaps[]?.name] | sort | join(" ")'; }
unchanged()
{
    lab_unchanged "$1"
    [ "$(bitmaps "$vda")" = "$before" ] || lab_fail "$1: bitmaps $(bitmaps "$vda")"
    [ "$(np_points "$set")" = "$points" ] || lab_fail "$1: points"
}
before=$(bitmaps "$vda")
points=$(np_points "$set")
is_read() { [ -n "$(find "$set/streams" -name '*.nbp' -newer "$LAB_DIR/tmp/mark" -size +64k)" ]; }
slow()
{
    touch "$LAB_DIR/tmp/mark"
    np_start backup -c "$LAB_URI" -d "$LAB_NAME" -l full -o "$set" --compress zstd:19 -w 1
    lab_eventually "the images are read" is_read
}

touch "$LAB_DIR/tmp/mark" "$LAB_DIR/tmp/lab.bg.out" "$LAB_DIR/tmp/lab.bg.err"
lab_remember
slow
kill -TERM "$NP_PID"
np_wait 143
unchanged "SIGTERM"
slow
kill -9 "$(pgrep -x qemu-nbd | head -n 1)"
np_wait 1
unchanged "qemu-nbd killed"

# Started by its user in the middle: refused, without harm to either.
slow
lab_virsh "start $LAB_NAME --paused" >"$LAB_DIR/tmp/start" 2>&1 && lab_fail "the guest started beside qemu-nbd"
grep -q 'lock' "$LAB_DIR/tmp/start" || lab_fail "start says: $(cat "$LAB_DIR/tmp/start")"
np_wait 0
lab_virsh "start $LAB_NAME --paused" >/dev/null || lab_fail "the guest does not start after the backup"
lab_io "$LAB_NAME" vda "write -P 0x51 5M 64k"
lab_truth "$LAB_NAME" vda "$LAB_DIR/truth"
np_backup "$LAB_NAME" -l inc -o "$set" --require-bitmap
np 0 restore -i "$set" -o "$LAB_DIR/out"
lab_same "$LAB_DIR/out/vda.qcow2" "$LAB_DIR/truth"

# It shuts down in the middle of a backup of the running guest.
points=$(np_points "$set")
np_start_slow "$LAB_NAME" "$set" -q
lab_virsh "destroy $LAB_NAME --graceful" >/dev/null
np_wait 1
[ "$(np_points "$set")" = "$points" ] || lab_fail "points after the guest's end"
qemu-io -f qcow2 -c "write -P 0x52 4M 64k" "$vda" >/dev/null
lab_truth "$LAB_NAME" vda "$LAB_DIR/truth"
np_backup "$LAB_NAME" -l inc -o "$set" --require-bitmap
np 0 restore -i "$set" -o "$LAB_DIR/out2"
lab_same "$LAB_DIR/out2/vda.qcow2" "$LAB_DIR/truth"
[ "$(bitmaps "$vda" | wc -w)" -eq 2 ] || lab_fail "bitmaps: $(bitmaps "$vda")"

# Started between the question whether it runs and the first bitmap.
mkdir "$LAB_DIR/bin"
cat >"$LAB_DIR/bin/qemu-img" <<EOF
#!/bin/bash
case "\$*" in
*--add*\$START_AT*) virsh -q -c '$LAB_URI' start '$LAB_NAME' --paused >/dev/null ;;
esac
exec $(command -v qemu-img) "\$@"
EOF
chmod +x "$LAB_DIR/bin/qemu-img"
for at in vda vdb; do
    before=$(bitmaps "$vda")
    checkpoints=$(lab_virsh checkpoint-list --name "$LAB_NAME")
    PATH=$LAB_DIR/bin:$PATH START_AT=$at.qcow2 np 7 backup -c "$LAB_URI" -d "$LAB_NAME" -l inc -o "$set"
    np_said "$at"
    [ "$(lab_virsh domstate "$LAB_NAME")" = paused ] || lab_fail "the guest does not run: this test tests nothing"
    [ "$(lab_virsh checkpoint-list --name "$LAB_NAME")" = "$checkpoints" ] || lab_fail "a checkpoint stayed"
    lab_virsh "destroy $LAB_NAME --graceful" >/dev/null
    [ "$(bitmaps "$vda")" = "$before" ] || lab_fail "a bitmap stayed: $(bitmaps "$vda")"
    [ ! -e "$set/intent.json" ] || lab_fail "the intent stayed"
done
np_backup "$LAB_NAME" -l inc -o "$set" --require-bitmap
