#!/bin/bash
# The set lies on the scratch's file system: the backup's own stream takes the space, and it ends itself in time.
# labs: embed system
. "$(dirname "$0")/lab.sh"
lab_start
lab_small_place 20M "$LAB_DIR/small"
chmod 755 "$LAB_DIR/small"

raw=$LAB_DIR/content
lab_random 24M "$raw"
lab_filled "$LAB_NAME" vda qcow2 "$raw"
lab_domain "$LAB_NAME" vda:qcow2:24M vdb:qcow2:4M
lab_io "$LAB_NAME" vdb "write -P 0x11 0 2M"
args=(backup -c "$LAB_URI" -d "$LAB_NAME" --scratch-dir "$LAB_DIR/small" --scratch-reserve 8M)

# Whether it says so or not beforehand, no point appears and nothing stays.
np 0 "${args[@]}" -l full -i vdb -o "$LAB_DIR/small/set" -q
lab_remember
np 1 "${args[@]}" -l full -o "$LAB_DIR/small/set" -q
np_said "scratch.*$LAB_NAME.* free in $LAB_DIR/small.*ended itself before"
lab_unchanged "the backup that ended itself"
[ "$(np_points "$LAB_DIR/small/set")" = 0001 ] || lab_fail "points: $(np_points "$LAB_DIR/small/set")"

# A file beside the scratch that the program knows nothing of.
"$NBDPULL" "${args[@]}" -l copy -o - -q >"$LAB_DIR/small/pipe" 2>"$LAB_DIR/err" </dev/null
status=$?
[ $status -eq 1 ] && grep -q "ended itself before" "$LAB_DIR/err" || lab_fail "status $status: $(cat "$LAB_DIR/err")"
rm "$LAB_DIR/small/pipe"

lab_truth "$LAB_NAME" vdb "$LAB_DIR/truth"
np 0 "${args[@]}" -l inc -i vdb -o "$LAB_DIR/small/set"
np 0 restore -i "$LAB_DIR/small/set" -o "$LAB_DIR/out"
lab_same "$LAB_DIR/out/vdb.qcow2" "$LAB_DIR/truth"
