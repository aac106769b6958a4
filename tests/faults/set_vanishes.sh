#!/bin/bash
# The set is taken away at a step of a backup, a restore or a verify: renamed, unmounted, deleted, and another set put at its
# place; or its directory of streams or of points is, or the stream that is being written; or the directory that a restore
# writes into. Status 0 means that the point is in the set that was given, or that the image is exact and where it was
# asked for; what stands there instead is not touched; in libvirt nothing is left, also when the run is killed then and its
# guardian finds no set; and where the set comes back, the next run goes on in it.
# labs: system
# cost: 25
. "$(dirname "$0")/faults.sh"
fault_start
FAULT_KIND=vanish
[ "$LAB_ISOLATED" = yes ] || lab_skip "a file system to be unmounted needs a mount namespace"
lab_small_place 300M "$LAB_DIR/fs"
mkdir "$LAB_DIR/mnt"
mnt=$LAB_DIR/mnt other=$LAB_DIR/other out=$LAB_DIR/out begun=$FAULT_SET
mount_it() { mount --bind "$LAB_DIR/fs" "$mnt" || lab_fail "cannot mount $mnt"; }
mount_it
LAB_MOUNTS=("$mnt" "${LAB_MOUNTS[@]}")
FAULT_SET=$mnt/set
# Another set of the same guest, and one that was this set once. Below the mount point lies the first too.
cp -a "$begun" "$other"
np 0 checkpoints -c "$LAB_URI" -d "$LAB_NAME" --remove
np_backup "$LAB_NAME" -l full -o "$FAULT_SET"
fault_truth last
fault_guest_writes
np_backup "$LAB_NAME" -l inc -o "$FAULT_SET"
fault_truth last

# vanish_script HOW: what happens to the set; a copy of its records says how far it was.
vanish_script()
{
    local held=$FAULT_SET too_early="{ : >$LAB_DIR/tmp/too-early; exit 0; }"
    case $1 in
    streams | points) held+=/$1 ;;
    stream) held+=/streams ;;
    out-*) held=$out ;;
    esac
    echo "ls $FAULT_SET/points 2>/dev/null | grep -v '^[.]' >$LAB_DIR/tmp/at"
    # Before it has opened it to read, or after, the run is not in it: then nothing happens.
    echo "ls -l /proc/\$STOP_PID/fd | grep -q '^lr.* $held\$' || $too_early"
    [[ $1 != *-kill ]] || echo "virsh -q -c $LAB_URI backup-dumpxml $LAB_NAME >$LAB_DIR/tmp/job 2>/dev/null"
    case $1 in
    moved*) echo "mv $FAULT_SET $mnt/moved" ;;
    replaced*) echo "mv $FAULT_SET $mnt/moved && cp -a $other $FAULT_SET" ;;
    older*) echo "mv $FAULT_SET $mnt/moved && cp -a $LAB_DIR/before $FAULT_SET" ;;
    unmounted*) echo "umount -l $mnt" ;;
    deleted*) echo "rm -rf $FAULT_SET" ;;
    streams | points) echo "mv $FAULT_SET/$1 $mnt/part && mkdir $FAULT_SET/$1" ;;
    # The newest one, as long as no record mentions it.
    stream)
        echo "cd $FAULT_SET/streams && last=\$(ls | tail -n 1)"
        echo "[ -n \"\$last\" ] && [ ! -e \"../points/\${last%%.*}.json\" ] && rm \"\$last\" || $too_early"
        ;;
    # A restore that has given all files their names may be done.
    out-*)
        echo "[ ! -e $out/$LAB_NAME.xml ] || : >$LAB_DIR/tmp/all-there"
        echo "mv $out $LAB_DIR/out.away"
        [ "$1" = out-moved ] || echo "mkdir $out"
        [ "$1" != out-replaced-int ] || echo "kill -INT \$STOP_PID"
        ;;
    esac
}

vanish_is_part() { [[ $FAULT_HOW == streams || $FAULT_HOW == points || $FAULT_HOW == stream ]]; }

# vanish_where HOW: the set that the run began with.
vanish_where()
{
    if [ -e "$LAB_DIR/tmp/too-early" ]; then
        echo "$FAULT_SET"
        return
    fi
    case $1 in
    moved* | replaced* | older*) echo "$mnt/moved" ;;
    unmounted*) echo "$LAB_DIR/fs/set" ;;
    deleted*) echo "$LAB_DIR/nowhere" ;;
    *) echo "$FAULT_SET" ;;
    esac
}

