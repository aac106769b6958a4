#!/bin/bash
# What the guardian meets when the run's death is not all: the domain is off, or libvirtd died, with the run still there.
# labs: system
. "$(dirname "$0")/lab.sh"
lab_start

raw=$LAB_DIR/content
lab_program_files 6M "$raw"
lab_filled "$LAB_NAME" vda qcow2 "$raw"
lab_domain "$LAB_NAME" vda:qcow2:6M
set=$LAB_DIR/set
np_backup "$LAB_NAME" -l full -o "$set"
checkpoints() { lab_virsh checkpoint-list --name "$LAB_NAME" | grep -c nbdpull; }

# Off, and somebody holds the image: the checkpoint cannot go, is not forgotten, and stops nobody.
np_start_slow "$LAB_NAME" "$set"
guardian=$(np_guardian)
kill -s STOP "$guardian"
kill -9 "$NP_PID"
np_wait 137
lab_virsh destroy "$LAB_NAME" >/dev/null
qemu-nbd --fork -t -f qcow2 -k "$LAB_DIR/nbd.sock" --pid-file="$LAB_DIR/nbd.pid" "$(lab_image "$LAB_NAME" vda)"
kill -s CONT "$guardian"
lab_eventually "the guardian ends" lab_has_ended "$guardian"
np_said "its checkpoint nbdpull-.* will be deleted once the domain runs"
[ ! -e "$set/intent.json" ] && [ -e "$set/deferred.json" ] || lab_fail "in the set: $(ls "$set")"
kill "$(cat "$LAB_DIR/nbd.pid")"
lab_eventually "qemu-nbd ends" lab_has_ended "$(cat "$LAB_DIR/nbd.pid")"
rm -f "$LAB_DIR/nbd.pid" "$LAB_DIR/nbd.sock"
lab_virsh "start $LAB_NAME --paused" >/dev/null
np_backup "$LAB_NAME" -l inc -o "$set" --require-bitmap
np_said "checkpoint nbdpull-.* is gone now"
[ ! -e "$set/deferred.json" ] || lab_fail "deferred.json stays"
[ "$(checkpoints)" -eq 2 ] || lab_fail "checkpoints: $(checkpoints)"

# Off: the bitmap goes from the image, and the checkpoint with it.
np_start_slow "$LAB_NAME" "$set"
guardian=$(np_guardian)
kill -s STOP "$guardian"
kill -9 "$NP_PID"
np_wait 137
lab_virsh destroy "$LAB_NAME" >/dev/null
kill -s CONT "$guardian"
lab_eventually "the guardian ends" lab_has_ended "$guardian"
np_said "its .*checkpoint.* gone now"
[ ! -e "$set/intent.json" ] && [ ! -e "$set/deferred.json" ] || lab_fail "in the set: $(ls "$set")"
[ "$(checkpoints)" -eq 2 ] || lab_fail "checkpoints while off: $(checkpoints)"
lab_virsh "start $LAB_NAME --paused" >/dev/null
np_backup "$LAB_NAME" -l inc -o "$set" --require-bitmap
[ ! -s "$NP_ERR" ] || lab_fail "the next run says: $(cat "$NP_ERR")"

# libvirtd dies in mid-pull: the run cannot end its job, so it fails and its guardian goes on, with the new daemon.
np_start_slow "$LAB_NAME" "$set"
guardian=$(np_guardian)
kill -9 "$(cat "$LAB_DIR/libvirtd.pid")"
np_wait 1
libvirtd -d -p "$LAB_DIR/libvirtd.pid" || lab_fail "libvirtd does not start again"
lab_eventually "the guardian ends" lab_has_ended "$guardian"
grep -q "did not come to its end: its .*job.* gone now" "$NP_ERR" || lab_fail "it says: $(cat "$NP_ERR")"
lab_virsh backup-dumpxml "$LAB_NAME" >/dev/null 2>&1 && lab_fail "the job runs"
[ "$(checkpoints)" -eq 2 ] || lab_fail "checkpoints: $(checkpoints)"
[ ! -e "$set/intent.json" ] || lab_fail "the intent stays"
np_backup "$LAB_NAME" -l inc -o "$set" --require-bitmap
np 0 restore -i "$set" -o "$LAB_DIR/out"
lab_same "$LAB_DIR/out/vda.qcow2" "$raw"
