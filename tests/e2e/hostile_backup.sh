#!/bin/bash
# The sets of hostile_sets.py, made to be of the domain that is backed up into them: the run refuses, or its point is what
# the guest wrote, whatever the points say that it builds on. It ends in time, in bounded memory; no job is left, and no
# stream that was there is touched. Some of the sets, others each time; NBDPULL_HOSTILE, a regular expression, takes
# those of that name.
# labs: system embed
# long labs: embed
. "$(dirname "$0")/lab.sh"
lab_need python3
lab_start
lab_need_own_memory

lab_domain "$LAB_NAME" vda:qcow2:128K
lab_io "$LAB_NAME" vda "write -P 0x5a 20k 50k"
lab_truth "$LAB_NAME" vda "$LAB_DIR/truth"
mkdir "$LAB_DIR/sets"
here=$(dirname "$0")
python3 "$here/hostile_sets.py" "$here/../golden" "$LAB_DIR/sets" "$(lab_virsh domuuid "$LAB_NAME" | tr -d '\n')" \
    >"$LAB_DIR/list" || lab_fail "cannot make the sets"
total=$(wc -l <"$LAB_DIR/list")
[ "$total" -ge 75 ] || lab_fail "only $total sets"

err=$LAB_DIR/tmp/lab.err taken=0 exact=0 worst_kib=0
# hostile STATUSES ARGUMENT...: its status is in $status.
hostile()
{
    local want=$1 kib ms
    shift
    status=0
    timeout 60 "$NBDPULL_PEAK" "$LAB_DIR/tmp/peak" "$NBDPULL" "$@" >"$LAB_DIR/tmp/lab.out" 2>"$err" </dev/null || status=$?
    [[ $status =~ ^($want)$ ]] || lab_fail "$name: nbdpull $*: status $status, not $want: $(head -c 500 "$err" | cat -v)"
    grep -q -v '^nbdpull: ' "$err" && lab_fail "$name: nbdpull $*: a message of more than one line: $(cat -v "$err" | head -c 500)"
    read -r kib ms <"$LAB_DIR/tmp/peak"
    [ "$kib" -le "$worst_kib" ] || worst_kib=$kib worst="$name: $*"
    [ "$ms" -lt 30000 ] || lab_fail "$name: nbdpull $*: $ms ms"
}
streams() { (cd "$1/streams" && sha256sum ./*); }

RANDOM=${NBDPULL_CHOICE:-$SRANDOM}
some=${NBDPULL_HOSTILE:+all}${NBDPULL_ALL_SETS:+all}
while read -r name _; do
    [[ $name =~ ${NBDPULL_HOSTILE:-.} ]] && { [ -n "$some" ] || [ $((RANDOM % 8)) -eq 0 ]; } || continue
    taken=$((taken + 1))
    set=$LAB_DIR/sets/$name
    streams "$set" >"$LAB_DIR/tmp/streams"
    hostile '[01458]' estimate -c "$LAB_URI" -d "$LAB_NAME" -o "$set" -l inc --json
    hostile '[01458]' backup -c "$LAB_URI" -d "$LAB_NAME" -o "$set" -l auto
    [ -z "$(lab_virsh "backup-dumpxml $LAB_NAME" 2>/dev/null)" ] || lab_fail "$name: a job is left"
    (cd "$set/streams" && sha256sum --quiet -c "$LAB_DIR/tmp/streams") || lab_fail "$name: streams are not as they were"
    if [ $status -eq 0 ]; then
        np 0 restore -i "$set" -o "$LAB_DIR/out" --format raw
        cmp "$LAB_DIR/out/vda.raw" "$LAB_DIR/truth" || lab_fail "$name: not what the guest wrote"
        rm -rf "$LAB_DIR/out"
        exact=$((exact + 1))
    fi
    np 0 checkpoints -c "$LAB_URI" -d "$LAB_NAME" --remove
done <"$LAB_DIR/list"
lab_note "$taken of $total sets, $exact backed up and exact; most memory $worst_kib KiB: ${worst:-}"
[ -z "${NBDPULL_ALL_SETS:-}" ] || [ "$exact" -ge 20 ] || lab_fail "only $exact sets were backed up into"
[ "$worst_kib" -lt 524288 ] || lab_fail "$worst_kib KiB: $worst"