# What stands at its place is as it was put there, and nothing was made where nothing was.
vanish_place_is_untouched()
{
    [ ! -e "$LAB_DIR/tmp/too-early" ] || return 0
    case $FAULT_HOW in
    replaced*) diff -r --no-dereference "$other" "$FAULT_SET" >&2 || fault_fail "it changed the other set" ;;
    older*) diff -r --no-dereference "$LAB_DIR/before" "$FAULT_SET" >&2 || fault_fail "it changed the copy" ;;
    streams | points | stream | out-*) ;;
    *) [ ! -e "$FAULT_SET" ] || fault_fail "something is where the set was: $(find "$FAULT_SET")" ;;
    esac
}

vanish_put_back()
{
    [ ! -e "$LAB_DIR/tmp/too-early" ] || return 0
    case $FAULT_HOW in
    moved* | replaced* | older*) rm -rf "$FAULT_SET" && mv "$mnt/moved" "$FAULT_SET" ;;
    unmounted*) mount_it ;;
    streams | points)
        # A set that the run had made went with it.
        [ ! -e "$FAULT_SET" ] && [ -z "$(find "$mnt/part" -type f)" ] || [ ! -e "$mnt/part" ] || cp -an "$mnt/part/." "$FAULT_SET/$FAULT_HOW/" || fault_fail "cannot put it back"
        rm -rf "$mnt/part"
        ;;
    esac
}

vanish_guardians_are_gone() { ! pgrep -x nbdpull-guard >/dev/null; }
vanish_in_libvirt() { { lab_virsh "backup-dumpxml $LAB_NAME; checkpoint-list --name $LAB_NAME" 2>/dev/null || true; } | sed '/^$/d' | sort; }

FAULT_STATUSES=
# ---- a backup ----

vanish_backup()
{
    local points now='' where goes_on='' settings=(STOP_AT="$2" STOP_HOW=none) new=no
    [[ $3 != *-kill ]] || settings=(STOP_AT="$2" STOP_HOW=kill)
    fault_fresh "$1"
    [ -e "$FAULT_SET/points" ] || [ "$1" = new ] || fault_fail "no set"
    fault_guest_writes
    fault_truth after
    points=$(fault_points) || exit 1
    rm -rf "$LAB_DIR/before"
    if [ -e "$FAULT_SET" ]; then cp -a "$FAULT_SET" "$LAB_DIR/before"; else cp -a "$other" "$LAB_DIR/before"; fi
    vanish_in_libvirt >"$LAB_DIR/tmp/virsh.before"
    fault_run "$1" "${settings[@]}" STOP_RUN="sh $LAB_DIR/tmp/during"
    lab_eventually "the guardian ends" vanish_guardians_are_gone
    [ -e "$LAB_DIR/tmp/at" ] || { fault_truth last && return 0; } # the step was not reached: their number varies
    where=$(vanish_where "$3")
    [ "$(wc -l <"$LAB_DIR/tmp/at")" -le "$(wc -w <<<"$points")" ] || new=yes
    # Before it has made something in its part it goes on with what stands there; then the point needs nothing else.
    if vanish_is_part && [ "$FAULT_STATUS$new" = 0no ] && [ ! -e "$LAB_DIR/tmp/too-early" ]; then
        [ "$(fault_points | wc -w)" -gt "$(wc -w <<<"$points")" ] && goes_on=yes && fault_restores after
    fi
    ! vanish_is_part || vanish_put_back
    if [ -e "$where" ] && [ -e "$where/set.json" ]; then
        now=$(FAULT_SET=$where fault_points) || exit 1
    fi
    case $FAULT_STATUS,$new in
    0,yes) # its point was there before
        [[ $3 = deleted* ]] || [ "$(wc -w <<<"$now")" -gt "$(wc -w <<<"$points")" ] || fault_fail "status 0, and no point"
        ;;
    0,no) [ -e "$LAB_DIR/tmp/too-early" ] || [ -n "$goes_on" ] || fault_fail "status 0, but the set was gone before there was a point" ;;
    137,*) [[ $3 == *-kill ]] || fault_fail "killed" ;;
    1,* | 4,no) # also when its record was there for a moment
        [[ $3 = deleted* ]] || [ "$now" = "$points" ] || fault_fail "failed, but points are $now"
        [ "$FAULT_STATUS" -eq 1 ] || vanish_is_part || fault_fail "nothing is damaged"
        [ "$(grep -c '^nbdpull: [^w]' "$NP_ERR")" -eq 1 ] || fault_fail "not one error"
        ;;
    *) fault_fail "status $FAULT_STATUS, new: $new" ;;
    esac
    FAULT_STATUSES+=" $1-$3-$FAULT_STATUS"
    vanish_place_is_untouched
    if [[ "$FAULT_STATUS" != 0 && $new$FAULT_STATUS != yes137 && ! -e $LAB_DIR/tmp/too-early ]]; then
        # After the job a killed run may have committed: without its set, its guardian cannot know, and leaves the checkpoint.
        vanish_in_libvirt | diff "$LAB_DIR/tmp/virsh.before" - >"$LAB_DIR/tmp/diff" ||
            [[ $3 == *-kill && ! -s $LAB_DIR/tmp/job && $(grep -c '^[<>]' "$LAB_DIR/tmp/diff") == 1 &&
                $(cat "$LAB_DIR/tmp/diff") == *"> nbdpull-"* ]] ||
            fault_fail "jobs or checkpoints are left: $(cat "$LAB_DIR/tmp/diff")"
    fi
    [ -z "$(find /var/tmp "$LAB_DIR/tmp" -maxdepth 1 -name 'nbdpull-*')" ] || fault_fail "a scratch directory is left"
    if ! vanish_is_part; then
        vanish_put_back
    elif [ "$FAULT_STATUS" -eq 0 ]; then
        fault_restores after
    fi
    if [[ $3 = deleted* ]]; then
        np 0 checkpoints -c "$LAB_URI" -d "$LAB_NAME" --remove
        rm -rf "$FAULT_SET"
        np_backup "$LAB_NAME" -l full -o "$FAULT_SET"
    else
        FAULT_BITMAPS_LOST=$([ "$(wc -w <<<"$points")" -gt 0 ] || echo yes) fault_next "$1"
    fi
    fault_restores after
    fault_truth last
}

