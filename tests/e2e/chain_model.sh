#!/bin/bash
# Random histories over disks of odd sizes and all kinds, backed up into two sets of the same guest: writes, zeroes,
# discards, disks grown, shrunk, both, added, taken away, replaced, exchanged and rolled back, QEMU killed, checkpoints
# lost, runs ended by a signal, backups of every level. Then every point of each set is restored and compared, whole
# disks. An increment of a disk that nothing was done to but writes must be one by bitmap.
# NBDPULL_SEED replays a history; NBDPULL_SEEDS and NBDPULL_STEPS make more and longer ones.
# labs: system embed
# long labs: embed
# cost: 30
. "$(dirname "$0")/lab.sh"
lab_start
lab_need qemu-io

steps=${NBDPULL_STEPS:-15}
images=(vda vdb vdd vde) # those that can hold bitmaps; vde comes and goes
declare -A options=([vda]="" [vdb]=cluster_size=4k [vdd]=cluster_size=2M)
declare -A size truth done_by

# below N: leaves a random number below N in R. Never in a subshell, which has random numbers of its own.
below()
{
    R=$(((RANDOM * 32768 + RANDOM) % $1))
}

one_of()
{
    below $#
    shift "$R"
    R=$1
}

# ---- the guest ----

is_off()
{
    [ "$(lab_virsh "domstate $domain")" = "shut off" ]
}

# The embedded driver may have ended it already, in a connection that was closed while it was being opened.
stop()
{
    lab_virsh "destroy $domain" >/dev/null 2>&1
    lab_eventually "the domain is off" is_off
}

run()
{
    lab_virsh "start --paused $domain" >/dev/null || lab_fail "cannot start"
    for target in "${disks[@]}"; do
        size[$target]=$(lab_virtual_size "$(lab_image "$domain" "$target")")
    done
}

# Nobody may rely on a bitmap of these disks any more, in no set.
disturbed()
{
    local target
    for target in "$@"; do
        unset "clean[a.$target]" "clean[b.$target]"
    done
}

