#!/bin/bash
# A guest that a run has started, paused, is somebody's as soon as it has run. A run is killed together with its guardian;
# then somebody resumes the guest, however shortly, and it is paused again when the next run finds it: it is the same guest
# afterwards, the run says so, and its own point is exact. One that nobody has resumed is ended, off_paused shows that.
# labs: system
. "$(dirname "$0")/lab.sh"
lab_start

set=$LAB_DIR/set slice=$LAB_DIR/slice.raw
lab_program_files 4M "$LAB_DIR/content"
lab_filled "$LAB_NAME" vda qcow2 "$LAB_DIR/content"
lab_random 1M "$slice"
cat >"$LAB_DIR/slice.xml" <<XML
<disk type='file' device='disk'><driver name='qemu' type='raw'/>
  <source file='$slice'><slices><slice type='storage' offset='65536' size='524288'/></slices></source>
  <target dev='vdb' bus='virtio'/></disk>
XML
lab_domain --off "$LAB_NAME" vda:qcow2:4M "vdb:xml:$LAB_DIR/slice.xml"

state() { lab_virsh "domstate $LAB_NAME"; }
who() { echo "$(lab_virsh "domid $LAB_NAME") $(cat "/run/libvirt/qemu/$LAB_NAME.pid")"; }
resume() { lab_virsh "resume $LAB_NAME" >/dev/null || lab_fail "resume"; }
suspend() { lab_virsh "suspend $LAB_NAME" >/dev/null || lab_fail "suspend"; }
has_read() { [[ $(lab_virsh "domstats $LAB_NAME --block") =~ rd\.reqs=[1-9] ]]; }

started() { np_start_slow "$LAB_NAME" "$set"; }

# Nobody is left to put it right, and the job runs on.
killed()
{
    started
    np_kill_both
    [ "$(state)" = paused ] || lab_fail "it is $(state): this test tests nothing"
}

# same WHAT: it is the guest that was there.
same()
{
    [ "$(state)" = paused ] || lab_fail "$1: the guest is $(state)"
    [ "$(who)" = "$now" ] || lab_fail "$1: another QEMU runs"
}

exact()
{
    qemu-img convert -U -f qcow2 -O raw "$(lab_image "$LAB_NAME" vda)" "$LAB_DIR/tmp/vda" &&
        dd if="$slice" of="$LAB_DIR/tmp/vdb" bs=64k skip=1 count=8 status=none || lab_fail "no truth"
    np_backup "$LAB_NAME" -o "$set" -l auto --json
    np 0 restore -i "$set" -o "$LAB_DIR/out" --format raw
    lab_same "$LAB_DIR/out/vda.raw" "$LAB_DIR/tmp/vda"
    lab_same "$LAB_DIR/out/vdb.raw" "$LAB_DIR/tmp/vdb"
    rm -r "$LAB_DIR/out"
}

# left WHAT: by the next run.
left()
{
    now=$(who)
    np_backup "$LAB_NAME" -o "$set" -l auto
    same "$1"
    grep -q "has run since.*virsh resume $LAB_NAME.*virsh destroy $LAB_NAME" "$NP_ERR" || lab_fail "$1: it says: $(cat "$NP_ERR")"
    exact
    same "$1, the run after that"
}

ended()
{
    lab_virsh "destroy $LAB_NAME --graceful" >/dev/null || lab_fail "destroy"
}

np_backup "$LAB_NAME" -o "$set" -l full
[ "$(state)" = "shut off" ] || lab_fail "it is $(state) after a backup"

# Too short for any clock.
killed
lab_virsh "resume $LAB_NAME; suspend $LAB_NAME" >/dev/null || lab_fail "resume and suspend"
left "resumed for a moment"
ended

# It has used its disks, and its QEMU counts itself as never launched again.
killed
resume
lab_eventually "the guest reads" has_read
suspend
lab_io "$LAB_NAME" vda "write -P 0x51 1M 64k"
lab_virsh "reset $LAB_NAME" >/dev/null || lab_fail "reset"
left "used and reset"
ended

# Its memory was saved meanwhile, and is in a QEMU that has not run.
killed
resume
lab_virsh "domjobabort $LAB_NAME; suspend $LAB_NAME; managedsave $LAB_NAME; start $LAB_NAME" >/dev/null || lab_fail "managedsave"
left "saved and restored"
ended

# It has not run, but somebody copies its disk: that goes on.
killed
mkdir -m 777 "$LAB_DIR/copies"
lab_virsh "domjobabort $LAB_NAME; blockcopy $LAB_NAME vda $LAB_DIR/copies/vda --format qcow2 --transient-job" >/dev/null || lab_fail "blockcopy"
now=$(who)
np 7 backup -c "$LAB_URI" -d "$LAB_NAME" -o "$set" -l auto
np_said "cannot be ended.*vda.*block job \(copy\)"
same "a disk is copied"
lab_virsh "blockjob $LAB_NAME vda --abort" >/dev/null || lab_fail "the copy is gone"
exact
[ "$(state)" = "shut off" ] || lab_fail "nobody copies it any more, and it is $(state)"

# The guardian finds it so.
started
guardian=$(np_guardian)
kill -STOP "$guardian"
lab_virsh "resume $LAB_NAME; suspend $LAB_NAME" >/dev/null || lab_fail "resume and suspend"
now=$(who)
kill -9 "$NP_PID"
np_wait 137
kill -CONT "$guardian"
lab_eventually "the guardian ends" lab_has_ended "$guardian"
same "the guardian"
grep -q 'has run since' "$NP_ERR" || lab_fail "the guardian says: $(cat "$NP_ERR")"
[ ! -e "$set/intent.json" ] || lab_fail "the guardian has left something"
exact
same "after the guardian"
ended
exact
[ "$(state)" = "shut off" ] || lab_fail "a guest that nobody resumed is $(state)"