# ---- what reads ----

vanish_reader_run()
{
    local words
    rm -rf "$out"
    case $1 in
    restore) words="restore -i $FAULT_SET -o $out -w 1" ;;
    verified) words="restore -i $FAULT_SET -o $out -w 1 --verify" ;;
    salvage) words="restore -i $FAULT_SET -o $out -w 1 --salvage" ;;
    verify) words="verify -i $FAULT_SET -w 1" ;;
    deep) words="verify -i $FAULT_SET -w 1 --deep" ;;
    dump) words="dump -i $FAULT_SET --map" ;;
    looks) words="repair -i $FAULT_SET --dry-run" ;;
    esac
    shift
    # shellcheck disable=SC2086
    fault_program "$@" -- $words
}

# What was restored lies whole in one of the two places, or nowhere.
vanish_target()
{
    local target at=$out
    [ -e "$LAB_DIR/tmp/too-early" ] || at=$LAB_DIR/out.away
    if [ "$FAULT_STATUS" -eq 0 ]; then
        # What follows the last look only closes.
        [ "$at" = "$out" ] || [[ -e $LAB_DIR/tmp/all-there && $2 == close:* ]] ||
            fault_fail "status 0, and it was moved before it was done"
    elif [ -e "$LAB_DIR/tmp/too-early" ] || [[ $3,$FAULT_STATUS != *,1 && $3,$FAULT_STATUS != *-int,130 ]]; then
        fault_fail "status $FAULT_STATUS"
    fi
    if [ -e "$LAB_DIR/tmp/too-early" ]; then
        :
    elif [ "$3" = out-moved ]; then
        [ ! -e "$out" ] || fault_fail "something is where the target was"
    else
        rmdir "$out" || fault_fail "the directory at the target's place is not as it was: $(find "$out")"
    fi
    [ -z "$(find "$at" -name '.*')" ] || fault_fail "left $(find "$at")"
    for target in "${FAULT_TARGETS[@]}"; do
        [ "$FAULT_STATUS" -ne 0 ] && [ ! -e "$LAB_DIR/tmp/all-there" ] && [ ! -e "$at/$target.qcow2" ] ||
            (lab_same "$at/$target.qcow2" "$LAB_DIR/tmp/last.$target") || fault_fail "$target is not exact"
    done
    rm -rf "$LAB_DIR/out.away"
}