# One connection writes to all disks; aliases are made of the targets.
write_something()
{
    local script='' device target offset length command letters=abcdefghij said
    for _ in 1 2; do
        one_of "${disks[@]}"
        target=$R device=${letters%%"${R#vd}"*}
        device=/machine/peripheral/virtio-disk${#device}/virtio-backend
        for _ in 1 2 3; do
            below 400
            length=$(((R + 1) * 512))
            [ $length -lt "${size[$target]}" ] || length=512
            below $(((${size[$target]} - length) / 512 + 1))
            offset=$((R * 512))
            below 250
            command="write -P $((R + 1)) $offset $length"
            one_of "$command" "$command" "write -z $offset $length" "write -z -u $offset $length" \
                "discard $offset $length"
            script+="qemu-monitor-command $domain --hmp 'qemu-io -d $device \"$R\"';"
        done
        script+="qemu-monitor-command $domain --hmp 'qemu-io -d $device flush';"
    done
    said=$(lab_virsh "$script" | tr -d '\r\n') || lab_fail "cannot write"
    [ -z "$said" ] || lab_fail "write: $said"
}

# QEMU refuses it as long as the image holds a bitmap that a killed QEMU left inconsistent. Seen once on a loaded
# machine: "in use", a moment after a run, whose job must be over soon.
try_resize()
{
    said=$(lab_virsh "blockresize $domain $1 ${2}B" 2>&1) && size[$1]=$2
    [[ $said != *" is in use"* ]]
}

resize()
{
    local said
    lab_eventually "$1 is not in use" try_resize "$1" "$2"
    [ "${size[$1]}" -eq "$2" ] || [[ $said == *"is inconsistent and cannot be used"* ]] ||
        lab_fail "cannot resize $1 to $2: $said"
}

grow()
{
    one_of "${disks[@]}"
    local target=$R
    below 1000
    resize "$target" $((${size[$target]} + (R + 1) * 512))
}

shrink()
{
    one_of "${disks[@]}"
    local target=$R least=66048
    [ "${size[$target]}" -gt $least ] || return 0
    below $(((${size[$target]} - least) / 512))
    resize "$target" $((least + R * 512))
    disturbed "$target"
}

# Not always as large as before, and sometimes written between the two.
shrink_and_grow()
{
    one_of "${disks[@]}"
    local target=$R was=${size[$R]} least=66048
    [ "$was" -gt $least ] || return 0
    below $(((was - least) / 512))
    resize "$target" $((least + R * 512))
    disturbed "$target"
    below 3
    [ "$R" -ne 0 ] || write_something
    one_of 0 0 512 65536 100352
    resize "$target" $((was + R))
}

kill_qemu()
{
    local pid
    pid=$(find "$LAB_DIR" /run/libvirt/qemu -name "$domain.pid" 2>/dev/null | head -n 1)
    kill -9 "$(cat "$pid")" || lab_fail "no QEMU to kill"
    lab_eventually "the domain is off" is_off
    run
    disturbed "${images[@]}"
}

restart()
{
    stop
    run
}

# ---- images behind the guest's back ----

add_or_remove()
{
    if [ "${#disks[@]}" -eq 5 ]; then
        stop
        lab_virsh "detach-disk $domain vde --config" >/dev/null || lab_fail "cannot detach vde"
        disks=(vda vdb vdc vdd)
    else
        below 2
        [ "$R" -ne 0 ] || rm -f "$(lab_image "$domain" vde)"
        lab_disk_xml "$domain" vde qcow2 1049600 '' >"$LAB_DIR/tmp/vde.xml"
        stop
        lab_virsh "attach-device $domain $LAB_DIR/tmp/vde.xml --config" >/dev/null || lab_fail "cannot attach vde"
        disks=(vda vdb vdc vdd vde)
        disturbed vde
    fi
    run
}

# Another image under the same name, with the same content or not, with bitmaps or not, in the same inode or not.
replace()
{
    one_of vda vdb vdd
    local image keep=()
    image=$(lab_image "$domain" "$R")
    disturbed "$R"
    below 2
    [ "$R" -ne 0 ] || keep=(--bitmaps)
    stop
    # Bitmaps of a QEMU that was killed cannot be copied.
    qemu-img convert -O qcow2 ${keep[@]+"${keep[@]}"} "$image" "$image.new" 2>/dev/null ||
        qemu-img convert -O qcow2 "$image" "$image.new" || lab_fail "cannot convert $image"
    below 2
    [ "$R" -ne 0 ] || qemu-io -c "write -P 0x77 32k 100k" "$image.new" >/dev/null || lab_fail "cannot write $image.new"
    below 2
    if [ "$R" -eq 0 ]; then
        mv "$image.new" "$image"
    else
        cat "$image.new" >"$image" && rm "$image.new"
    fi
    run
}

exchange()
{
    local one other
    one=$(lab_image "$domain" vda)
    one_of vdb vdd
    disturbed vda "$R"
    other=$(lab_image "$domain" "$R")
    stop
    mv "$one" "$one.x" && mv "$other" "$one" && mv "$one.x" "$other"
    run
}

roll_back()
{
    one_of vda vdb vdd
    local image target=$R
    image=$(lab_image "$domain" "$R")
    stop
    if [ -e "$image.old" ]; then
        disturbed "$target"
        cat "$image.old" >"$image" && rm "$image.old"
    else
        cp "$image" "$image.old"
    fi
    run
}

# ---- checkpoints ----

lose_checkpoint()
{
    local names
    mapfile -t names < <(lab_virsh "checkpoint-list --name $domain" | grep .)
    [ ${#names[@]} -gt 0 ] || return 0
    one_of "${names[@]}"
    local name=$R
    one_of '' --metadata
    lab_virsh "checkpoint-delete $domain $name $R" >/dev/null 2>&1
    disturbed "${images[@]}"
}

# libvirt forgets all of them, the images do not: our checkpoints are defined again.
lose_state()
{
    stop
    lab_virsh "dumpxml --inactive $domain" >"$LAB_DIR/tmp/domain.xml"
    lab_virsh "undefine $domain --checkpoints-metadata; define $LAB_DIR/tmp/domain.xml" >/dev/null ||
        lab_fail "cannot define it again"
    run
}

# ---- backups ----

# keep_truth SET POINT: what the guest sees now, of the disks that the point holds.
keep_truth()
{
    local id=$1.$2 target
    points+=("$id")
    truth[$id]=$("$NBDPULL" dump -i "$LAB_DIR/$1" --json |
        jq -r --arg id "$2" '[.points[] | select(.id == $id).disks[] | select(.stored) | .target] | join(" ")')
    for target in ${truth[$id]}; do
        lab_truth "$domain" "$target" "$LAB_DIR/tmp/$id.$target"
    done
}

count_points()
{
    printf '%s\n' ${points[@]+"${points[@]}"} | grep -c "^$1\\."
}

# The shell that is to become it must not get the signal, nor may it be gone already.
np_runs()
{
    [ ! -e "/proc/$NP_PID" ] || [ "$(cat "/proc/$NP_PID/comm" 2>/dev/null)" = nbdpull ]
}

interrupted_backup()
{
    local set=$1 at
    one_of 0 0.05 0.1 0.2 0.4
    at=$R
    np_start backup -c "$LAB_URI" -d "$domain" -l auto -o "$LAB_DIR/$set" --compress zstd:19 -w 1
    lab_eventually "nbdpull runs" np_runs
    sleep "$at" # where it meets the run is left to chance
    kill -s TERM "$NP_PID" 2>/dev/null
    wait "$NP_PID"
    if [ -e "$LAB_DIR/$set/points" ] && [ "$(np_points "$LAB_DIR/$set" | wc -w)" -ne "$(count_points "$set")" ]; then
        keep_truth "$set" "$(np_points "$LAB_DIR/$set" | awk '{print $NF}')" # it was faster than the signal
        chained[$set]=1
    fi
}

# A point of the set that was a full or an increment.
older_point()
{
    local ids
    mapfile -t ids < <("$NBDPULL" dump -i "$LAB_DIR/$1" --json |
        jq -r '.points[] | select(.level == "full" or .level == "inc") | .id')
    one_of "${ids[@]}"
}

choose_arguments()
{
    local set=$1
    more=()
    one_of auto auto inc inc full diff diff copy
    level=$R
    if [ -z "${chained[$set]:-}" ] && [ "$level" != copy ]; then
        level=auto
    fi
    below 5
    [ "$R" -ne 0 ] || more+=(--scan)
    one_of '' '' '' -x -i
    if [ -n "$R" ]; then
        more+=("$R")
        one_of "${disks[@]}"
        more+=("$R")
    fi
    below 6
    [ "$R" -ne 0 ] || more+=(--keep-checkpoints 4)
    if [ "$level" = diff ]; then
        one_of '' full point
        case $R in
        full) more+=(--from full) ;;
        point)
            older_point "$set"
            more+=(--from "$R")
            ;;
        esac
    fi
}

# What nothing speaks against is an increment by bitmap; a full or an increment leaves one for the next.
expect_bitmaps()
{
    local set=$1 target how
    while read -r target how; do
        done_by[$how]=$((${done_by[$how]:-0} + 1))
        if [ -n "${clean[$set.$target]:-}" ] && [[ $level =~ ^(inc|auto)$ ]] && [[ " ${more[*]} " != *" --scan "* ]]; then
            [ "$how" = bitmap ] || lab_fail "set $set, $target by $how: $(jq -c '[.disks[].why]' "$NP_OUT")"
        fi
        if [ "$target" != vdc ] && [[ $level =~ ^(full|inc|auto)$ ]]; then
            clean[$set.$target]=1
        fi
    done < <(jq -r '.disks[] | select(.stored) | "\(.target) \(.how)"' "$NP_OUT")
}

# run_backup SET TRY: of disks that no point holds yet there is no increment, but a full.
run_backup()
{
    if [ "$2" -eq 0 ] && [[ $level =~ ^(inc|diff)$ ]] && [[ " ${more[*]} " =~ " "-[ix]" " ]]; then
        "$NBDPULL" backup -c "$LAB_URI" -d "$domain" -l "$level" -o "$LAB_DIR/$1" --json "${more[@]}" \
            >"$LAB_DIR/tmp/lab.out" 2>"$LAB_DIR/tmp/lab.err"
        case $? in
        0) NP_OUT=$LAB_DIR/tmp/lab.out && return 0 ;;
        1) grep -q "needs a full" "$LAB_DIR/tmp/lab.err" && level=full && more=() && return 1 ;;
        esac
        lab_fail "$level ${more[*]}: $(cat "$LAB_DIR/tmp/lab.err")"
    fi
    np 0 backup -c "$LAB_URI" -d "$domain" -l "$level" -o "$LAB_DIR/$1" --json ${more[@]+"${more[@]}"}
}

