#!/bin/bash
# A tmpfs and an ext4 with room for less, page by page and inode by inode, from nothing to all: backups of a set that lies there,
# restores into it, a salvage, a repair, copies and dumps to a file. Each is exact, or fails with one line that names the
# place, leaves nothing behind, and is exact once there is room.
# labs: system
# cost: 20
. "$(dirname "$0")/faults.sh"
fault_start
FAULT_KIND=room
small='' good=$LAB_DIR/good bad=$LAB_DIR/bad torn=$LAB_DIR/torn
# Streams of many pages each.
plain=(--compress none)
fault_guest_writes
np_backup "$LAB_NAME" -l full -o "$good" "${plain[@]}"
fault_guest_writes
np_backup "$LAB_NAME" -l inc -o "$good" "${plain[@]}"
fault_truth good
np 0 checkpoints -c "$LAB_URI" -d "$LAB_NAME" --remove
# One that a repair has to do with, and one whose second stream of vda has lost a record.
cp -a "$good" "$bad"
rm "$bad/points/0001.json" "$bad/set.json"
echo "{" >"$bad/points/0002.json"
cp -a "$good" "$torn"
printf 'damage' | dd of="$torn/streams/0002.vda.nbp" bs=1 seek=$(($(stat -c %s "$torn/streams/0002.vda.nbp") / 2)) conv=notrunc status=none

# ---- room ----

# room_start FILE-SYSTEM: the set lies there from now on.
room_start()
{
    small=$LAB_DIR/$1
    case $1 in
    tmpfs) lab_small_place 256M "$small" ;;
    ext4)
        # Loop devices, which the laboratory's /dev has not.
        local image=$LAB_DIR/ext4.image k
        [ -e /dev/loop-control ] || mknod /dev/loop-control c 10 237
        for k in {0..31}; do [ -e "/dev/loop$k" ] || mknod "/dev/loop$k" b 7 "$k"; done
        truncate -s 32M "$image"
        mkfs.ext4 -q -b 4096 -m 0 -N 1024 "$image" || lab_fail "cannot make $image"
        mkdir "$small"
        mount -o loop "$image" "$small" || return 1
        LAB_MOUNTS+=("$small")
        ;;
    esac
    np 0 checkpoints -c "$LAB_URI" -d "$LAB_NAME" --remove
    FAULT_STEPS=() FAULT_SET=$small/set
    np_backup "$LAB_NAME" -l full -o "$FAULT_SET"
    fault_truth last
}

room_blocks() { sync -f "$small" && stat -f -c '%b %a' "$small" | { read -r all free && echo $((all - free)); }; }
room_inodes() { stat -f -c '%c %d' "$small" | { read -r all free && echo $((all - free)); }; }
room_free() { stat -f -c "$1" "$small"; }
room_all()
{
    case $small in
    */tmpfs) mount -o remount,size=256M,nr_inodes=100000 "$small" || lab_fail "cannot remount $small" ;;
    */ext4) rm -rf "$small/filler" ;;
    esac
}

# room_only WHAT:COUNT: so many more pages, or inodes.
room_only()
{
    local count=${1#*:} limit i
    case $small,$1 in
    */tmpfs,pages:*) limit=size=$((($(room_blocks) + count) * 4096)) ;;
    */tmpfs,inodes:*) limit=nr_inodes=$(($(room_inodes) + count)) ;;
    */ext4,pages:*)
        mkdir "$small/filler" && sync -f "$small"
        fallocate -l $((($(room_free %a) - count - 4) * 4096)) "$small/filler/0" || lab_fail "cannot fill $small"
        # Metadata of the filler itself take some.
        for ((i = 1; $(room_free %a) > count && i < 9; i++)); do
            fallocate -l 4096 "$small/filler/$i" || break
        done
        return
        ;;
    */ext4,inodes:*)
        mkdir "$small/filler"
        seq "$(($(room_free %d) - count))" | (cd "$small/filler" && xargs -r touch)
        return
        ;;
    esac
    mount -o "remount,${limit/%size=0/size=4096}" "$small" || lab_fail "cannot remount $small: $limit"
}
room_list() { find "$small" -path "$small/filler" -prune -o -printf '%P %y\n' | sort; }
room_virsh() { { lab_virsh "backup-dumpxml $LAB_NAME; checkpoint-list --name $LAB_NAME" 2>/dev/null || true; } | sed '/^$/d' | sort; }

# ---- the commands ----

room_is_backup() { [[ $1 == inc || $1 == full || $1 == new ]]; }

