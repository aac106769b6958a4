#!/bin/bash
# The power is cut at a step of a backup, and the next one puts right what that left, whatever part of what was not synced is
# there, with a guest that went on and one that went down. power_cut has the states themselves.
# labs: system
# cost: 15
. "$(dirname "$0")/faults.sh"
fault_start
cut=$(dirname "$0")/powercut.py place=$LAB_DIR/place log=$LAB_DIR/tmp/log
rm -rf "$FAULT_SET"
mkdir "$place"
FAULT_SET=$place/set

steps_new=$(fault_steps new files) steps_inc=$(fault_steps inc files)

# guest_goes_down: with the power, without having written its bitmaps.
guest_goes_down()
{
    FAULT_BITMAPS_LOST=yes
    kill -9 "$(cat "/run/libvirt/qemu/$LAB_NAME.pid")"
    lab_eventually "the guest is off" domain_is "shut off"
    lab_virsh "start --paused $LAB_NAME" >/dev/null || fault_fail "the guest does not start"
}

domain_is() { [ "$(lab_virsh domstate "$LAB_NAME")" = "$1" ]; }

# cut_round LEVEL STEP HOW-LEFT GUEST
cut_round()
{
    local points now
    FAULT_STEP=$2 FAULT_HOW="cut, $3 left, the guest $4" FAULT_WHAT="level $1, $2, $3, the guest $4"
    rm -f "$log"
    fault_fresh "$1"
    points=$(fault_points) || exit 1
    "$cut" base "$log" "$place"
    fault_guest_writes
    fault_truth after
    fault_run "$1" STOP_AT="$2" STOP_HOW=killall STOP_RECORD="$log"
    [ "$FAULT_STATUS" -eq 137 ] || [ "$FAULT_STATUS" -eq 0 ] || fault_fail "it was not killed"
    [ ! -e "$FAULT_SET/lock" ] || flock "$FAULT_SET/lock" true
    "$cut" build "$log" "$place" "$3" "$RANDOM" || fault_fail "no state to build"
    FAULT_BITMAPS_LOST=
    [ "$4" = stays ] || guest_goes_down
    now=$(fault_points) || exit 1
    [[ $now == "$points"* ]] && [ "$(wc -w <<<"$now")" -le $(($(wc -w <<<"$points") + 1)) ] ||
        fault_fail "points were $points, are $now"
    [ "$now" = "$points" ] || fault_restores after
    fault_next "$1"
}
np 0 checkpoints -c "$LAB_URI" -d "$LAB_NAME" --remove
RANDOM=$NBDPULL_FAULTS_SEED
rm -rf "$place"
mkdir "$place"
FAULT_ROUNDS=0
for level in new inc; do
    steps=steps_$level
    while read -r step; do
        hows=(min max random)
        guests=(stays "goes down")
        FAULT_ROUNDS=$((FAULT_ROUNDS + 1))
        how=${hows[RANDOM % 3]} guest=${guests[RANDOM % 2]}
        if [ "$NBDPULL_FAULTS" != all ]; then
            cut_round $level "$step" "$how" "$guest"
        elif ! (cut_round $level "$step" "$how" "$guest"); then
            FAULT_FAILED+=("$level $step, $how left, the guest $guest")
            lab_virsh "domjobabort $LAB_NAME" >/dev/null 2>&1
            rm -rf "$FAULT_SET" /var/tmp/nbdpull-*
            np 0 checkpoints -c "$LAB_URI" -d "$LAB_NAME" --remove
        fi
    done < <(fault_pick 2 <<<"${!steps}")
done
fault_end
