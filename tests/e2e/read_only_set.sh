#!/bin/bash
# A set that cannot be written, on a file system that is mounted read-only or of an ordinary user who may only read it: all
# that reads works, is exact and changes nothing; what writes is refused before anything is begun in libvirt.
# labs: system session
. "$(dirname "$0")/lab.sh"
lab_start

lab_random 2M "$LAB_DIR/content"
lab_filled "$LAB_NAME" vda qcow2 "$LAB_DIR/content"
lab_domain "$LAB_NAME" vda:qcow2:2M vdb:raw:1000448
made=$LAB_DIR/made set=$LAB_DIR/set out=$LAB_DIR/out scratch=$LAB_DIR/scratch
mkdir -m 711 "$scratch"
np_backup "$LAB_NAME" -l full -o "$made"
lab_io "$LAB_NAME" vda "write -P 0x22 300k 100k"
lab_io "$LAB_NAME" vdb "write -P 0x23 0 64k"
np_backup "$LAB_NAME" -l inc -o "$made"
lab_truth "$LAB_NAME" vda "$LAB_DIR/vda.truth"
lab_truth "$LAB_NAME" vdb "$LAB_DIR/vdb.truth"

trap 'status=$?; [ ! -d "$set" ] || chmod -R u+w "$set" 2>/dev/null; (exit $status); lab_end' EXIT

# close_set SET: from here on it cannot be written. Root may write everywhere but on a file system that is read-only.
close_set()
{
    if [ "$LAB_KIND" = session ]; then
        mv "$1" "$set"
        chmod -R a-w "$set"
    else
        mkdir -p "$set"
        mount --bind "$1" "$set" && mount -o remount,bind,ro "$set" || lab_skip "no mount that is read-only here"
        LAB_MOUNTS+=("$set")
    fi
}
open_set()
{
    if [ "$LAB_KIND" = session ]; then
        chmod -R u+w "$set"
        mv "$set" "$1"
    else
        umount "$set" || lab_fail "cannot unmount $set"
        unset 'LAB_MOUNTS[-1]'
    fi
}
state_of_set() { find "$set" -printf '%p %m %s %i %T@ %C@\n' | sort; }
# reads STATUS ARGUMENT...
reads()
{
    np "$@"
    state_of_set | diff "$LAB_DIR/state" - || lab_fail "nbdpull ${*:2} changed the set"
    grep -q warning "$NP_ERR" && lab_fail "nbdpull ${*:2} says $(cat "$NP_ERR")"
    [ "$1" -eq 0 ] || [ -s "$NP_ERR" ] || lab_fail "nbdpull ${*:2}: no error"
}
restored()
{
    lab_same "$out/vda.${1:-qcow2}" "$LAB_DIR/vda.truth"
    lab_same "$out/vdb.${1:-qcow2}" "$LAB_DIR/vdb.truth"
    rm -r "$out"
}
# refuses PATTERN ARGUMENT...: and no directory for a job's socket was made in between.
refuses()
{
    local before
    before=$(stat -c %y "$scratch")
    np_refuses 1 "$@"
    [ "$(stat -c %y "$scratch")" = "$before" ] || lab_fail "nbdpull ${*:2} began a job"
    state_of_set | diff "$LAB_DIR/state" - || lab_fail "nbdpull ${*:2} changed the set"
}
refuses_backups()
{
    local level
    for level in full inc auto diff; do
        refuses "$1" backup -c "$LAB_URI" -d "$LAB_NAME" -l $level -o "$set" --scratch-dir "$scratch"
    done
}

close_set "$made"
state_of_set >"$LAB_DIR/state"
for words in dump "dump --map" "dump --json" verify "verify --quick" "verify --deep" "verify --sample 30" "repair --dry-run" \
    "dump --until 1"; do
    # shellcheck disable=SC2086
    reads 0 $words -i "$set"
done
reads 0 estimate -c "$LAB_URI" -d "$LAB_NAME" -o "$set" -l inc
reads 0 estimate -c "$LAB_URI" -d "$LAB_NAME" -o "$set" -l inc --exact --scratch-dir "$scratch"
reads 0 checkpoints -c "$LAB_URI" -d "$LAB_NAME"
reads 0 restore -i "$set" -o "$out"
restored
reads 0 restore -i "$set" -o "$out" --format raw --verify
reads 0 verify -i "$set" --image "$out/vda.raw" -d vda
restored raw
reads 0 restore -i "$set" -o "$out" --salvage
restored
reads 1 restore -i "$set" -o "$set/out"

unwritable="$set.*(read-only|permission)"
refuses_backups "$unwritable"
refuses "$unwritable" repair -i "$set"

# It was not touched: it goes on once it can be written.
open_set "$made"
np_backup "$LAB_NAME" -l inc -i vda -o "$made" --require-bitmap
[ ! -s "$NP_ERR" ] || lab_fail "the next run: $(cat "$NP_ERR")"

# Damaged: a salvage takes what is left from it, and a repair says what it would do.
truncate -s -200 "$made/streams/0002.vda.nbp"
rm "$made/points/0001.json"
close_set "$made"
state_of_set >"$LAB_DIR/state"
reads 4 verify -i "$set"
reads 4 repair -i "$set" --dry-run
grep -q 'to be rebuilt: points/0001.json' "$NP_OUT" || lab_fail "repair --dry-run: $(cat "$NP_OUT")"
np 6 restore -i "$set" -o "$out" --until 2 --salvage=older
rm -r "$out"
refuses "$unwritable" repair -i "$set"
open_set "$made"
[ "$LAB_KIND" = session ] || exit 0

# Only some directory cannot be written.
rm -rf "$made"
np 0 checkpoints -c "$LAB_URI" -d "$LAB_NAME" --remove
np_backup "$LAB_NAME" -l full -o "$made"
for closed in points streams config .; do
    mv "$made" "$set"
    chmod a-w "$set/$closed"
    state_of_set >"$LAB_DIR/state"
    refuses "$set.*cannot be written: permission" backup -c "$LAB_URI" -d "$LAB_NAME" -l inc -o "$set" --scratch-dir "$scratch"
    refuses "$set.*cannot be written: permission" repair -i "$set"
    open_set "$made"
done
