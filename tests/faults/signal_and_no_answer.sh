#!/bin/bash
# A signal while libvirtd accepts connections and does not answer, and between two checkpoints that are removed: the end
# comes at once, with the signal's status and one line, and nothing is left half.
# labs: system
# shellcheck source=../e2e/lab.sh
. "$(dirname "$0")/../e2e/lab.sh"
lab_start
[ "$LAB_ISOLATED" = yes ] || lab_skip "the machine's own libvirtd must not be stopped"
: "${NBDPULL_STOP_AT:?is the library that stops the program}"

lab_domain "$LAB_NAME" vda:qcow2:2M
set=$LAB_DIR/set
for _ in 1 2 3; do
    np_backup "$LAB_NAME" -l auto -o "$set" --keep-checkpoints 3
done
count() { lab_virsh checkpoint-list --name "$LAB_NAME" | grep -c .; }
[ "$(count)" -eq 3 ] || lab_fail "checkpoints: $(count)"

NP_ERR=$LAB_DIR/tmp/lab.err status=0
env --default-signal=INT STOP_AT=virDomainCheckpointDelete:2 STOP_HOW=int LD_PRELOAD="$NBDPULL_STOP_AT" "$NBDPULL" \
    checkpoints -c "$LAB_URI" -d "$LAB_NAME" --remove >"$LAB_DIR/tmp/out" 2>"$NP_ERR" || status=$?
[ $status -eq 130 ] || lab_fail "checkpoints --remove: status $status: $(cat "$NP_ERR")"
np_said '2 of 3 checkpoints are removed: ended by signal 2'
[ "$(count)" -eq 1 ] || lab_fail "checkpoints after the signal: $(count)"

# It has a socket, so it connects.
connects() { find "/proc/$NP_PID/fd" -lname 'socket:*' 2>/dev/null | grep -q .; }

# silent SIGNAL STATUS ARGUMENT...
silent()
{
    local signal=$1 want=$2
    shift 2
    np_start "$@"
    lab_eventually "it connects" connects
    kill -s "$signal" "$NP_PID"
    lab_eventually "$1: it ends" lab_has_ended "$NP_PID"
    np_wait "$want"
    np_said 'while connecting to libvirt: ended by signal'
}

pid=$(cat "$LAB_DIR/libvirtd.pid")
kill -STOP "$pid"
trap 'status=$?; kill -CONT "$pid"; (exit $status); lab_end' EXIT
silent INT 130 backup -c "$LAB_URI" -d "$LAB_NAME" -l full -o "$LAB_DIR/other"
[ ! -e "$LAB_DIR/other" ] || lab_fail "it has made a set"
silent TERM 143 checkpoints -c "$LAB_URI" -d "$LAB_NAME"
silent HUP 129 estimate -c "$LAB_URI" -d "$LAB_NAME" -l full
exit 0
