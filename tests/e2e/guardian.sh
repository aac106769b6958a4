#!/bin/bash
# The guardian: what reaches it and what does not, what it holds, who waits for it, and runs without a set.
# labs: system session
# long labs: session
. "$(dirname "$0")/lab.sh"
lab_start

raw=$LAB_DIR/content
lab_program_files 6M "$raw"
lab_filled "$LAB_NAME" vda qcow2 "$raw"
lab_domain "$LAB_NAME" vda:qcow2:6M
set=$LAB_DIR/set scratch=$LAB_DIR/scratch
mkdir -m 711 "$scratch"
np_backup "$LAB_NAME" -l full -o "$set"
lab_remember

# ended_by_itself WHAT: the run is dead; without any other run nothing is left.
ended_by_itself()
{
    lab_eventually "the guardian ends" lab_has_ended "$guardian"
    lab_unchanged "$1"
}

# It holds the lock and its socket, no other descriptor (9 is our shell's); signals that end a run do not end it.
exec 9>"$LAB_DIR/tmp/lab.nine"
np_start_slow "$LAB_NAME" "$set" --scratch-dir "$scratch" -q
guardian=$(np_guardian)
[ "$(find "/proc/$guardian/fd" -type l -printf '%f ')" = "0 1 2 3 4 " ] || lab_fail "open: $(ls -l "/proc/$guardian/fd")"
[[ "$(tr '\0' ' ' <"/proc/$guardian/cmdline")" == "nbdpull guardian $LAB_NAME $set " ]] || lab_fail "no telling name"
kill -s TERM "$guardian" && kill -s INT "$guardian" && kill -s HUP "$guardian"
lab_has_ended "$guardian" && lab_fail "a signal ended the guardian"
kill "$NP_PID"
np_wait 143
lab_has_ended "$guardian" || lab_fail "the guardian stays when the run has undone everything"
[ ! -s "$NP_ERR" ] || grep -q "signal 15" "$NP_ERR" || lab_fail "it says: $(cat "$NP_ERR")"
lab_unchanged "a run that was ended"
exec 9>&-

# The whole process group is killed. Until the guardian is done the set is locked, and the next run says why.
setsid --fork bash -c 'echo $$ >"$1/tmp/lab.pid"; shift; exec "$@"' - "$LAB_DIR" "$NBDPULL" backup -c "$LAB_URI" \
    -d "$LAB_NAME" -l full -o "$set" --compress zstd:19 -w 1 --scratch-dir "$scratch" 2>"$LAB_DIR/tmp/lab.group"
lab_runs() { lab_virsh backup-dumpxml "$LAB_NAME" >/dev/null 2>&1; }
lab_eventually "the job begins" lab_runs
NP_PID=$(cat "$LAB_DIR/tmp/lab.pid")
guardian=$(np_guardian)
kill -s STOP "$guardian"
kill -9 -- "-$NP_PID"
lab_eventually "the run dies" lab_has_ended "$NP_PID"
np 7 backup -c "$LAB_URI" -d "$LAB_NAME" -l inc -o "$set"
np_said "locked: process $NP_PID .*has ended, and its guardian is still putting things right"
kill -s CONT "$guardian"
ended_by_itself "a process group that was killed"
grep -q "its job, .* gone now" "$LAB_DIR/tmp/lab.group" ||
    lab_fail "it says: $(cat "$LAB_DIR/tmp/lab.group")"

# The guardian alone is killed: the run goes on, and says so.
NP_SLOW=(--bwlimit 4M)
np_start_slow "$LAB_NAME" "$LAB_DIR/other" --scratch-dir "$scratch"
kill -9 "$(np_guardian)"
np_wait 0
np_said "warning: the guardian of this run, process [0-9]*, was ended \(signal 9\)"
rm -r "$LAB_DIR/other"
np 0 checkpoints -c "$LAB_URI" -d "$LAB_NAME" --remove
np_backup "$LAB_NAME" -l full -o "$set"
lab_remember

# A copy to standard output: its reader sees the end at once.
"$NBDPULL" backup -c "$LAB_URI" -d "$LAB_NAME" -l copy -o - --scratch-dir "$scratch" --compress zstd:19 -w 1 \
    2>"$LAB_DIR/tmp/lab.copy" | cat >/dev/null &
reader=$!
lab_eventually "the job begins" lab_runs
guardian=$(pgrep -x nbdpull-guard)
kill -s STOP "$guardian"
kill -9 "$(ps -o ppid= -p "$guardian" | tr -d ' ')"
wait $reader
kill -s CONT "$guardian"
ended_by_itself "a copy that was killed"
grep -q "its job, .* gone now" "$LAB_DIR/tmp/lab.copy" ||
    lab_fail "it says: $(cat "$LAB_DIR/tmp/lab.copy")"

# An estimate in a job.
np_start estimate -c "$LAB_URI" -d "$LAB_NAME" -o "$set" --exact --compress zstd:19 --scratch-dir "$scratch"
lab_eventually "the job begins" lab_runs
guardian=$(np_guardian)
kill -9 "$NP_PID"
np_wait 137
ended_by_itself "an estimate that was killed"
np_said "its job, .* gone now"

# One that cannot be started: nothing is begun. A sanitiser needs /proc itself.
if [ "$LAB_ISOLATED" = yes ] && [ "$LAB_KIND" = system ] && ! lab_is_sanitised; then
    status=0
    unshare --mount bash -c 'mount -t tmpfs tmpfs /proc; exec "$@"' - "$NBDPULL" backup -c "$LAB_URI" -d "$LAB_NAME" \
        -l full -o "$set" 2>"$NP_ERR" || status=$?
    [ $status -eq 1 ] || lab_fail "without /proc: status $status"
    np_said "the guardian of this run does not start, nothing was begun: cannot execute /proc/self/exe"
    lab_jobs | diff "$LAB_DIR/tmp/lab.jobs" - || lab_fail "it began something"
    [ ! -e "$set/intent.json" ] || lab_fail "the intent stays"
fi
np 2 guardian "$LAB_NAME"
