#!/bin/bash
# The clock is set back and forward by years, between runs and in the middle of them: ids tell the order, each point is
# exact, --until TIME takes the highest id that fits and says that the clock went backwards, nothing waits for the time of
# day or is measured by it, and verify --sample comes past every part.
# labs: system
. "$(dirname "$0")/faults.sh"
fault_start
: "${NBDPULL_CLOCK:?is the library that shifts the clock}"
export CLOCK_SHIFT=$LAB_DIR/tmp/shift
DAY=86400 YEAR=31557600
set_clock() { echo "$1" >"$CLOCK_SHIFT"; }

# at_odds ARGUMENT...: run nbdpull by that clock.
at_odds()
{
    STATUS=0
    { env "${SETTINGS[@]}" LD_PRELOAD="$NBDPULL_CLOCK${SETTINGS:+ $NBDPULL_STOP_AT}" "$NBDPULL" "$@" \
        >"$LAB_DIR/tmp/odd.out" 2>"$LAB_DIR/tmp/odd.err" </dev/null || STATUS=$?; } 2>/dev/null
    [ $STATUS -eq 0 ] || lab_fail "nbdpull $* (clock $(cat "$CLOCK_SHIFT"), ${SETTINGS[*]:-}): $(cat "$LAB_DIR/tmp/odd.err")"
}

SETTINGS=()
# backup SHIFT LEVEL [LATER-SHIFT STEP]: a run by that clock, which may be set anew at one of its steps.
backup()
{
    local target
    set_clock "$1"
    SETTINGS=()
    [ $# -eq 2 ] || SETTINGS=(STOP_AT="$4" STOP_HOW=nothing STOP_RUN="echo $3 >$CLOCK_SHIFT")
    id=$((id + 1))
    fault_guest_writes
    for target in "${FAULT_TARGETS[@]}"; do
        lab_truth "$LAB_NAME" "$target" "$LAB_DIR/tmp/$id.$target"
    done
    at_odds backup -c "$LAB_URI" -d "$LAB_NAME" -l "$2" -o "$FAULT_SET" --json
    [ "$(jq -r .point "$LAB_DIR/tmp/odd.out")" = "000$id" ] || lab_fail "not point 000$id: $(cat "$LAB_DIR/tmp/odd.out")"
    jq -e '.seconds >= 0 and .seconds < 300' "$LAB_DIR/tmp/odd.out" >/dev/null ||
        lab_fail "it took $(jq .seconds "$LAB_DIR/tmp/odd.out") s"
    [ "$2" = full ] || jq -e '.disks[0].how == "bitmap"' "$LAB_DIR/tmp/odd.out" >/dev/null ||
        lab_fail "vda not by bitmap: $(jq -c '.disks[0]' "$LAB_DIR/tmp/odd.out")"
    SETTINGS=()
}

fault_count inc
# some_step: a step of a run, any group.
some_step() { sed -n "$((RANDOM % $(wc -l <<<"${FAULT_STEPS[inc]}") + 1))s/^[a-z]* //p" <<<"${FAULT_STEPS[inc]}"; }
rm -rf "$FAULT_SET"
np 0 checkpoints -c "$LAB_URI" -d "$LAB_NAME" --remove
id=0
backup 0 full
backup $((10 * YEAR)) inc
backup $((-DAY)) inc
backup 0 inc $((-10 * YEAR)) "$(some_step)"
backup $((-10 * YEAR)) diff $((10 * YEAR)) "$(some_step)"
backup $((-YEAR)) inc

restores_as()
{
    local target
    for target in "${FAULT_TARGETS[@]}"; do
        cmp "$LAB_DIR/out/$target.raw" "$LAB_DIR/tmp/$1.$target" || lab_fail "point 000$1: $target is not as it was"
    done
    rm -rf "$LAB_DIR/out"
}
for i in 1 2 3 4 5 6; do
    set_clock $(((i - 3) * YEAR))
    at_odds restore -i "$FAULT_SET" -o "$LAB_DIR/out" --until $i --format raw -q
    restores_as $i
done
at_odds restore -i "$FAULT_SET" -o "$LAB_DIR/out" --format raw -q
restores_as 6

# 0006 was made a year ago, 0003 yesterday, 0002 in ten years.
for case in "6 0" "6 $((10 * YEAR + DAY))" "6 $((-YEAR + 60))"; do
    read -r wanted seconds <<<"$case"
    at_odds restore -i "$FAULT_SET" -o "$LAB_DIR/out" --until "$(date -u -d "@$(($(date +%s) + seconds))" +%FT%TZ)" \
        --format raw
    grep -q 'warning: the clock went backwards between points 0002' "$LAB_DIR/tmp/odd.err" ||
        lab_fail "it does not say that the clock went backwards: $(cat "$LAB_DIR/tmp/odd.err")"
    restores_as "$wanted"
done
np 0 verify -i "$FAULT_SET" --deep
np 0 dump -i "$FAULT_SET"

# A clock that no record can tell: before 1970 (a dead battery), beyond the year 9999.
backup -$(($(date +%s) + DAY)) inc
[ "$(jq -r .time "$FAULT_SET/points/000$id.json")" = 1970-01-01T00:00:00Z ] || lab_fail "$(cat "$FAULT_SET/points/000$id.json")"
backup $((9000 * YEAR)) inc
np 0 restore -i "$FAULT_SET" -o "$LAB_DIR/out" --format raw --until 2999-01-01T00:00Z
restores_as 7

# A rate is one of real seconds: the clock is set in the middle, to and fro.
for jump in $((-DAY)) $((10 * YEAR)); do
    set_clock 0
    SETTINGS=(STOP_AT="pwrite64:3" STOP_HOW=nothing STOP_RUN="echo $jump >$CLOCK_SHIFT")
    begun=$SECONDS
    at_odds restore -i "$FAULT_SET" -o "$LAB_DIR/out" --format raw --bwlimit 100M --json
    [ $((SECONDS - begun)) -lt 60 ] || lab_fail "a restore took $((SECONDS - begun)) s after the clock was set by $jump"
    jq -e '.disks | all(.seconds >= 0 and .seconds < 60)' "$LAB_DIR/tmp/odd.out" >/dev/null || lab_fail "$(cat "$LAB_DIR/tmp/odd.out")"
    SETTINGS=()
    rm -rf "$LAB_DIR/out"
done

# Where the last part is not remembered, parts come in turn from any day on, also before 1970.
for from in 0 $((-100 * 365 * DAY)) $((500 * 365 * DAY)); do
    for day in 0 1 2 3; do
        set_clock $((from + day * DAY))
        rm -rf "$XDG_STATE_HOME/nbdpull"
        at_odds verify -i "$FAULT_SET" --sample 25 --json
        jq .part "$LAB_DIR/tmp/odd.out"
    done >"$LAB_DIR/tmp/parts"
    [ "$(sort "$LAB_DIR/tmp/parts" | tr '\n' ' ')" = "1 2 3 4 " ] || lab_fail "parts of four days: $(cat "$LAB_DIR/tmp/parts")"
done