backup()
{
    local set=$1 level more
    choose_arguments "$set"
    run_backup "$set" 0 || run_backup "$set" 1
    [ "$level" = copy ] || chained[$set]=1
    expect_bitmaps "$set"
    keep_truth "$set" "$(jq -r .point "$NP_OUT")"
}

compare_all()
{
    local id target
    for id in "${points[@]}"; do
        np 0 restore -i "$LAB_DIR/${id%.*}" -o "$LAB_DIR/out" --until "${id#*.}" --format raw
        [ "$(find "$LAB_DIR/out" -name '*.raw' | wc -l)" -eq "$(wc -w <<<"${truth[$id]}")" ] || lab_fail "$id: not its disks"
        for target in ${truth[$id]}; do
            lab_same "$LAB_DIR/out/$target.raw" "$LAB_DIR/tmp/$id.$target"
        done
        rm -rf "$LAB_DIR/out"
    done
}

one_step()
{
    below 24
    case $R in
    0) grow ;;
    1) shrink ;;
    2 | 3) shrink_and_grow ;;
    4) kill_qemu ;;
    5) lose_checkpoint ;;
    6) lose_state ;;
    7) add_or_remove ;;
    8) replace ;;
    9) exchange ;;
    10) roll_back ;;
    11) restart ;;
    12 | 13)
        one_of a b
        interrupted_backup "$R"
        ;;
    *) write_something ;;
    esac
    below 5
    [ "$R" -eq 0 ] || write_something
    one_of a a b
    backup "$R"
}

