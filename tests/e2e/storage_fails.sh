#!/bin/bash
# What lies below QEMU fails, hangs or lies while it is read, and QEMU itself stands still: the run ends with an error that
# names disk and byte, or goes on when its cause is over; everything is undone, the guest never notices, and the next run is
# exact.
# labs: system
. "$(dirname "$0")/lab.sh"
lab_need nbdkit
lab_start

set=$LAB_DIR/set
lab_program_files 6M "$LAB_DIR/content"
lab_filled "$LAB_NAME" vda qcow2 "$LAB_DIR/content"
head -c 3M "$LAB_DIR/content" >"$LAB_DIR/net.raw"

# nbdkit below vdb: reads fail while tmp/reads is there.
nbdkit -f -U "$LAB_DIR/net.sock" --filter=error file "$LAB_DIR/net.raw" error-pread=EIO error-pread-rate=100% \
    error-pread-file="$LAB_DIR/tmp/reads" 2>/dev/null &
storage=$!
trap 'status=$?; kill -9 $storage; (exit $status); lab_end' EXIT
lab_eventually "the disk is served" test -S "$LAB_DIR/net.sock"
chmod 777 "$LAB_DIR/net.sock"
cat >"$LAB_DIR/net.xml" <<XML
<disk type='network' device='disk'><driver name='qemu' type='raw'/><source protocol='nbd' name='net'>
  <host transport='unix' socket='$LAB_DIR/net.sock'/></source><target dev='vdb' bus='virtio'/></disk>
XML
lab_domain "$LAB_NAME" vda:qcow2:6M "vdb:xml:$LAB_DIR/net.xml"
qemu() { cat "/run/libvirt/qemu/$LAB_NAME.pid"; }

points=0
# exact WHAT: so many points, the newest as the disks are.
exact()
{
    [ "$(np_points "$set" | wc -w)" -eq $points ] || lab_fail "$1: points $(np_points "$set")"
    np 0 restore -i "$set" -o "$LAB_DIR/out" --format raw
    lab_same "$LAB_DIR/out/vda.raw" "$LAB_DIR/content"
    lab_same "$LAB_DIR/out/vdb.raw" "$LAB_DIR/net.raw"
    rm -r "$LAB_DIR/out"
}
next()
{
    np_backup "$LAB_NAME" -l "${2:-inc}" -o "$set"
    [ ! -s "$NP_ERR" ] || lab_fail "$1: the next run says $(cat "$NP_ERR")"
    points=$((points + 1))
    exact "$1"
}
next "at first" full

# ---- errors ----

for level in full inc; do
    lab_remember
    touch "$LAB_DIR/tmp/reads"
    np 1 backup -c "$LAB_URI" -d "$LAB_NAME" -l $level -o "$set" --json
    rm "$LAB_DIR/tmp/reads"
    np_said "disk vdb: .*cannot read .*Input/output error"
    jq -e '.error | .class == "failed" and .disk == "vdb" and .offset < 3145728' "$NP_OUT" >/dev/null ||
        lab_fail "$level: $(cat "$NP_OUT")"
    lab_unchanged "$level"
    [ "$(lab_virsh domstate "$LAB_NAME")" = paused ] || lab_fail "the guest is $(lab_virsh domstate "$LAB_NAME")"
    next "$level"
done

# ---- nobody answers for a while ----

# held: a run in the middle of its job, where it waits for the storage.
is_pulling() { np_is_pulling "$set" "$LAB_NAME"; }
held()
{
    kill -STOP $storage
    np_start backup -c "$LAB_URI" -d "$LAB_NAME" -l inc -o "$set"
    lab_eventually "the job begins" is_pulling
}

# A run that is ended meanwhile takes its job back as soon as that can be; another goes on.
lab_remember
held
kill -INT "$NP_PID"
sleep 1
kill -CONT $storage
np_wait 130
lab_unchanged "SIGINT while the storage hung"

held
kill -STOP "$(qemu)"
kill -INT "$NP_PID"
sleep 1
kill -CONT "$(qemu)" $storage
np_wait 130
lab_unchanged "SIGINT while QEMU stood still"

held
kill -STOP "$(qemu)"
sleep 1
kill -CONT "$(qemu)" $storage
np_wait 0
points=$((points + 1))
exact "QEMU stood still"

# ---- a size that no stream can hold ----

lab_domain --off "$LAB_NAME-huge" vda:qcow2:9007199254740992:cluster_size=2M
np 1 backup -c "$LAB_URI" -d "$LAB_NAME-huge" -l copy -o "$LAB_DIR/huge" --json
np_said "disk vda cannot be stored: a disk of 9007199254740992 bytes"
jq -e '.error | .class == "failed" and .disk == "vda"' "$NP_OUT" >/dev/null || lab_fail "$(cat "$NP_OUT")"
[ ! -e "$LAB_DIR/huge" ] || lab_fail "a set was made: $(find "$LAB_DIR/huge")"
