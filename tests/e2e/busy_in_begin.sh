#!/bin/bash
# Somebody's block job begins between the run's last look and its own begin: that is "busy", in whatever language libvirtd
# says so, and nothing of either is touched.
# labs: system
. "$(dirname "$0")/lab.sh"
lab_start
: "${NBDPULL_HOLD:?is the library that holds the begin call}"
[ "$LAB_ISOLATED" = yes ] || lab_skip "the machine's own libvirtd must not be stopped"

# A libvirtd that speaks another language, where its translations are installed; LAB_DIR/libvirtd.pid is the lab's.
pid=$(cat "$LAB_DIR/libvirtd.pid")
kill "$pid"
lab_eventually "libvirtd is gone" test ! -e "/proc/$pid/exe"
rm -f "$LAB_DIR/libvirtd.pid"
LC_ALL=C.UTF-8 LANGUAGE=ja libvirtd -d -p "$LAB_DIR/libvirtd.pid" || lab_fail "libvirtd does not start again"

lab_domain "$LAB_NAME" vda:qcow2:4M
lab_io "$LAB_NAME" vda "write -P 0x31 1M 1M"
mkdir -m 777 "$LAB_DIR/copies"
chmod 777 "$LAB_DIR/copies"
set=$LAB_DIR/set
export HOLD_BEGIN=$LAB_DIR/tmp/lab.hold
np_backup "$LAB_NAME" -l full -o "$set"
LD_PRELOAD=$NBDPULL_HOLD np_start backup -c "$LAB_URI" -d "$LAB_NAME" -l inc -o "$set"
lab_eventually "it begins" test -e "$HOLD_BEGIN"
lab_virsh blockcopy "$LAB_NAME" vda "$LAB_DIR/copies/copy" --format qcow2 --transient-job >/dev/null ||
    lab_fail "no block job"
rm "$HOLD_BEGIN"
np_wait 7
np_said "cannot begin the backup job"
lab_virsh blockjob "$LAB_NAME" vda 2>&1 | grep -q Copy || lab_fail "the block job is gone"
[ ! -e "$set/intent.json" ] && [ -z "$(find /var/tmp -mindepth 1)" ] || lab_fail "left: $(find /var/tmp "$set/intent.json")"
lab_virsh blockjob "$LAB_NAME" vda --abort >/dev/null || lab_fail "the block job does not end"
np_backup "$LAB_NAME" -l inc -o "$set" --require-bitmap
