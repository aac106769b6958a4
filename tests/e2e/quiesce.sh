#!/bin/bash
# The guest is frozen while the job begins: the restored ext4 is clean without its journal and holds what was written
# but never synced. Without freezing it needs the journal. What cannot be frozen: auto goes on, require does not.
# labs: system session
# long labs: session
# cost: 30
. "$(dirname "$0")/lab.sh"
. "$(dirname "$0")/guest.sh"
lab_start

lab_guest "$LAB_NAME" vda:qcow2:64M
set=$LAB_DIR/set
thawed() { guest_is_thawed "$LAB_NAME" || lab_fail "$1: the guest is not thawed"; }

# restored POINT: its disk as a raw file
restored()
{
    np 0 restore -i "$set" -o "$LAB_DIR/out$1" --until "$1" --format raw
    raw=$LAB_DIR/out$1/vda.raw
}
needs_recovery() { dumpe2fs -h "$raw" 2>/dev/null | grep -q needs_recovery; }

# Written by a process that never syncs, and goes on writing.
guest_exec "$LAB_NAME" "dd if=/dev/urandom of=/vda/file bs=100k count=30 2>/dev/null; md5sum </vda/file" \
    >"$LAB_DIR/tmp/sum"
guest_shell "$LAB_NAME" "while :; do date >>/vda/log; mkdir -p /vda/dir; rm -r /vda/dir; done &"
np_backup "$LAB_NAME" -l full -o "$set" --quiesce no
np_backup "$LAB_NAME" -l inc -o "$set" -v --json
thawed success
grep -q 'was frozen for [0-9]* ms' "$NP_ERR" || lab_fail "no duration: $(cat "$NP_ERR")"
lab_note "$(grep -o 'was frozen for [0-9]* ms' "$NP_ERR")"
[ "$(jq .quiesced "$NP_OUT")" = true ] || lab_fail "the result does not say so"
[ "$("$NBDPULL" dump -i "$set" --json | jq -c '[.points[].quiesced]')" = '[false,true]' ] || lab_fail "the points do not"
"$NBDPULL" dump -i "$set" --until 2 | grep -q quiesced || lab_fail "dump does not"
"$NBDPULL" dump -i "$(echo "$set"/streams/0002.*)" --json | jq -e '.points[0].quiesced' >/dev/null ||
    lab_fail "the stream's META does not"

restored 1
needs_recovery || lab_fail "without freezing nothing is in the journal: this test tests nothing"
restored 2
needs_recovery && lab_fail "the frozen file system needs its journal"
e2fsck -fn "$raw" >"$LAB_DIR/tmp/fsck" 2>&1 || lab_fail "e2fsck: $(cat "$LAB_DIR/tmp/fsck")"
debugfs -R "cat /file" "$raw" 2>/dev/null | md5sum | cmp - "$LAB_DIR/tmp/sum" || lab_fail "the file is another"

guest_shell "$LAB_NAME" 'kill %1' # it took the processor
# Frozen by somebody else, who thaws it: not our freeze.
guest_agent "$LAB_NAME" guest-fsfreeze-freeze >/dev/null
np_refuses 1 "frozen|freeze.*domain $LAB_NAME.*somebody else" backup -c "$LAB_URI" -d "$LAB_NAME" -l inc -o "$set" \
    --quiesce require
np_backup "$LAB_NAME" -l inc -o "$set"
np_said "warning.*somebody else.*power cut"
guest_is_frozen "$LAB_NAME" || lab_fail "somebody else's freeze was undone"
guest_agent "$LAB_NAME" guest-fsfreeze-thaw >/dev/null

# Begin fails when the guest is frozen already: no right for the directory of socket and scratch.
mkdir -m 700 "$LAB_DIR/scratch"
if [ "$LAB_KIND" = system ]; then
    np_refuses 1 'ermission' backup -c "$LAB_URI" -d "$LAB_NAME" -l inc -o "$set" --scratch-dir "$LAB_DIR/scratch"
    thawed "begin failed"
fi

# An agent that is stopped: bounded.
guest_agent_stops "$LAB_NAME"
began=$SECONDS
np_refuses 1 "cannot freeze" backup -c "$LAB_URI" -d "$LAB_NAME" -l inc -o "$set" --quiesce require
np_backup "$LAB_NAME" -l inc -o "$set" --json
np_said "warning.*cannot freeze"
[ "$(jq .quiesced "$NP_OUT")" = false ] || lab_fail "it says that it was frozen"
[ $((SECONDS - began)) -lt 40 ] || lab_fail "two runs took $((SECONDS - began)) s"
lab_note "two runs with a stopped agent: $((SECONDS - began)) s"
guest_agent_goes_on "$LAB_NAME"
thawed "stopped agent"

# A guest that is paused cannot answer: not even tried.
lab_virsh suspend "$LAB_NAME"
np_refuses 1 "paused" backup -c "$LAB_URI" -d "$LAB_NAME" -l inc -o "$set" --quiesce require
lab_virsh resume "$LAB_NAME"

# No channel at all: silence, but not if it is required.
lab_domain "$LAB_NAME-0" vda:qcow2:1M
np_backup "$LAB_NAME-0" -l full -o "$LAB_DIR/set0"
[ ! -s "$NP_ERR" ] || lab_fail "a guest without an agent: $(cat "$NP_ERR")"
np_refuses 1 "no channel to a guest agent" backup -c "$LAB_URI" -d "$LAB_NAME-0" -l full -o "$LAB_DIR/set0" \
    --quiesce require
np_refuses 2 "auto, require or no" backup -c "$LAB_URI" -d "$LAB_NAME-0" -l full -o "$LAB_DIR/set0" --quiesce yes