# room_run LEVEL [VARIABLE=VALUE]...
room_run()
{
    local words level=$1
    shift
    case $level in
    inc | full | new) words="backup -c $LAB_URI -d $LAB_NAME -l $(fault_level "$level") -o $FAULT_SET ${plain[*]} -w 1" ;;
    qcow2) words="restore -w 1 -i $good -o $small/out" ;;
    raw) words="restore -w 1 -i $good -o $small/out --format raw" ;;
    full-raw) words="restore -w 1 -i $good -o $small/out --format raw --preallocation full" ;;
    verified) words="restore -w 1 -i $good -o $small/out --verify" ;;
    salvage) words="restore -w 1 -i $torn -o $small/out --salvage=older" ;;
    repair) words="repair -i $small/work" ;;
    dump) words="dump -i $good --map" ;;
    json) words="dump -i $good --json" ;;
    copy) words="backup -c $LAB_URI -d $LAB_NAME -l copy -o -" ;;
    esac
    case $level in
    dump | json | copy)
        # shellcheck disable=SC2086
        FAULT_STATUS=0 NP_ERR=$LAB_DIR/tmp/fault.err
        # shellcheck disable=SC2086
        "$NBDPULL" $words >"$small/file" 2>"$NP_ERR" </dev/null || FAULT_STATUS=$?
        ;;
    *)
        # shellcheck disable=SC2086
        fault_program "$@" -- $words
        ;;
    esac
}

room_fresh()
{
    if room_is_backup "$1"; then
        fault_fresh "$1"
        fault_guest_writes
        fault_truth after
    else
        rm -rf "$small/out" "$small/work" "$small/file"
        [ "$1" != repair ] || cp -a "$bad" "$small/work"
    fi
}

# room_exact LEVEL: what it made.
room_exact()
{
    local target format=qcow2
    case $1 in
    inc | full | new)
        fault_restores after
        fault_truth last
        fault_points >/dev/null || exit 1
        fault_nothing_left "$1"
        ;;
    qcow2 | verified | raw | full-raw)
        [[ $1 != *raw ]] || format=raw
        for target in "${FAULT_TARGETS[@]}"; do
            (lab_same "$small/out/$target.$format" "$LAB_DIR/tmp/good.$target") || fault_fail "$target is not exact"
        done
        cmp "$small/out/$LAB_NAME.original.xml" "$good/config/0002/domain.xml" && [ -s "$small/out/$LAB_NAME.xml" ] ||
            fault_fail "the guest's XML is not there"
        ;;
    salvage)
        diff <(cd "$small/out" && find . -type f | sort) <(cd "$LAB_DIR/want.salvage" && find . -type f | sort) >&2 ||
            fault_fail "it makes other files"
        cmp "$small/out/vda.losses" "$LAB_DIR/want.salvage/vda.losses" || fault_fail "another list of losses"
        for target in "${FAULT_TARGETS[@]}"; do
            qemu-img compare -q "$small/out/$target.qcow2" "$LAB_DIR/want.salvage/$target.qcow2" || fault_fail "$target is another"
        done
        ;;
    repair)
        diff -r -x lock -x set.json "$LAB_DIR/want.repair" "$small/work" >&2 || fault_fail "it makes another set"
        ;;
    dump | json) cmp "$small/file" "$LAB_DIR/want.$1" || fault_fail "it prints something else" ;;
    copy)
        rm -rf "$LAB_DIR/out"
        "$NBDPULL" restore -i "$small/file" -o "$LAB_DIR/out" --format raw 2>"$LAB_DIR/tmp/restore.err" ||
            fault_fail "the copy: $(cat "$LAB_DIR/tmp/restore.err")"
        for target in "${FAULT_TARGETS[@]}"; do
            cmp "$LAB_DIR/out/$target.raw" "$LAB_DIR/tmp/last.$target" || fault_fail "$target is not exact"
        done
        ;;
    esac
}

room_status() { [ "$1" = salvage ] && echo 6 || echo 0; }

