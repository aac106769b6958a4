#!/bin/bash
# Every damage to a stream is found: status 4, the file is named, no image appears. From a pipe and by index.
# labs: embed
. "$(dirname "$0")/lab.sh"
lab_start

raw=$LAB_DIR/content
lab_random 2M "$raw"
truncate -s 5M "$raw"
lab_filled "$LAB_NAME" vda qcow2 "$raw"
lab_domain "$LAB_NAME" vda:qcow2:5M
set=$LAB_DIR/set
np_backup "$LAB_NAME" -l full -o "$set"
good=$LAB_DIR/good.nbp
cp "$set/streams/0001.vda.nbp" "$good"
size=$(stat -c %s "$good")
bad=$LAB_DIR/bad.nbp

# flip AT: the byte there, in a copy.
flip()
{
    local byte
    cp "$good" "$bad"
    byte=$(od -An -t u1 -j "$1" -N 1 "$good")
    printf '%b' "\\x$(printf %02x $((byte ^ 0x41)))" | dd of="$bad" bs=1 seek="$1" conv=notrunc status=none
}

# found WHAT [how it is read]: from a pipe always; by file, a byte that this restore does not need may be wrong.
found()
{
    local what=$1
    np_pipe 4 "$what"
    np 4 restore -i "$bad" -o "$LAB_DIR/out"
    np_said 'bad.nbp'
    nothing_restored "$what, by index"
}
np_pipe()
{
    local status=0
    "$NBDPULL" restore -i - -o "$LAB_DIR/out" <"$bad" >/dev/null 2>"$LAB_DIR/tmp/lab.err" || status=$?
    [ $status -eq "$1" ] || lab_fail "$2, from a pipe: status $status: $(cat "$LAB_DIR/tmp/lab.err")"
    nothing_restored "$2, from a pipe"
}
nothing_restored()
{
    [ -z "$(find "$LAB_DIR/out" -type f 2>/dev/null)" ] || lab_fail "$1: left $(ls -A "$LAB_DIR/out")"
    rm -rf "$LAB_DIR/out"
}

# The middle is payload, which does not compress: every byte of it counts.
for percent in 10 25 50 75 90; do
    flip $((size * percent / 100))
    found "a byte at $percent %"
done
np 4 restore -i "$bad" -o "$LAB_DIR/out" -d vda
grep -qE "record [0-9]+ .*disk vda.*guest bytes [0-9]+ to [0-9]+" "$NP_ERR" || lab_fail "no record and guest range: $(cat "$NP_ERR")"

for keep in 0 1 95 96 4096 $((size / 2)) $((size - 257)) $((size - 256)) $((size - 1)); do
    head -c "$keep" "$good" >"$bad"
    found "cut to $keep of $size bytes"
done
cat "$good" "$good" >"$bad"
found "doubled"
{ cat "$good" && printf x; } >"$bad"
found "a byte too many"
{ head -c 1000000 "$good" && tail -c +1000017 "$good"; } >"$bad"
found "16 bytes lost in the middle"
{ head -c 1000000 "$good" && head -c 65536 /dev/zero && tail -c +1065537 "$good"; } >"$bad"
found "64 KiB zeroed"

# Anywhere at all: from a pipe it is found; by index it is found, or it was not needed and the disk is right.
for at in 0 4 5 50 100 200 400 600 $((size - 1)) $((size - 100)) $((size - 200)) $((size - 300)) $((size - 600)) \
    $((size - 1000)) $((size - 2000)) $((size - 3000)); do
    flip $at
    np_pipe 4 "a byte at $at"
    status=0
    "$NBDPULL" restore -i "$bad" -o "$LAB_DIR/out" --format raw >/dev/null 2>"$LAB_DIR/tmp/lab.err" || status=$?
    case $status in
    0) cmp "$LAB_DIR/out/vda.raw" "$raw" || lab_fail "a byte at $at: a wrong disk, and status 0" ;;
    4) nothing_restored "a byte at $at" ;;
    *) lab_fail "a byte at $at: status $status: $(cat "$LAB_DIR/tmp/lab.err")" ;;
    esac
    rm -rf "$LAB_DIR/out"
done

# In the set, the same; and the undamaged stream is still fine.
flip $((size / 2))
cp "$bad" "$set/streams/0001.vda.nbp"
np 4 restore -i "$set" -o "$LAB_DIR/out"
np_said '0001.vda.nbp'
nothing_restored "in the set"
cp "$good" "$set/streams/0001.vda.nbp"
np 0 restore -i "$set" -o "$LAB_DIR/out" --format raw
lab_same "$LAB_DIR/out/vda.raw" "$raw"
