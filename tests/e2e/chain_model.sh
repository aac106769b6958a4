#!/bin/bash
# A random history over three disks of odd sizes: writes, zeroes, discards, growth, QEMU killed, checkpoints lost,
# backups of every level, some ended by a signal. Then every point is restored and compared, whole disks.
# NBDPULL_SEED replays a history, NBDPULL_STEPS makes it longer.
# labs: embed system
. "$(dirname "$0")/lab.sh"
lab_start

seed=${NBDPULL_SEED:-$((RANDOM * 32768 + RANDOM))}
steps=${NBDPULL_STEPS:-10}
lab_note "NBDPULL_SEED=$seed NBDPULL_STEPS=$steps"
RANDOM=$((seed % 32768))

set=$LAB_DIR/set
disks=(vda vdb vdc)
declare -A size=([vda]=$((8 << 20)) [vdb]=$((3 * (1 << 20) + 66048)) [vdc]=$((2 << 20)))
lab_domain "$LAB_NAME" "vda:qcow2:${size[vda]}" "vdb:qcow2:${size[vdb]}:cluster_size=4k" "vdc:raw:${size[vdc]}"
points=()

# below N: a random number of 30 bits below N.
below()
{
    echo $(((RANDOM * 32768 + RANDOM) % $1))
}

write_something()
{
    local target=${disks[$(below 3)]} commands=() i offset length
    for ((i = 0; i < 4; i++)); do
        length=$((($(below 300) + 1) * 512))
        [ $length -lt "${size[$target]}" ] || length=512
        offset=$(($(below $(((${size[$target]} - length) / 512 + 1))) * 512))
        case $(below 4) in
        0) commands+=("write -z $offset $length") ;;
        1) commands+=("write -z -u $offset $length") ;;
        2) commands+=("discard $offset $length") ;;
        esac
        commands+=("write -P $(($(below 255) + 1)) $offset 512")
    done
    lab_io "$LAB_NAME" "$target" "${commands[@]}"
}

grow()
{
    local target=${disks[$(below 2)]}
    size[$target]=$((${size[$target]} + ($(below 1000) + 1) * 512))
    lab_virsh "blockresize $LAB_NAME $target ${size[$target]}B" >/dev/null || lab_fail "blockresize"
}

kill_qemu()
{
    pkill -9 -f "guest=$LAB_NAME," || lab_fail "no QEMU to kill"
    lab_eventually "the domain is off" domain_is_off
    lab_virsh "start --paused $LAB_NAME" >/dev/null || lab_fail "cannot start again"
}

domain_is_off()
{
    [ "$(lab_virsh "domstate $LAB_NAME")" = "shut off" ]
}

lose_checkpoint()
{
    local name flags=("" --metadata)
    name=$(lab_virsh "checkpoint-list --name $LAB_NAME" | grep . | tail -n 1)
    [ -z "$name" ] || lab_virsh "checkpoint-delete $LAB_NAME $name ${flags[$(below 2)]}" >/dev/null 2>&1
}

# The shell that is to become it must not get the signal, nor may it be gone already.
np_runs()
{
    [ ! -e "/proc/$NP_PID" ] || [ "$(cat "/proc/$NP_PID/comm" 2>/dev/null)" = nbdpull ]
}

interrupted_backup()
{
    np_start backup -c "$LAB_URI" -d "$LAB_NAME" -l auto -o "$set" --compress zstd:19 -w 1
    lab_eventually "nbdpull runs" np_runs
    kill -s "$1" "$NP_PID" 2>/dev/null
    wait "$NP_PID"
    if [ -e "$set/points" ] && [ "$(np_points "$set" | wc -w)" -ne ${#points[@]} ]; then
        keep_truth "$(np_points "$set" | awk '{print $NF}')" # it was faster than the signal
    fi
}

keep_truth()
{
    local target
    points+=("$1")
    for target in "${disks[@]}"; do
        lab_truth "$LAB_NAME" "$target" "$LAB_DIR/tmp/$1.$target"
    done
}

backup()
{
    local levels=(auto auto full inc diff copy) level more=()
    level=${levels[$(below 6)]}
    if [ ${#points[@]} -eq 0 ]; then
        level=auto
    fi
    [ "$(below 4)" -ne 0 ] || more+=(--scan)
    [ "$(below 4)" -ne 0 ] || more+=(-x "${disks[$(below 3)]}")
    if [ "$level" = diff ] && [ "$(below 2)" -eq 0 ]; then
        more+=(--from full)
    fi
    "$NBDPULL" backup -c "$LAB_URI" -d "$LAB_NAME" -l "$level" -o "$set" "${more[@]}" --json \
        >"$LAB_DIR/tmp/out" 2>"$LAB_DIR/tmp/err" || lab_fail "$level ${more[*]}: $(cat "$LAB_DIR/tmp/err")"
    keep_truth "$(jq -r .point "$LAB_DIR/tmp/out")"
}

for ((step = 0; step < steps; step++)); do
    case $(below 12) in
    0) grow ;;
    1) kill_qemu ;;
    2) lose_checkpoint ;;
    3) interrupted_backup TERM ;;
    *) write_something ;;
    esac
    write_something
    backup
done

[ ${#points[@]} -ge "$steps" ] || lab_fail "only ${#points[@]} points"
for id in "${points[@]}"; do
    np 0 restore -i "$set" -o "$LAB_DIR/out" --until "$id" --format raw --json
    for target in $(jq -r '.disks[].target' "$NP_OUT"); do
        lab_same "$LAB_DIR/out/$target.raw" "$LAB_DIR/tmp/$id.$target"
    done
    rm -rf "$LAB_DIR/out"
done
lab_virsh backup-dumpxml "$LAB_NAME" >/dev/null 2>&1 && lab_fail "a job still runs"
exit 0
