#!/bin/bash
# kill -9 of restore, verify and repair at each step, and of the qemu-nbd that reads an image back: an image has its name
# only when it is whole, the set is as it was, and the same command again does its work, in the same place or, where it says
# why not, in another. A repair that was killed is taken up by the next one with the same result.
# labs: embed
. "$(dirname "$0")/faults.sh"
fault_start
FAULT_KIND=tool
declare -A tool_status
TOOL_LEFT=0
good=$LAB_DIR/good bad=$LAB_DIR/bad out=$LAB_DIR/out image=$LAB_DIR/image/vda.qcow2
export XDG_RUNTIME_DIR=$LAB_DIR/run
mkdir -m 700 "$XDG_RUNTIME_DIR"
cp -a "$FAULT_SET" "$good"
np 0 restore -i "$good" -o "$LAB_DIR/image"
# A record is lost and one is damaged, set.json too, and a stream is cut.
np_backup "$LAB_NAME" -l full -o "$FAULT_SET"
cp -a "$FAULT_SET" "$bad"
rm "$bad/points/0001.json" "$bad/set.json"
echo "{" >"$bad/points/0002.json"
truncate -s -100 "$bad/streams/0003.vdb.nbp"
# What only looks like a file of ours that was not finished.
touch "$bad/.foreign.tmp" "$bad/points/.0001.json.1234567.tmp" "$bad/points/.0001.json.0123456g.tmp" "$bad/config/.a b.01234567.tmp"
mkdir "$bad/.set.json.01234567.tmp"
ln -s ../set.json "$bad/points/.0002.json.01234567.tmp"

# tool_arguments LEVEL
tool_arguments()
{
    case $1 in
    raw) echo "restore -i $FAULT_SET -o $out --format raw -w 1" ;;
    qcow2) echo "restore -i $FAULT_SET -o $out -w 1" ;;
    verified) echo "restore -i $FAULT_SET -o $out --verify -w 1" ;;
    verify) echo "verify -i $FAULT_SET -w 1" ;;
    image) echo "verify --image $image -d vda -i $FAULT_SET -w 1" ;;
    repair) echo "repair -i $FAULT_SET" ;;
    esac
}

# tool_run LEVEL [VARIABLE=VALUE]...
tool_run()
{
    local arguments
    read -r -a arguments <<<"$(tool_arguments "$1")"
    shift
    fault_program "$@" -- "${arguments[@]}"
}

# The set in its place: repair gets the damaged one.
tool_fresh()
{
    rm -rf "$out" "$FAULT_SET"
    case $1 in
    repair) cp -a "$bad" "$FAULT_SET" ;;
    *) cp -a "$good" "$FAULT_SET" ;;
    esac
}

tool_count()
{
    local want
    tool_fresh "$1"
    rm -f "$LAB_DIR/tmp/steps"
    tool_run "$1" STOP_LOG="$LAB_DIR/tmp/steps"
    tool_status[$1]=$FAULT_STATUS
    [ "$1$FAULT_STATUS" = repair4 ] || [ "$FAULT_STATUS" -eq 0 ] || lab_fail "an undisturbed $1: $(cat "$NP_ERR")"
    want=$LAB_DIR/want.$1
    if [ "$1" = repair ]; then
        cp -a "$FAULT_SET" "$want"
    elif [ -e "$out" ]; then
        cp -a "$out" "$want"
    fi
}
# tool_whole DIR: every file that has its name is what an undisturbed restore makes.
tool_whole()
{
    local file
    while read -r file; do
        case $file in
        *.qcow2) qemu-img compare -q "$1/$file" "$want/$file" || fault_fail "$1/$file is not the disk" ;;
        *) cmp "$1/$file" "$want/$file" || fault_fail "$1/$file is not whole" ;;
        esac
    done < <(cd "$1" 2>/dev/null && find . -type f ! -name '.*')
}

