#!/bin/bash
# Restore, verify, dump, repair and estimate on a disk that fails at each of their steps: reading, writing, syncing, closing.
# Never status 0 when something was not read or not written; no image that is not whole; a disk that cannot be read is
# not taken for a set that is damaged; and half a read or write is none that failed.
# NBDPULL_FAULTS_COMMANDS takes some of them only.
# labs: system
. "$(dirname "$0")/faults.sh"
fault_start
good=$LAB_DIR/good out=$LAB_DIR/out work=$LAB_DIR/work
fault_guest_writes
np_backup "$LAB_NAME" -l inc -o "$FAULT_SET" --compress zstd:3
fault_truth last
cp -a "$FAULT_SET" "$good"
"$NBDPULL" dump -i "$good" --map >"$LAB_DIR/tmp/dump.good" || lab_fail "dump"

# ---- the commands: how each is run, and what is right afterwards ----

restore_qcow2() { rm -rf "$out" && WORDS=(restore -i "$good" -o "$out" -w 2); }
restore_raw() { rm -rf "$out" && WORDS=(restore -i "$good" -o "$out" -w 2 --format raw --preallocation full); }
restore_verify() { rm -rf "$out" && WORDS=(restore -i "$good" -o "$out" -w 2 --verify); }
verify() { WORDS=(verify -i "$good"); }
verify_quick() { WORDS=(verify -i "$good" --quick); }
verify_deep() { WORDS=(verify -i "$good" --deep -w 2); }
dump() { WORDS=(dump -i "$good" --map); }
estimate() { WORDS=(estimate -c "$LAB_URI" -d "$LAB_NAME" -o "$good" -l inc --exact); }
repair()
{
    rm -rf "$work"
    cp -a "$good" "$work"
    rm "$work/points/0002.json" "$work/set.json"
    echo "{" >"$work/points/0001.json"
    cp "$work/streams/0001.vda.nbp" "$work/streams/0002.vdc.nbp"
    WORDS=(repair -i "$work")
}
copy()
{
    rm -f "$out.stream"
    WORDS=(backup -c "$LAB_URI" -d "$LAB_NAME" -l copy -o - -w 1)
}

# no_image: nothing has an image's name, nor the place that was made for it.
no_image()
{
    local left
    left=$(find "$out" -name '[!.]*' 2>/dev/null)
    # Where the name cannot be taken back either, it may stand: of a whole image.
    if [[ $HOW != stuck && $HOW != lost ]]; then
        left+=$(find "$out" -name '.*' 2>/dev/null)
        [ -z "$left" ] || lab_fail "$WHAT: left $left"
    fi
    whole_images
}

whole_images()
{
    local target image
    for target in "${FAULT_TARGETS[@]}"; do
        for image in "$out/$target".*; do
            [ ! -e "$image" ] || lab_same "$image" "$LAB_DIR/tmp/last.$target"
        done
    done
}

