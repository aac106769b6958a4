#!/bin/bash
# A restore that is ended by a signal, or by an error while the pipe stands still, leaves no image, whole or half.
# labs: embed
. "$(dirname "$0")/lab.sh"
lab_start

lab_domain "$LAB_NAME" vda:qcow2:64M
lab_io "$LAB_NAME" vda "write -P 0x11 0 64M"
np_backup "$LAB_NAME" -l copy -o "$LAB_DIR/set"

# From a pipe that stays open, so that it is in the middle for certain.
mkfifo "$LAB_DIR/pipe"
is_restoring() { [ -n "$(find "$LAB_DIR/out" -type f 2>/dev/null)" ]; }
for signal in INT TERM HUP; do
    env --default-signal=INT "$NBDPULL" restore -i - -o "$LAB_DIR/out" <"$LAB_DIR/pipe" 2>"$LAB_DIR/err" &
    pid=$!
    exec 9>"$LAB_DIR/pipe"
    cat "$LAB_DIR"/set/streams/*.nbp | head -c 65536 >&9
    lab_eventually "the restore begins" is_restoring
    kill -s $signal $pid
    wait $pid
    status=$?
    exec 9>&-
    [ $status -eq $((128 + $(kill -l $signal))) ] || lab_fail "SIG$signal: status $status: $(cat "$LAB_DIR/err")"
    [ -z "$(find "$LAB_DIR/out" -type f -o -type s 2>/dev/null)" ] || lab_fail "SIG$signal left $(ls -A "$LAB_DIR/out")"
    rm -rf "$LAB_DIR/out"
done

# A payload and a half: what reads the pipe waits for the rest, when the one that writes fails. has_ended PID: a zombie has.
np_backup "$LAB_NAME" -l copy --compress none -o "$LAB_DIR/stored"
has_ended() { [ ! -e "/proc/$1/exe" ]; }
(ulimit -f 512 && exec "$NBDPULL" restore -i - -o "$LAB_DIR/out" <"$LAB_DIR/pipe" 2>"$LAB_DIR/err") &
pid=$!
exec 9>"$LAB_DIR/pipe"
cat "$LAB_DIR"/stored/streams/*.nbp | head -c 1600000 >&9
lab_eventually "the restore ends by its error, though nobody writes to its pipe" has_ended $pid
wait $pid
status=$?
exec 9>&-
[ $status -eq 1 ] && grep -q 'vda.*File too large' "$LAB_DIR/err" || lab_fail "status $status: $(cat "$LAB_DIR/err")"
[ ! -e "$LAB_DIR/out" ] || lab_fail "it left $(find "$LAB_DIR/out")"
exit 0
