#!/bin/bash
# Ctrl-C, SIGTERM and SIGHUP in the middle of the pull: the job ends, nothing stays, the next run works.
# labs: system embed
# long labs: embed
. "$(dirname "$0")/lab.sh"
lab_start

raw=$LAB_DIR/content
lab_program_files 12M "$raw"
lab_filled "$LAB_NAME" vda qcow2 "$raw"
lab_domain "$LAB_NAME" vda:qcow2:12M vdb:raw:1M
np_backup "$LAB_NAME" -l full -o "$LAB_DIR/set"
lab_remember

for signal in INT TERM HUP; do
    np_start_slow "$LAB_NAME" "$LAB_DIR/set"
    kill -s $signal "$NP_PID"
    began=$SECONDS
    np_wait $((128 + $(kill -l $signal)))
    [ $((SECONDS - began)) -lt 10 ] || lab_fail "SIG$signal took $((SECONDS - began)) s"
    [ "$(wc -l <"$NP_ERR")" -le 1 ] || lab_fail "SIG$signal: $(cat "$NP_ERR")"
    lab_unchanged "SIG$signal"
done

# Into a set that did not exist: no set worth the name stays behind, and a first full into it works.
np_start_slow "$LAB_NAME" "$LAB_DIR/fresh"
kill -s TERM "$NP_PID"
np_wait 143
[ -z "$(find "$LAB_DIR/fresh" -name '*.nbp' 2>/dev/null)" ] || lab_fail "a stream stayed in the fresh set"
np_backup "$LAB_NAME" -l full -o "$LAB_DIR/fresh"
np 0 restore -i "$LAB_DIR/fresh" -o "$LAB_DIR/out"
lab_same "$LAB_DIR/out/vda.qcow2" "$raw"