# room_count LEVEL: what it takes when there is room, and in the short run mostly the sizes near to that.
room_count()
{
    local pages inodes k few=10
    [ "${NBDPULL_FAULTS:-some}" != all ] || few=300
    room_fresh "$1"
    pages=$(room_blocks) inodes=$(room_inodes)
    room_run "$1"
    [ "$FAULT_STATUS" -eq "$(room_status "$1")" ] || lab_fail "$1 with room: status $FAULT_STATUS, $(cat "$NP_ERR")"
    pages=$(($(room_blocks) - pages + 6)) inodes=$(($(room_inodes) - inodes + 4))
    rm -rf "$LAB_DIR/want.$1"
    case $1 in
    inc | full | new) fault_truth last ;;
    qcow2 | salvage) cp -a "$small/out" "$LAB_DIR/want.$1" ;;
    repair) cp -a "$small/work" "$LAB_DIR/want.$1" ;;
    dump | json) cp "$small/file" "$LAB_DIR/want.$1" ;;
    esac
    for ((k = 0; k <= pages; k++)); do
        [ $k -lt $((pages - 15)) ] && [ $((k % (pages / few + 1))) -ne 0 ] || echo "pages pages:$k"
    done >"$LAB_DIR/tmp/steps"
    for ((k = 0; k <= inodes; k++)); do echo "inodes inodes:$k"; done >>"$LAB_DIR/tmp/steps"
    lab_note "$1: up to $pages pages of 4 KiB, $inodes inodes"
}

room_round()
{
    local points=
    FAULT_STEP=$2 FAULT_HOW=$3 FAULT_WHAT="${small##*/}, $1, $2" FAULT_STATUS=
    room_fresh "$1"
    if room_is_backup "$1"; then points=$(fault_points) || exit 1; fi
    room_list >"$LAB_DIR/tmp/list"
    room_virsh >"$LAB_DIR/tmp/virsh.before"
    room_only "$2"
    room_run "$1"
    room_all
    FAULT_STATUSES+=" ${small##*/}-$1-${2%:*}-$FAULT_STATUS"
    if [ "$FAULT_STATUS" -eq "$(room_status "$1")" ]; then
        room_exact "$1"
        return
    fi
    [ "$FAULT_STATUS" -eq 1 ] || fault_fail "status $FAULT_STATUS"
    # What set.json counts is a hint beside the records: that it could not be raised is a warning.
    grep -v 'warning: who holds the lock is not said\|warning: .*/set.json: .*No space' "$NP_ERR" >"$LAB_DIR/tmp/said"
    [ "$(wc -l <"$LAB_DIR/tmp/said")" -eq 1 ] || fault_fail "not one line"
    case $1 in
    dump | json | copy) grep -q -i 'standard output.*space\|space.*standard output' "$LAB_DIR/tmp/said" ;;
    *) grep -q "^nbdpull: .*$small/.*No space" "$LAB_DIR/tmp/said" ;;
    esac || fault_fail "it does not say which place is full"
    case $1 in
    dump | json | copy) ;;
    repair)
        # What was moved aside and rebuilt stays, and nothing is lost.
        [ -z "$(find "$small/work" -name '.*')" ] || fault_fail "left $(find "$small/work" -name '.*')"
        diff -r "$good/streams" "$small/work/streams" >&2 || fault_fail "streams are gone"
        ;;
    *) room_list | diff "$LAB_DIR/tmp/list" - >&2 || fault_fail "files came or went" ;;
    esac
    room_virsh | diff "$LAB_DIR/tmp/virsh.before" - >&2 || fault_fail "jobs or checkpoints came or went"
    if room_is_backup "$1"; then
        [ "$(fault_points)" = "$points" ] || fault_fail "points came or went"
        fault_next "$1"
        return
    fi
    FAULT_WHAT+=", again"
    [ "$1" = repair ] || rm -rf "$small/out" "$small/file"
    room_run "$1"
    [ "$FAULT_STATUS" -eq "$(room_status "$1")" ] || fault_fail "status $FAULT_STATUS"
    room_exact "$1"
}

room_reset()
{
    room_all
    rm -rf "$small/out" "$small/work" "$small/file"
    fault_backup_reset
}

# room_each LEVEL...: in the short run half of them, others each time.
room_each()
{
    local level
    for level; do
        [ "${NBDPULL_FAULTS:-some}" = all ] || [ $((RANDOM % 2)) -eq 0 ] || continue
        fault_each "$level" "pages" "room" 1
        [[ $level == dump || $level == json || $level == copy ]] || fault_each "$level" "inodes" "room" 1
    done
}

FAULT_STATUSES=
room_start tmpfs
room_each inc full new qcow2 raw full-raw verified salvage repair dump json copy
if room_start ext4; then
    room_each inc qcow2 raw repair
else
    lab_note "no loop devices here: tmpfs only"
fi
for status in $FAULT_STATUSES; do echo "$status"; done | sort | uniq -c | sed 's/^/# /' >&2
fault_end
