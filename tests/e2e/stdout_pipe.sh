#!/bin/bash
# Through a pipe: one stream with all disks, restored as it comes, without a file between.
# labs: embed
. "$(dirname "$0")/lab.sh"
lab_start

raw=$LAB_DIR/content
lab_program_files 10M "$raw"
lab_filled "$LAB_NAME" vda qcow2 "$raw"
lab_domain "$LAB_NAME" vda:qcow2:10M vdb:raw:3M vdc:qcow2:7M
lab_io "$LAB_NAME" vdb "write -P 0x22 1M 1M"
for target in vda vdb vdc; do
    lab_truth "$LAB_NAME" $target "$LAB_DIR/truth.$target"
done

"$NBDPULL" backup -c "$LAB_URI" -d "$LAB_NAME" -l copy -o - 2>"$LAB_DIR/err" |
    "$NBDPULL" restore -i - -o "$LAB_DIR/out" || lab_fail "pipe: $(cat "$LAB_DIR/err")"
for target in vda vdb vdc; do
    lab_same "$LAB_DIR/out/$target.qcow2" "$LAB_DIR/truth.$target"
done
[ -z "$(lab_virsh checkpoint-list --name "$LAB_NAME")" ] || lab_fail "a copy made a checkpoint"

# The same stream from a file; --json beside a stream goes to standard error.
"$NBDPULL" backup -c "$LAB_URI" -d "$LAB_NAME" -l copy -o - --json >"$LAB_DIR/stream" 2>"$LAB_DIR/err" ||
    lab_fail "to a file: $(cat "$LAB_DIR/err")"
jq -e . "$LAB_DIR/err" >/dev/null || lab_fail "no JSON on standard error: $(cat "$LAB_DIR/err")"
np 0 restore -i "$LAB_DIR/stream" -o "$LAB_DIR/out2"
np 0 dump -i "$LAB_DIR/stream"
np 0 dump -i "$LAB_DIR/stream" --json
[ "$(jq -r '[.points[0].disks[].target] | join(" ")' "$NP_OUT")" = "vda vdb vdc" ] || lab_fail "dump of a stream"
"$NBDPULL" dump -i - --json <"$LAB_DIR/stream" | jq -e '.points[0].disks | length == 3' >/dev/null ||
    lab_fail "dump of a pipe"
for target in vda vdb vdc; do
    lab_same "$LAB_DIR/out2/$target.qcow2" "$LAB_DIR/truth.$target"
done

# What nobody counts in a pipe is null.
"$NBDPULL" verify -i - --json <"$LAB_DIR/stream" | jq -e '.records > 0 and .payloads == null and .payloads_checked == null' \
    >/dev/null || lab_fail "verify of a pipe"
"$NBDPULL" restore -i - -o "$LAB_DIR/out3" --json <"$LAB_DIR/stream" |
    jq -e '.disks[0].virtual_size > 0 and .disks[0].records == null and .disks[0].zero_bytes == null' >/dev/null ||
    lab_fail "restore of a pipe"

# A reader that goes away ends the backup, and nothing stays.
lab_remember
"$NBDPULL" backup -c "$LAB_URI" -d "$LAB_NAME" -l copy -o - 2>"$LAB_DIR/tmp/lab.err" | head -c 1000 >/dev/null
statuses=("${PIPESTATUS[@]}")
# Ended by the error of its write, or by SIGPIPE after the unwinding.
[ "${statuses[0]}" -eq 1 ] || [ "${statuses[0]}" -eq 141 ] || lab_fail "reader gone: status ${statuses[0]}"
lab_unchanged "a backup whose reader went away"

np_refuses 2 'copy' backup -c "$LAB_URI" -d "$LAB_NAME" -l full -o -
# On a terminal it refuses.
lab_need script
script -q -e -c "'$NBDPULL' backup -c '$LAB_URI' -d '$LAB_NAME' -l copy -o -" /dev/null >"$LAB_DIR/tty" </dev/null
status=$?
[ $status -eq 2 ] || lab_fail "on a terminal: status $status"
grep -qi terminal "$LAB_DIR/tty" || lab_fail "on a terminal it says: $(cat "$LAB_DIR/tty")"