after_restore_qcow2()
{
    [ "$STATUS" -eq 0 ] || { no_image && return; }
    lab_same "$out/vda.qcow2" "$LAB_DIR/tmp/last.vda"
    lab_same "$out/vdb.qcow2" "$LAB_DIR/tmp/last.vdb"
    companions
}
after_restore_verify() { after_restore_qcow2; }
after_restore_raw()
{
    [ "$STATUS" -eq 0 ] || { no_image && return; }
    lab_same "$out/vda.raw" "$LAB_DIR/tmp/last.vda"
    lab_same "$out/vdb.raw" "$LAB_DIR/tmp/last.vdb"
    companions
}
companions()
{
    cmp "$out/$LAB_NAME.original.xml" "$good/config/0003/domain.xml" && [ -s "$out/$LAB_NAME.xml" ] ||
        lab_fail "$WHAT: the guest's XML is missing or another one"
}
after_verify() { [ "$STATUS" -ne 4 ] || lab_fail "$WHAT: the set is called damaged"; }
after_verify_quick() { after_verify; }
after_verify_deep() { after_verify; }
after_dump()
{
    after_verify
    [ "$STATUS" -ne 0 ] || cmp "$LAB_DIR/tmp/fault.out" "$LAB_DIR/tmp/dump.good" || lab_fail "$WHAT: it shows something else"
}
after_estimate()
{
    after_verify
    [ -z "$(lab_virsh "backup-dumpxml $LAB_NAME" 2>/dev/null)" ] || lab_fail "$WHAT: a job is left"
}
after_copy()
{
    [ "$STATUS" -eq 0 ] || return 0
    rm -rf "$out"
    np 0 restore -i "$LAB_DIR/tmp/fault.out" -o "$out" --format raw
    cmp "$out/vda.raw" "$LAB_DIR/tmp/last.vda" && cmp "$out/vdb.raw" "$LAB_DIR/tmp/last.vdb" ||
        lab_fail "$WHAT: the copy is not exact"
}
after_repair()
{
    local file
    for file in "$good"/streams/*; do
        cmp -s "$file" "$work/streams/${file##*/}" || lab_fail "$WHAT: $file is no longer among the streams"
    done
    [ "$STATUS" -ne 4 ] || lab_fail "$WHAT: the set is said to be beyond repair"
    # Before the next one the point's record may be lost, and never of other content.
    np 0 repair -i "$work"
    [ -e "$work/aside/0002.vdc.nbp" ] || lab_fail "$WHAT: the foreign stream is not set aside"
    diff <(jq -S 'del(.sum, .disks[].stream.codec)' "$good"/points/*.json) \
        <(jq -S 'del(.sum, .disks[].stream.codec)' "$work"/points/*.json) || lab_fail "$WHAT: other records"
}

# run_it COMMAND [VARIABLE=VALUE]...
run_it()
{
    "$1"
    shift
    STATUS=0
    { env "$@" LD_PRELOAD="$NBDPULL_STOP_AT" "$NBDPULL" "${WORDS[@]}" >"$LAB_DIR/tmp/fault.out" \
        2>"$LAB_DIR/tmp/fault.err" </dev/null || STATUS=$?; } 2>/dev/null
}

# A call that fails is an error of the command, but for what is tried again where it matters: a file in a stream beside the
# disks, such as the XML, has no name at first when its header cannot be read, and is asked when it is wanted.
may_pass()
{
    [[ $STEP != pread64:* ]] || return 0
    case $HOW,$STEP in
    short,* | *,close:* | fail,unlinkat:* | lost,unlinkat:* | lost,unlink:* | fail,rmdir:* | lost,rmdir:*) true ;;
    interrupted,*) true ;;
    *) [[ " ${PASSES[*]:-} " == *" $STEP "* ]] ;;
    esac
}

# A chain that cannot be read is not built on, and an estimate says so. What set.json counts as committed is a hint beside
# the records that are rebuilt, and who holds the lock is for people. The directory of a socket
# that stays, empty, is no part of what was asked for, nor is what earlier runs left.
warns()
{
    case $1 in
    estimate) grep -q 'warning: .*: its chain is broken' "$LAB_DIR/tmp/fault.err" ;;
    restore_* | copy) grep -q -E 'warning: .*: cannot (remove|list)' "$LAB_DIR/tmp/fault.err" ;;
    repair) grep -q -E 'warning: .*(/(set.json|lock): |: cannot look for what )' "$LAB_DIR/tmp/fault.err" ;;
    *) false ;;
    esac
}

# each COMMAND SOME
each()
{
    local command=$1 some=$2 group step how hows settings total i taken=0 cases=() name
    rm -f "$LAB_DIR/tmp/steps"
    run_it "$command" STOP_LOG="$LAB_DIR/tmp/steps"
    [ $STATUS -eq 0 ] || lab_fail "$command, undisturbed: status $STATUS: $(cat "$LAB_DIR/tmp/fault.err")"
    while read -r group step; do
        case $group in
        reads) hows="fail lost" ;;
        files) hows="fail lost full quota" ;;
        closes) hows="lost" ;;
        *) hows= ;;
        esac
        name=${step%:*}
        case $name in
        pread64) hows+=" short interrupted" ;;
        pwrite64 | writev) hows+=" short interrupted toolarge" ;;
        fsync) hows+=" stuck" ;;
        esac
        for how in $hows; do
            cases+=("$step $how")
        done
    done <"$LAB_DIR/tmp/steps"
    total=${#cases[@]}
    [ "$total" -gt 20 ] || lab_fail "$command: only $total cases"
    for ((i = 0; i < total; i++)); do
        [ "$NBDPULL_FAULTS" = all ] || [ $((RANDOM % (total - i))) -lt $((some - taken)) ] || continue
        taken=$((taken + 1))
        read -r STEP HOW <<<"${cases[$i]}"
        if [ "$NBDPULL_FAULTS" = all ]; then
            (one "$command") || FAULT_FAILED+=("$command: $STEP ($HOW)")
        else
            one "$command"
        fi
    done
    lab_note "$command: $taken of $total"
}

one()
{
    local settings=(STOP_AT="$STEP" STOP_HOW="$HOW")
    case $HOW in
    full) settings=(STOP_AT="$STEP" STOP_HOW=fail STOP_ERRNO=28) ;;
    quota) settings=(STOP_AT="$STEP" STOP_HOW=fail STOP_ERRNO=122) ;;
    toolarge) settings=(STOP_AT="$STEP" STOP_HOW=fail STOP_ERRNO=27) ;;
    interrupted) settings=(STOP_AT="$STEP" STOP_HOW=fail STOP_ERRNO=4) ;;
    esac
    rm -f "$LAB_DIR/tmp/came"
    run_it "$1" "${settings[@]}" STOP_RUN=": >$LAB_DIR/tmp/came"
    [ -e "$LAB_DIR/tmp/came" ] || return 0 # threads do not make as many calls each time
    WHAT="$1: $STEP ($HOW), seed $NBDPULL_FAULTS_SEED, status $STATUS, $(head -c 300 "$LAB_DIR/tmp/fault.err")"
    case $STATUS in
    0) may_pass || warns "$1" || lab_fail "$WHAT: as if nothing had failed" ;;
    1 | 4 | 5) grep -q '^nbdpull: ' "$LAB_DIR/tmp/fault.err" || lab_fail "$WHAT: it does not say why" ;;
    *) lab_fail "$WHAT" ;;
    esac
    case $HOW,$STEP in
    short,* | interrupted,*)
        [ "$STATUS" -eq 0 ] || lab_fail "$WHAT: that is no failure"
        ;;
    esac
    "after_$1"
}

# ---- a sector that cannot be read, however often ----

# sector FILE POS
sector()
{
    local command bad
    HOW=bad STEP=${1##*/}:$2
    for command in verify_deep verify verify_quick dump restore_qcow2 estimate repair; do
        bad=$1:$2
        [ $command != repair ] || bad=$work/${1#"$good/"}:$2
        run_it $command STOP_BAD="$bad"
        WHAT="$command: $STEP cannot be read: status $STATUS, $(head -c 300 "$LAB_DIR/tmp/fault.err")"
        case $command,$STATUS in
        verify*,5 | restore*,1 | dump,1 | estimate,1 | repair,1) ;;
        # What it does not read.
        verify_quick,0 | dump,0 | restore*,0 | estimate,0 | repair,0) ;;
        *) lab_fail "$WHAT" ;;
        esac
        "after_$command"
    done
}

sectors=()
for file in "$good"/streams/* "$good"/points/* "$good/set.json"; do
    for ((pos = 0; pos < $(stat -c %s "$file"); pos += 512)); do
        sectors+=("$file $pos")
    done
done
total=${#sectors[@]} taken=0
for ((i = 0; i < total; i++)); do
    [ "$NBDPULL_FAULTS" = all ] || [ $((RANDOM % (total - i))) -lt $((4 - taken)) ] || continue
    taken=$((taken + 1))
    # shellcheck disable=SC2086
    if [ "$NBDPULL_FAULTS" = all ]; then
        (sector ${sectors[$i]}) || FAULT_FAILED+=("sector ${sectors[$i]}")
    else
        sector ${sectors[$i]}
    fi
done
lab_note "sectors: $taken of $total"

all="restore_qcow2 restore_raw restore_verify verify verify_quick verify_deep dump estimate repair copy"
for command in ${NBDPULL_FAULTS_COMMANDS:-$all}; do
    each "$command" 5
done
fault_end
