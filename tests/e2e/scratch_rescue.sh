#!/bin/bash
# A guest that fills the scratch before anybody can act is paused by an I/O error: the job is ended and the guest goes
# on with nothing lost, by the backup itself or, when it was killed, by whoever puts its run right.
# labs: system embed
# long labs: embed
# cost: 20
. "$(dirname "$0")/lab.sh"
. "$(dirname "$0")/guest.sh"
lab_start
lab_need e2fsck
lab_small_place 4M "$LAB_DIR/small" # before the domain starts: QEMU does not see what is mounted later
lab_guest "$LAB_NAME" vda:qcow2:64M

set=$LAB_DIR/set
guest_exec "$LAB_NAME" "cd /vda; for f in old new; do dd if=/dev/urandom of=\$f bs=1M count=6 2>/dev/null; done; sync; md5sum <new" \
    >"$LAB_DIR/sum" || lab_fail "the guest has no files"
np_backup "$LAB_NAME" -l full -o "$set"

state() { lab_virsh "domstate --reason $LAB_NAME" | tr -d '\n'; }
is_running() { [[ $(state) == running* ]]; }
is_paused() { [[ $(state) == *"I/O error"* ]]; }

# Nothing in reserve: the guest is faster than the guard.
narrow=(--scratch-dir "$LAB_DIR/small" --scratch-reserve 0 -q)
overwrite() { guest_shell "$LAB_NAME" "cd /vda && dd if=new of=old bs=1M conv=notrunc,fsync && sync && echo >done; sync"; }

# The guest has written all, and what it says of itself and what is on its disk is whole.
is_whole()
{
    lab_eventually "$1: the guest goes on" is_running
    lab_eventually "$1: the guest's writes end" guest_exec "$LAB_NAME" "test -e /vda/done"
    [ "$(guest_exec "$LAB_NAME" "md5sum </vda/old")" = "$(cat "$LAB_DIR/sum")" ] || lab_fail "$1: the guest's file is another"
    guest_exec "$LAB_NAME" "dmesg | grep -i error" && lab_fail "$1: the guest has seen errors"
    [ -z "$(ls -A "$LAB_DIR/small")" ] || lab_fail "$1: left in the scratch directory: $(ls "$LAB_DIR/small")"
    lab_jobs | diff "$LAB_DIR/tmp/lab.jobs" - >&2 || lab_fail "$1: a job or a checkpoint stayed"
}

# next_is_exact DIR: the next increment, of a file system that is at rest.
next_is_exact()
{
    guest_agent "$LAB_NAME" guest-fsfreeze-freeze >/dev/null || lab_fail "cannot freeze"
    lab_truth "$LAB_NAME" vda "$LAB_DIR/truth"
    np 0 backup -c "$LAB_URI" -d "$LAB_NAME" -l inc -o "$set" --require-bitmap -q
    guest_agent "$LAB_NAME" guest-fsfreeze-thaw >/dev/null || lab_fail "cannot thaw"
    np 0 restore -i "$set" -o "$1" --format raw
    lab_same "$1/vda.raw" "$LAB_DIR/truth"
    e2fsck -fn "$1/vda.raw" >"$LAB_DIR/tmp/fsck" 2>&1 || lab_fail "e2fsck: $(cat "$LAB_DIR/tmp/fsck")"
}

lab_remember
np_start_held "$LAB_NAME" "${narrow[@]}"
overwrite
np_wait 1
grep -q "warning: .*$LAB_NAME.* paused by an I/O error.* goes on" "$NP_ERR" || lab_fail "not told: $(cat "$NP_ERR")"
sed -i '/ warning: /d' "$NP_ERR"
np_said "$LAB_NAME.*$LAB_DIR/small.*ended itself"
is_whole "the guard"
next_is_exact "$LAB_DIR/out"

# The guard stands still until the guest is paused, and then it is killed. An embedded driver would die with it.
[ "$LAB_KIND" = system ] || exit 0
guest_exec "$LAB_NAME" "rm /vda/done; sync"
lab_remember
np_start_slow "$LAB_NAME" "$set" "${narrow[@]}"
kill -STOP "$NP_PID"
overwrite
lab_eventually "the guest is paused" is_paused
guardian=$(np_guardian)
kill -9 "$NP_PID"
wait "$NP_PID" 2>/dev/null
lab_eventually "the guardian ends" lab_has_ended "$guardian"
np 0 backup -c "$LAB_URI" -d "$LAB_NAME" -l copy -o "$set"
is_whole "after a kill"
next_is_exact "$LAB_DIR/out2"
