#!/bin/bash
# A run was killed while its begin waited for another job of the domain: libvirt starts that job all the same when the
# other one ends. The next run watches for it, ends it, and never touches the other one.
# labs: system
# long: one of its two parts waits for the 30 s after which libvirt gives up a begin
. "$(dirname "$0")/lab.sh"
lab_start

lab_domain "$LAB_NAME" vda:qcow2:8M
set=$LAB_DIR/set
dir=/var/tmp/nbdpull-01234567
mkdir -m 711 "$LAB_DIR/jobs"
chmod 777 "$LAB_DIR/jobs"
np_backup "$LAB_NAME" -l full -o "$set"
# Of this set: an intent that came with a copy is left alone.
name=$(lab_virsh checkpoint-list --name "$LAB_NAME" | sed -n 's/-0001-.*/-0002-01234567/p')
lab_io "$LAB_NAME" vda "write -P 0x31 1M 1M"
lab_truth "$LAB_NAME" vda "$LAB_DIR/truth"

job() { echo "<domainbackup mode='pull'><server transport='unix' socket='$1'/></domainbackup>"; }
running() { lab_virsh backup-dumpxml "$LAB_NAME" 2>/dev/null | sed -n "s/.*socket='\([^']*\)'.*/\1/p"; }

# begin_queued POINT: somebody's job runs, and the begin of a run that was killed waits behind it.
begin_queued()
{
    job "$LAB_DIR/jobs/foreign.sock" >"$LAB_DIR/foreign.xml"
    job "$dir/nbd.sock" >"$LAB_DIR/ours.xml"
    echo "<domaincheckpoint><name>$name</name></domaincheckpoint>" >"$LAB_DIR/checkpoint.xml"
    lab_virsh backup-begin "$LAB_NAME" "$LAB_DIR/foreign.xml" >/dev/null || lab_fail "the foreign job does not begin"
    mkdir -m 777 "$dir"
    chmod 777 "$dir"
    virsh -q -c "$LAB_URI" backup-begin "$LAB_NAME" "$LAB_DIR/ours.xml" "$LAB_DIR/checkpoint.xml" >/dev/null 2>&1 &
    waiting=$!
    sleep 1 # nothing tells that a begin waits
    kill -9 $waiting
    wait $waiting 2>/dev/null
    jq -n --arg point "$1" --arg domain "$(lab_virsh domuuid "$LAB_NAME" | tr -d '\n')" --arg checkpoint "$name" --arg dir $dir \
        '{point: $point, checkpoint: $checkpoint, uri: "qemu:///system", domain: $domain, socket: ($dir + "/nbd.sock"),
          work_dir: $dir, started: "2026-11-20T03:00:00Z", guest_ran: true, freeze: false}' >"$set/intent.json"
}

begin_queued 0002
touch "$LAB_DIR/tmp/lab.bg.err"
np_start backup -c "$LAB_URI" -d "$LAB_NAME" -l inc -o "$set"
lab_eventually "it watches" grep -q "watching for it" "$NP_ERR"
[ "$(running)" = "$LAB_DIR/jobs/foreign.sock" ] || lab_fail "the foreign job is gone: $(running)"
# Events are no measure of time: more than one for each look of the whole wait.
lab_virsh "$(printf "resume $LAB_NAME; suspend $LAB_NAME; %.0s" {1..200})" >/dev/null || lab_fail "no events"
grep -q -v "watching for it" "$NP_ERR" && lab_fail "it does not watch any more: $(cat "$NP_ERR")"
lab_virsh domjobabort "$LAB_NAME"
np_wait 0
grep -q "its job, socket and checkpoint are gone now" "$NP_ERR" || lab_fail "it says: $(cat "$NP_ERR")"
[ -z "$(running)" ] || lab_fail "a job stays: $(running)"
[ ! -e "$dir" ] || lab_fail "left: $(find "$dir")"
lab_virsh checkpoint-list --name "$LAB_NAME" | grep -q "$name" && lab_fail "its checkpoint stays"
np 0 dump -i "$set" --json
[ "$(jq -r '.points[1].disks[0].how' "$NP_OUT")" = bitmap ] || lab_fail "the increment is not one by bitmap"
np 0 restore -i "$set" -o "$LAB_DIR/out"
lab_same "$LAB_DIR/out/vda.qcow2" "$LAB_DIR/truth"

# A signal ends the watching, and nothing of it is forgotten.
begin_queued 0003
: >"$LAB_DIR/tmp/lab.bg.err"
np_start backup -c "$LAB_URI" -d "$LAB_NAME" -l inc -o "$set"
lab_eventually "it watches" grep -q "watching for it" "$NP_ERR"
kill -INT "$NP_PID"
began=$SECONDS
np_wait 130
[ $((SECONDS - began)) -lt 10 ] || lab_fail "a signal does not end the watching: $((SECONDS - began)) s"
grep -q "what the run of .* left cannot be put right: ended by signal 2" "$NP_ERR" || lab_fail "it says: $(cat "$NP_ERR")"
[ -e "$set/intent.json" ] || lab_fail "the intent is gone"
[ "$(running)" = "$LAB_DIR/jobs/foreign.sock" ] || lab_fail "the foreign job is gone: $(running)"
lab_virsh domjobabort "$LAB_NAME"
# Not in between: libvirt 9.0 cannot list a checkpoint that is just being made.
is_ours() { [ "$(running)" = "$dir/nbd.sock" ]; }
lab_eventually "the begin comes that has waited" is_ours
np_backup "$LAB_NAME" -l inc -o "$set"
[ -z "$(running)" ] && [ ! -e "$dir" ] || lab_fail "left: $(running) $(find "$dir")"

# The other job does not end: begin has given up after 30 s, so the rest is put right; the run is turned away.
begin_queued 0004
np 7 backup -c "$LAB_URI" -d "$LAB_NAME" -l inc -o "$set"
[ "$(running)" = "$LAB_DIR/jobs/foreign.sock" ] || lab_fail "the foreign job is gone: $(running)"
[ ! -e "$dir" ] && [ ! -e "$set/intent.json" ] || lab_fail "it was not put right"
lab_virsh domjobabort "$LAB_NAME"
