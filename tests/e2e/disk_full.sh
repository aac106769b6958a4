#!/bin/bash
# The file system of the set, of the restore or of the scratch is full: one line, and what was written is removed.
# labs: system embed
# long labs: embed
. "$(dirname "$0")/lab.sh"
lab_start
lab_small_place 12M "$LAB_DIR/small"

raw=$LAB_DIR/content
lab_random 24M "$raw"
lab_filled "$LAB_NAME" vda qcow2 "$raw"
lab_domain "$LAB_NAME" vda:qcow2:24M vdb:qcow2:4M
lab_io "$LAB_NAME" vdb "write -P 0x11 0 2M"
np_backup "$LAB_NAME" -l full -o "$LAB_DIR/good"

# A new set: the point does not appear. A set with a point: it stays as it was.
np 1 backup -c "$LAB_URI" -d "$LAB_NAME" -l full -o "$LAB_DIR/small/set"
np_said "$LAB_DIR/small/set.*(space|full)"
[ -z "$(find "$LAB_DIR/small" -name '*.nbp')" ] || lab_fail "what was written stayed: $(find "$LAB_DIR/small")"
np_backup "$LAB_NAME" -l full -i vdb -o "$LAB_DIR/small/set"
np_refuses 1 "$LAB_DIR/small/set.*(space|full)" backup -c "$LAB_URI" -d "$LAB_NAME" -l full -o "$LAB_DIR/small/set"
[ "$(np_points "$LAB_DIR/small/set")" = 0001 ] || lab_fail "points: $(np_points "$LAB_DIR/small/set")"
rm -r "$LAB_DIR/small/set"

# A restore: no image appears, also not one of the disks that would have fitted.
for format in qcow2 raw; do
    np 1 restore -i "$LAB_DIR/good" -o "$LAB_DIR/small/out" --format $format
    np_said "$LAB_DIR/small.*(space|full)|(space|full).*$LAB_DIR/small"
    left=$(find "$LAB_DIR/small" -type f -name "vda*" -o -type s)
    [ -z "$left" ] || lab_fail "$format: left behind: $left"
    rm -rf "$LAB_DIR/small/out"
done

# Standard output.
"$NBDPULL" backup -c "$LAB_URI" -d "$LAB_NAME" -l copy -o - >/dev/full 2>"$LAB_DIR/err" </dev/null
status=$?
[ $status -eq 1 ] || lab_fail "/dev/full: status $status"
grep -qi space "$LAB_DIR/err" || lab_fail "/dev/full: $(cat "$LAB_DIR/err")"

LAB_BACKUP=(-l full)
lab_round_trip "$LAB_NAME" vda vdb

# A limit of file sizes (ulimit -f) is an error too, not a signal that ends the program.
lab_remember
NP_ERR=$LAB_DIR/tmp/lab.err
(
    ulimit -f 1024
    exec "$NBDPULL" backup -c "$LAB_URI" -d "$LAB_NAME" -l full -o "$LAB_DIR/limited" >/dev/null 2>"$NP_ERR" </dev/null
)
status=$?
np_drop_libvirt_lines
[ $status -eq 1 ] || lab_fail "ulimit -f: status $status: $(cat "$NP_ERR")"
np_said "$LAB_DIR/limited/streams/0001.vda.nbp: .*File too large"
lab_unchanged "a run with a limit of file sizes"