one_history()
{
    local step target
    lab_note "NBDPULL_SEED=$1 NBDPULL_STEPS=$steps"
    RANDOM=$1
    domain=$LAB_NAME-$1
    disks=(vda vdb vdc vdd) points=() truth=()
    declare -gA clean=() chained=()
    LAB_IMAGE[$domain/vde]=$LAB_DIR/$domain.vde.qcow2
    LAB_FORMAT[$domain/vde]=qcow2
    size=([vda]=$((8 << 20)) [vdb]=$((3 * (1 << 20) + 66048)) [vdc]=$((2 * (1 << 20) + 1536)) [vdd]=$((9 * (1 << 20) + 512)))
    lab_domain "$domain" "vda:qcow2:${size[vda]}:${options[vda]}" "vdb:qcow2:${size[vdb]}:${options[vdb]}" \
        "vdc:raw:${size[vdc]}" "vdd:qcow2:${size[vdd]}:${options[vdd]}"
    for target in vda vdb vdd; do # so full that not every granule is in the sample
        below 200
        lab_io "$domain" $target "write -P $((R + 1)) 0 3M"
    done
    for ((step = 0; step < steps; step++)); do
        one_step
    done
    compare_all
    lab_virsh backup-dumpxml "$domain" >/dev/null 2>&1 && lab_fail "a job still runs"
    [ -z "$(find /var/tmp "$LAB_DIR" -maxdepth 1 -type d -name 'nbdpull-*' 2>/dev/null)" ] || lab_fail "scratch stays"
    lab_destroy "$domain" >/dev/null 2>&1
    rm -rf "$LAB_DIR/a" "$LAB_DIR/b" "$LAB_DIR/tmp/"[ab].*
}

if [ -n "${NBDPULL_SEED:-}" ]; then
    one_history "$NBDPULL_SEED"
else
    seeds=()
    RANDOM=${NBDPULL_CHOICE:-$SRANDOM}
    for ((i = 0; i < ${NBDPULL_SEEDS:-1}; i++)); do
        seeds+=($((RANDOM << 15 | RANDOM)))
    done
    for seed in "${seeds[@]}"; do
        one_history "$seed"
    done
fi
lab_note "disks by: $(for how in "${!done_by[@]}"; do echo -n "$how ${done_by[$how]} "; done)"
exit 0
