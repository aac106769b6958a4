#!/bin/bash
# Sets that nobody means well with, all sums right (hostile_sets.py makes them): whatever is done with one, it ends
# in time, in bounded memory, with a status that says so, without a control character on a terminal, and without a file
# where none may be. Some of the sets, others each time; NBDPULL_HOSTILE, a regular expression, takes those of that name.
# labs: embed
# cost: 20
. "$(dirname "$0")/lab.sh"
lab_need python3
lab_start
lab_need_own_memory

mkdir "$LAB_DIR/sets" "$LAB_DIR/work"
here=$(dirname "$0")
python3 "$here/hostile_sets.py" "$here/../golden" "$LAB_DIR/sets" >"$LAB_DIR/list" || lab_fail "cannot make the sets"
total=$(wc -l <"$LAB_DIR/list")
[ "$total" -ge 75 ] || lab_fail "only $total sets"

control=$'[\x01-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\x8e\x8f\xa8-\xae]|\xe2\x81[\xa6-\xa9]'
out=$LAB_DIR/work/out err=$LAB_DIR/tmp/lab.err
taken=0 runs=0 worst_kib=0 worst_ms=0
# hostile STATUSES ARGUMENT...
hostile()
{
    local want=$1 status=0 kib ms
    shift
    NP_OUT=$LAB_DIR/tmp/lab.out
    timeout 60 "$NBDPULL_PEAK" "$LAB_DIR/tmp/peak" "$NBDPULL" "$@" >"$NP_OUT" 2>"$err" <"${from:-/dev/null}" || status=$?
    [[ $status =~ ^($want)$ ]] || lab_fail "$name: nbdpull $*: status $status, not $want: $(head -c 500 "$err" | cat -v)"
    if grep -q -a -P -e "$control" "$NP_OUT" "$err"; then
        lab_fail "$name: nbdpull $*: control characters: $(cat -v "$NP_OUT" "$err" | head -c 2000)"
    fi
    grep -q -v '^nbdpull: ' "$err" && lab_fail "$name: nbdpull $*: a message of more than one line: $(cat -v "$err" | head -c 500)"
    [[ " $* " != *" --json "* ]] || jq -e . "$NP_OUT" >/dev/null || lab_fail "$name: nbdpull $*: no JSON: $(head -c 500 "$NP_OUT")"
    read -r kib ms <"$LAB_DIR/tmp/peak"
    runs=$((runs + 1))
    if [ "$kib" -gt "$worst_kib" ]; then worst_kib=$kib worst="$name: $*"; fi
    if [ "$ms" -gt "$worst_ms" ]; then worst_ms=$ms slowest="$name: $*"; fi
}
# restored: what a restore leaves is images and companions of its domain, or nothing.
restored()
{
    local file
    [ -e "$out" ] || return 0
    shopt -s dotglob nullglob
    for file in "$out"/*; do
        [[ ${file##*/} =~ ^(vda\.(qcow2|raw|losses)|(domain|guest|n+)\.(xml|original\.xml|nvram))$ ]] ||
            lab_fail "$name: restored $(printf %q "$file")"
        [ ! -h "$file" ] && [ "$(stat -c %a "$file")" = 600 ] || lab_fail "$name: $(ls -l "$file")"
    done
    rm -rf "$out"
}

RANDOM=${NBDPULL_CHOICE:-$SRANDOM}
some=${NBDPULL_HOSTILE:+all}${NBDPULL_ALL_SETS:+all}
while read -r name verify restore; do
    [[ $name =~ ${NBDPULL_HOSTILE:-.} ]] && { [ -n "$some" ] || [ $((RANDOM % 6)) -eq 0 ]; } || continue
    taken=$((taken + 1))
    set=$LAB_DIR/sets/$name from=
    before=$(find "$set" -printf '%p %s %m\n' | sort | sha256sum)
    hostile '[014]' dump -i "$set"
    hostile '[014]' dump -i "$set" --json --map
    hostile "$verify" verify -i "$set" --json
    hostile "$verify|4" verify -i "$set" --deep
    hostile "$restore" restore -i "$set" -o "$out" --json
    restored
    hostile '[012456]' restore -i "$set" -o "$out" --salvage=older
    restored
    for stream in "$set"/streams/0001.*.nbp; do
        [ -e "$stream" ] || continue
        hostile '[0124]' restore -i "$stream" -o "$out" --format raw
        restored
        from=$stream
        hostile '[0124]' restore -i - -o "$out"
        restored
        hostile '[014]' dump -i - --json --map
        from=
    done
    hostile '[014]' restore -i "$set" --dry-run
    hostile '[014]' repair -i "$set" --dry-run
    [ "$(find "$set" ! -name lock -printf '%p %s %m\n' | sort | sha256sum)" = "$before" ] || lab_fail "$name: the set changed"
    hostile '[014]' repair -i "$set" --json
    hostile '[045]' verify -i "$set" --quick
done <"$LAB_DIR/list"
lab_note "$taken of $total sets, $runs runs; most memory $worst_kib KiB: $worst; longest $worst_ms ms: $slowest"

[ "$(ls "$LAB_DIR/work")" = "" ] || lab_fail "left: $(ls "$LAB_DIR/work")"
for path in /tmp/nbdpull-hostile /etc/nbdpull-hostile; do
    [ ! -e $path ] || lab_fail "$path was made"
done
# json-c makes 280 MiB of a META of 1 MiB that is all "{},"; a set's points have a limit of 420 MiB.
[ "$worst_kib" -lt 524288 ] || lab_fail "$worst_kib KiB: $worst"
exit 0
