#!/bin/bash
# The power is cut, at every place between two changes of a file: whatever part of what was not synced is there (powercut.py
# says how), the set is valid, a point that was reported is there and exact, one that was not is exact or absent.
# power_cut_next has the backup after the cut.
# labs: system
# cost: 35
. "$(dirname "$0")/faults.sh"
fault_start
cut=$(dirname "$0")/powercut.py place=$LAB_DIR/place truths=$LAB_DIR/truths log=$LAB_DIR/tmp/log
rm -rf "$FAULT_SET"
mkdir "$place" "$truths"
FAULT_SET=$place/set

# ---- what every cut leaves ----

story_begin()
{
    rm -rf "$place" "$truths"
    mkdir "$place" "$truths"
    np 0 checkpoints -c "$LAB_URI" -d "$LAB_NAME" --remove
    "$cut" base "$log" "$place"
}

# story_run LEVEL [VARIABLE=VALUE]...: a run whose changes go into the log, and what it promises.
story_run()
{
    local id target
    id=$(jq .next "$FAULT_SET/set.json" 2>/dev/null || echo 1)
    id=$(printf '%04d' "$id")
    fault_guest_writes
    for target in "${FAULT_TARGETS[@]}"; do
        lab_truth "$LAB_NAME" "$target" "$truths/$id.$target"
    done
    fault_run "$@" STOP_RECORD="$log"
    [ ! -e "$FAULT_SET/lock" ] || flock "$FAULT_SET/lock" true
    if [ "$FAULT_STATUS" -eq 0 ]; then
        "$cut" mark "$log" "point $id"
    elif [ ! -e "$FAULT_SET/points/$id.json" ] && [ "$(jq .next "$FAULT_SET/set.json" 2>/dev/null || echo 0)" -gt "$((10#$id))" ]; then
        "$cut" mark "$log" "no $id" # not an id that is still to be used
    fi
}

# story_command ARGUMENT...
story_command()
{
    LD_PRELOAD=$NBDPULL_STOP_AT STOP_RECORD=$log "$NBDPULL" "$@" >"$LAB_DIR/tmp/said" 2>&1 </dev/null ||
        lab_fail "nbdpull $*: $(cat "$LAB_DIR/tmp/said")"
}

# story_end NAME SAMPLE[/LONG] CHECK [ARGUMENT]...: so many states of it, in the long run LONG, or all.
story_end()
{
    local name=$1 sample=${2%/*} long=0
    [[ $2 != */* ]] || long=${2#*/}
    shift 2
    [ "$NBDPULL_FAULTS" != all ] || sample=$long
    mv "$log" "$LAB_DIR/tmp/$name"
    "$cut" whole "$LAB_DIR/tmp/$name" "$place" || lab_fail "$name: what the program does to files is not all recorded"
    "$cut" check "$LAB_DIR/tmp/$name" "$truths" "$NBDPULL_FAULTS_SEED" "$sample" "$@" >&2 ||
        FAULT_FAILED+=("$name")
    rm "$LAB_DIR/tmp/$name"
}

steps_new=$(fault_steps new files) steps_inc=$(fault_steps inc files)

# That the test sees it: the name of the set that is not synced, or that of the point's record, and says that it is.
for lie in fsync:1 "$(awk -F: 'commits { print "fsync:" $2; exit } /^renameat2:/ { commits = 1 }' <<<"$steps_new")"; do
    story_begin
    story_run new STOP_AT="$lie" STOP_HOW=lies
    if "$cut" check "$log" "$truths" 1 20 set set >"$LAB_DIR/tmp/said"; then
        lab_fail "$lie is not made, and nobody sees it"
    fi
done

story_begin
for level in full inc diff inc; do
    story_run $level
    [ "$FAULT_STATUS" -eq 0 ] || lab_fail "$level: $(cat "$NP_ERR")"
