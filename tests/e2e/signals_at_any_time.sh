#!/bin/bash
# SIGTERM after every few milliseconds of a run, others each time: it is done, or it has left nothing. Backup and restore.
# labs: system embed
# long labs: embed
. "$(dirname "$0")/lab.sh"
lab_start

raw=$LAB_DIR/content
lab_program_files 6M "$raw"
lab_filled "$LAB_NAME" vda qcow2 "$raw"
lab_domain "$LAB_NAME" vda:qcow2:6M vdb:raw:1M
set=$LAB_DIR/set
np_backup "$LAB_NAME" -l full -o "$set"
points=1 ended=0 done=0

# after MS STATUS...: let the run go on for so long, end it, and demand one of these statuses.
after()
{
    # The moment is the test: nothing announces it.
    sleep "0.$(printf %03d "$1")"
    kill -s TERM "$NP_PID" 2>/dev/null
    status=0
    wait "$NP_PID" || status=$?
    case $status in
    0) done=$((done + 1)) ;;
    143) ended=$((ended + 1)) ;;
    *) lab_fail "SIGTERM after $1 ms: status $status: $(cat "$NP_ERR")" ;;
    esac
}

RANDOM=${NBDPULL_CHOICE:-$SRANDOM}
for ((ms = RANDOM % 40; ms < 500; ms += 40)); do
    np_start backup -c "$LAB_URI" -d "$LAB_NAME" -l full -o "$set" -q
    after $ms
    if [ $status -eq 0 ]; then
        points=$((points + 1))
    fi
    [ "$(np_points "$set" | wc -w)" -eq $points ] || lab_fail "after $ms ms, status $status: $(np_points "$set")"
    [ "$(find "$set/streams" -type f | wc -l)" -eq $((2 * points)) ] || lab_fail "$ms ms: $(ls "$set/streams")"
    [ "$(lab_virsh checkpoint-list --name "$LAB_NAME" | grep -c nbdpull)" -eq 1 ] || lab_fail "$ms ms: checkpoints"
    lab_virsh backup-dumpxml "$LAB_NAME" >/dev/null 2>&1 && lab_fail "after $ms ms: the job runs"
done
if [ "$LAB_ISOLATED" = yes ]; then
    [ -z "$(find /var/tmp -mindepth 1)" ] || lab_fail "left: $(find /var/tmp -mindepth 1)"
fi
lab_note "backup: $ended ended, $done done"
[ $ended -gt 0 ] || lab_fail "no backup was ended: this test tests nothing"

ended=0 done=0
for ((ms = RANDOM % 20; ms < 300; ms += 20)); do
    np_start restore -i "$set" -o "$LAB_DIR/out" -q
    after $ms
    if [ $status -eq 0 ]; then
        lab_same "$LAB_DIR/out/vda.qcow2" "$raw"
    else
        [ -z "$(find "$LAB_DIR/out" -type f -o -type s 2>/dev/null)" ] || lab_fail "$ms ms: left $(ls -A "$LAB_DIR/out")"
    fi
    rm -rf "$LAB_DIR/out"
done
lab_note "restore: $ended ended, $done done"
[ $ended -gt 0 ] || lab_fail "no restore was ended: this test tests nothing"
