#!/bin/bash
# Too little space for scratch: refused before the start; when the guest uses it up, the backup ends itself before
# a write of the guest fails; as long as some is left, it goes on.
# labs: system
. "$(dirname "$0")/lab.sh"
lab_start

raw=$LAB_DIR/content
lab_program_files 32M "$raw"
lab_filled "$LAB_NAME" vda qcow2 "$raw"
# Before the domain starts: QEMU does not see what is mounted later.
lab_small_place 300k "$LAB_DIR/tiny"
lab_small_place 12M "$LAB_DIR/small"
lab_small_place 30M "$LAB_DIR/enough"
lab_domain "$LAB_NAME" vda:qcow2:32M vdb:qcow2:1M

np_refuses 1 "$LAB_DIR/tiny: no space.*--scratch-reserve.*--scratch-dir" backup -c "$LAB_URI" -d "$LAB_NAME" -l full \
    -o "$LAB_DIR/new" --scratch-dir "$LAB_DIR/tiny" --scratch-reserve 0
np_refuses 1 "$LAB_DIR/small: no space.*256 MiB" backup -c "$LAB_URI" -d "$LAB_NAME" -l full -o "$LAB_DIR/new" \
    --scratch-dir "$LAB_DIR/small"
np_refuses 1 "$LAB_DIR/small: no space.*256 MiB" estimate --exact -c "$LAB_URI" -d "$LAB_NAME" --scratch-dir "$LAB_DIR/small"

free() { df --output=avail -B 1 "$1" | tail -n 1; }

# overwrite PLACE PATTERN: 16M of the disk, as long as the backup runs. Each write is there, whatever the backup does.
overwrite()
{
    local at
    least=$(free "$1")
    written=no
    for at in 0 4 8 12; do
        kill -0 "$NP_PID" 2>/dev/null || return 0
        lab_io "$LAB_NAME" vda "write -P $2 ${at}M 2M" "write -P $2 $((at + 2))M 2M"
        ((least = $(free "$1") < least ? $(free "$1") : least))
    done
    written=yes
}

np_backup "$LAB_NAME" -l full -o "$LAB_DIR/set"
lab_remember
np_start_slow "$LAB_NAME" "$LAB_DIR/set" --scratch-dir "$LAB_DIR/small" --scratch-reserve 6M -q
overwrite "$LAB_DIR/small" 0x55
np_wait 1
np_said "scratch.*$LAB_NAME.* free in $LAB_DIR/small.*--scratch-reserve.*ended itself.*before"
lab_note "least free: $least"
[ "$least" -gt 3000000 ] || lab_fail "only $least bytes were left"
lab_unchanged "the backup that ended itself"
[ -z "$(ls -A "$LAB_DIR/small")" ] || lab_fail "left in the scratch directory"
lab_truth "$LAB_NAME" vda "$LAB_DIR/truth"
np_backup "$LAB_NAME" -l inc -o "$LAB_DIR/set" --scratch-dir "$LAB_DIR/small" --scratch-reserve 6M --require-bitmap
np 0 restore -i "$LAB_DIR/set" -o "$LAB_DIR/out"
lab_same "$LAB_DIR/out/vda.qcow2" "$LAB_DIR/truth"

# 16M are overwritten, and there is space for it: thresholds come and are armed anew. Nobody reads the pipe meanwhile.
np_start_held "$LAB_NAME" --scratch-dir "$LAB_DIR/enough" --scratch-reserve 6M -v
overwrite "$LAB_DIR/enough" 0x66
np_release "$LAB_DIR/stream"
np_wait 0
[ $written = yes ] || lab_fail "the backup was over before all was written"
looks=$(grep -c "scratch: .* bytes are free" "$NP_ERR")
lab_note "looks: $looks"
[ "$looks" -ge 3 ] || lab_fail "it looked $looks times"
grep -q "scratch: 16777216 bytes were used" "$NP_ERR" || lab_fail "$(cat "$NP_ERR")"
np 0 restore -i "$LAB_DIR/stream" -o "$LAB_DIR/out2"
lab_same "$LAB_DIR/out2/vda.qcow2" "$LAB_DIR/truth"