# tool_warns: a restore names, in one line, what the one before left in its directory, and says nothing of nothing.
tool_warns()
{
    local left count=0 name said='left by .*killed; .* can be removed'
    left=$(cd "$out" 2>/dev/null && find . -type f -name '.*' -printf '%f\n')
    for name in $left; do
        count=$((count + 1))
        grep "$said" "$NP_ERR" | grep -q -F "$name" || fault_fail "again, $name is not named: $(cat "$NP_ERR")"
    done
    [ "$(grep -c "$said" "$NP_ERR")" -eq $((count > 0)) ] || fault_fail "again, with $count hidden files: $(cat "$NP_ERR")"
    TOOL_LEFT=$((TOOL_LEFT + count))
}

# tool_words SET: its set.json, but for the place where it is, and the sum over it.
tool_words() { jq -S 'del(.home, .sum)' "$1/set.json"; }


tool_round()
{
    local settings=(STOP_AT="$2" STOP_HOW="${3%-*}") want=$LAB_DIR/want.$1
    FAULT_STEP=$2 FAULT_HOW=$3 FAULT_WHAT="$1, $2, $3"
    tool_fresh "$1"
    case $3 in
    *-after) settings+=(STOP_WHEN=after) ;;
    servers)
        fault_murder >"$LAB_DIR/tmp/during"
        settings=(STOP_AT="$2" STOP_HOW=none STOP_RUN="sh $LAB_DIR/tmp/during")
        ;;
    esac
    tool_run "$1" "${settings[@]}"
    case $3$FAULT_STATUS in
    kill*137 | servers[0158] | kill*0) ;;
    *) fault_fail "status $FAULT_STATUS" ;;
    esac
    lab_eventually "qemu-nbd ends" fault_nobody_serves
    # Killed while it makes its socket, it leaves an empty directory or one with that; not once it is served.
    case $2 in
    nbd_*) [ -z "$(ls -A "$XDG_RUNTIME_DIR")" ] || fault_fail "left $(find "$XDG_RUNTIME_DIR" -mindepth 1)" ;;
    *) rm -rf "${XDG_RUNTIME_DIR:?}"/* ;;
    esac
    if [ "$1" != repair ]; then
        diff -r "$good" "$FAULT_SET" >&2 || fault_fail "the set is another"
        tool_whole "$out"
    fi
    # As an administrator does it: again.
    tool_run "$1"
    [ "$1" = repair ] || tool_warns
    if [ "$1" = repair ]; then
        [ "$FAULT_STATUS" -eq "${tool_status[repair]}" ] || fault_fail "again: $FAULT_STATUS, $(cat "$NP_ERR")"
        diff -r --no-dereference -x lock -x set.json "$want" "$FAULT_SET" >&2 || fault_fail "again, it makes another set"
        diff <(tool_words "$want") <(tool_words "$FAULT_SET") >&2 || fault_fail "again, it makes another set.json"
        return 0
    fi
    if [ "$FAULT_STATUS" -eq 1 ] && [ -n "$(find "$out" -type f ! -name '.*' 2>/dev/null)" ]; then
        grep -q 'exists.*\(directory\|move\|remove\)' "$NP_ERR" || fault_fail "again: $(cat "$NP_ERR")"
        mv "$out" "$LAB_DIR/first"
        tool_run "$1"
        rm -rf "$LAB_DIR/first"
    fi
    [ "$FAULT_STATUS" -eq 0 ] || fault_fail "again: $FAULT_STATUS, $(cat "$NP_ERR")"
    tool_whole "$out"
    [ ! -e "$want" ] || [ "$(cd "$out" && find . -type f ! -name '.*' | sort)" = "$(cd "$want" && find . -type f | sort)" ] ||
        fault_fail "again, it makes $(find "$out")"
}

tool_reset() { :; }

for level in raw qcow2 verified verify image repair; do
    fault_each $level "files reads nbd" "kill" 2
done
fault_each raw "files" "kill-after" 2
fault_each repair "files" "kill-after" 2
fault_each verified "files reads nbd" "servers killall" 2
fault_each image "reads nbd" "servers" 2
lab_note "restores that were killed left $TOOL_LEFT files"
fault_end