vanish_reader()
{
    local target
    rm -rf "$LAB_DIR/before"
    cp -a "$FAULT_SET" "$LAB_DIR/before"
    vanish_reader_run "$1" STOP_AT="$2" STOP_HOW=none STOP_RUN="sh $LAB_DIR/tmp/during"
    [ -e "$LAB_DIR/tmp/at" ] || return 0
    if [[ $3 == out-* ]]; then
        vanish_target "$@"
        FAULT_STATUSES+=" $1-$3-$FAULT_STATUS"
        return 0
    fi
    vanish_place_is_untouched
    case $1,$FAULT_STATUS in
    restore,0 | verified,0 | salvage,0)
        for target in "${FAULT_TARGETS[@]}"; do
            (lab_same "$out/$target.qcow2" "$LAB_DIR/tmp/last.$target") || fault_fail "$target is not exact"
        done
        ;;
    verify,0 | deep,0 | dump,0) ;;
    restore,[14] | verified,[14] | salvage,[14]) [ ! -e "$out" ] || fault_fail "failed, and left $(find "$out")" ;;
    # An image with the list of what it has lost.
    salvage,6) [ -e "$out/vda.losses" ] || [ -e "$out/vdb.losses" ] || fault_fail "losses without a list" ;;
    verify,[145] | deep,[145] | dump,[14] | looks,[01]) ;;
    *) fault_fail "status $FAULT_STATUS" ;;
    esac
    [[ $3 == deleted || $FAULT_STATUS == [0145] ]] || fault_fail "nothing is lost"
    [[ $3,$FAULT_STATUS != deleted,4 ]] || fault_fail "nothing is damaged"
    [ "$FAULT_STATUS" -eq 0 ] || grep -q '^nbdpull: ' "$NP_ERR" || fault_fail "it does not say why"
    FAULT_STATUSES+=" $1-$3-$FAULT_STATUS"
    vanish_put_back
    [ -e "$FAULT_SET" ] || cp -a "$LAB_DIR/before" "$FAULT_SET"
    diff -r --no-dereference "$LAB_DIR/before" "$FAULT_SET" >&2 || fault_fail "the set is another"
}

# ---- rounds ----

vanish_is_backup() { [[ $1 == inc || $1 == full || $1 == new ]]; }

vanish_count()
{
    if vanish_is_backup "$1"; then
        fault_backup_count "$1"
    else
        rm -f "$LAB_DIR/tmp/steps"
        vanish_reader_run "$1" STOP_LOG="$LAB_DIR/tmp/steps"
        [ "$FAULT_STATUS" -eq 0 ] || lab_fail "an undisturbed $1: $(cat "$NP_ERR")"
    fi
}

vanish_round()
{
    FAULT_STEP=$2 FAULT_HOW=$3 FAULT_WHAT="$1, $2, $3" FAULT_STATUS=
    rm -f "$LAB_DIR/tmp/at" "$LAB_DIR/tmp/job" "$LAB_DIR/tmp/too-early" "$LAB_DIR/tmp/all-there"
    vanish_script "$3" >"$LAB_DIR/tmp/during"
    if vanish_is_backup "$1"; then
        vanish_backup "$@"
    else
        vanish_reader "$@"
    fi
}

vanish_reset()
{
    mountpoint -q "$mnt" || mount_it
    rm -rf "$mnt/moved" "$mnt/part" "$LAB_DIR/out.away"
    fault_backup_reset
}

ways="moved replaced older unmounted deleted"
fault_each inc "files virt nbd" "$ways moved-kill replaced-kill deleted-kill" 4
fault_each inc "files virt nbd" "streams points stream" 2
fault_each full "files virt nbd" "moved deleted streams stream" 1
fault_each new "files virt nbd" "moved older deleted streams points stream" 1
np_backup "$LAB_NAME" -l full -o "$FAULT_SET"
fault_truth last
for level in restore verified salvage verify deep dump looks; do
    fault_each $level "files reads closes" "$ways" 1
done
for level in restore verified salvage; do
    fault_each $level "files reads closes nbd" "out-moved out-replaced out-replaced-int" 1
done
fault_each verified nbd "out-moved out-replaced" 2
for status in $FAULT_STATUSES; do echo "$status"; done | sort | uniq -c | sed 's/^/# /' >&2
fault_end