done
story_end "four runs" 20 set set
cp -a "$truths" "$LAB_DIR/tmp/truths"
cp -a "$FAULT_SET" "$LAB_DIR/tmp/good"

# ---- repair ----
# damaged HOW: the good set with a record lost, a damaged one, a wrong one, a foreign stream and set.json lost or damaged.
damaged()
{
    story_begin
    cp -a "$LAB_DIR/tmp/truths/." "$truths"
    cp -a "$LAB_DIR/tmp/good" "$FAULT_SET"
    rm "$FAULT_SET/points/0002.json"
    echo "{" >"$FAULT_SET/points/0003.json"
    sed -i 's/"full"/"copy"/' "$FAULT_SET/points/0001.json"
    cp "$FAULT_SET/streams/0001.vda.nbp" "$FAULT_SET/streams/0002.vdc.nbp"
    if [ "$1" = lost ]; then
        rm "$FAULT_SET/set.json"
    else
        echo "[" >"$FAULT_SET/set.json"
    fi
    "$cut" base "$log" "$place"
}
for how in lost damaged; do
    damaged $how
    story_command repair -i "$FAULT_SET"
    for id in 1 2 3 4; do
        "$cut" mark "$log" "point 000$id"
    done
    story_end "repair where set.json is $how" 4 set set repaired
done

# ---- restore ----
for options in "qcow2" "raw --preallocation falloc" "qcow2 --verify"; do
    story_begin
    cp -a "$LAB_DIR/tmp/truths/." "$truths"
    # shellcheck disable=SC2086
    story_command restore -i "$LAB_DIR/tmp/good" -o "$place/out" --until 4 --format $options
    "$cut" mark "$log" restored
    story_end "restore as $options" 8 images out 0004
done

# Killed while it makes the set, and again; then the run that goes on with what there is, and is the same in each story:
# 64 states of each of some 300 stories.
while read -r step again; do
    story_begin
    story_run new STOP_AT="$step" STOP_HOW=kill
    story_run new STOP_AT="$again" STOP_HOW=kill-after
    story_run new
    story_end "a new set killed at $step and $again" 8/64 set set
done < <(paste -d ' ' <(echo "$steps_new") <(shuf --random-source=<(yes "$NBDPULL_FAULTS_SEED") <<<"$steps_new") | fault_pick 1)

# Killed when its record has its name, which is not synced, and again so: what is told of it, and a point that builds on it, must
# not outlive it. Killed with its guardian or alone.
for how in kill killall; do
    story_begin
    for id in 0001 0002; do
        story_run new STOP_AT=renameat2:1 STOP_HOW=$how STOP_WHEN=after
        [ "$FAULT_STATUS" -eq 137 ] && [ -e "$FAULT_SET/points/$id.json" ] || lab_fail "no record: this story tests nothing"
    done
    for ((i = 0; i < 24; i++)); do
        seed=$RANDOM
        "$cut" build "$log" "$place" random $seed || lab_fail "no state to build"
        "$NBDPULL" verify -i "$FAULT_SET" >"$LAB_DIR/tmp/said" 2>&1 ||
            lab_fail "records that are not synced, $how, seed $seed: $(cat "$LAB_DIR/tmp/said"; ls "$FAULT_SET/points")"
    done
    "$cut" build "$log" "$place" max 0
    np_backup "$LAB_NAME" -l auto -o "$FAULT_SET" # what is left of them
done

# Runs that fail and take back what they did, also where no sync works any more, and runs that are killed, whose guardian
# does it.
story_begin
story_run full
while read -r step how; do
    story_run inc STOP_AT="$step" STOP_HOW="$how"
done < <({
    awk '{ print $1, "fail"; print $1, "kill" }' <<<"$steps_inc" | fault_pick 3
    awk '/fsync/ { print $1, "stuck" }' <<<"$steps_inc" | fault_pick 2
} | shuf --random-source=<(yes "$NBDPULL_FAULTS_SEED"))
story_run inc
story_end "runs that fail" 12/2000 set set

fault_end
