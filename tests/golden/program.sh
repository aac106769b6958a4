#!/bin/bash
# The program itself on every golden stream: dump, verify from a file and from a pipe, restore and verify of the image.
# Short, so that it also runs under valgrind and every sanitiser: NBDPULL_LAUNCHER stands before the program.
set -u -o pipefail
cd "$(dirname "$0")" || exit 1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
read -r -a launcher <<<"${NBDPULL_LAUNCHER:-}"
runs=0 verify=(--verify)
# Which watches its qemu-nbd by a system call that valgrind 3.19 does not know.
[[ "${launcher[*]-}" != *valgrind* ]] || verify=()

# does STATUS STREAM ARGUMENT...: the stream is also its standard input.
does()
{
    local want=$1 stream=$2 got=0
    shift 2
    ${launcher[@]+"${launcher[@]}"} "$NBDPULL" "$@" <"$stream" >"$work/said" 2>&1 || got=$?
    if [ $got -ne "$want" ]; then
        echo "nbdpull $* ($stream): status $got, not $want: $(tail -n 30 "$work/said")" >&2
        exit 1
    fi
    runs=$((runs + 1))
}

# says PATTERN: it said so, in words that a person can use: a stream that was made without a set has no point id.
says()
{
    grep -q -e "$1" "$work/said" && ! grep -q 'point -\|point  ' "$work/said" && return
    echo "no /$1/ in: $(tail -n 30 "$work/said")" >&2
    exit 1
}

time='2026-11-20T03:00:00Z' of=full.nbp
for command in "dump -i $of" "restore -i $of --dry-run" "restore -i $of --dry-run --salvage"; do
    # shellcheck disable=SC2086
    does 1 $of $command --until 3
    says "^nbdpull: $of: no restore point \"3\"; the newest of 1: one without an id ($time)"
done
for command in "dump -i -" "restore -i - -o $work/out"; do
    # shellcheck disable=SC2086
    does 1 $of $command --until 3
    says '^nbdpull: standard input: no restore point "3"; the newest of 1: one without an id'
done
does 1 $of dump -i $of --until 2020-01-01T00:00Z
says "the oldest is of $time"
does 1 $of restore -i $of --dry-run -d vdx
says "point of $time holds vda"
does 0 $of restore -i $of --dry-run
says "point of $time would be restored"
does 0 $of verify -v -i $of
says "checking $of"
does 0 $of restore -v -i $of -o "$work/out" --format raw
says "disk vda: writing $work/out/vda.raw"
rm -r "$work/out"

# A byte of META, of which there are two: nothing is lost, and it is told; without a digest too.
for damaged in full.nbp merged-full.nbp; do
    { head -c 100 $damaged; printf '#'; tail -c +102 $damaged; } >"$work/damaged.nbp"
    does 4 $damaged verify -i "$work/damaged.nbp"
    for dry in "--dry-run" ""; do
        # shellcheck disable=SC2086
        does 0 $damaged restore -i "$work/damaged.nbp" -o "$work/out" --format raw --salvage $dry
        says 'disk vda: its streams are damaged, but'
    done
    rm -r "$work/out"
    does 0 $damaged restore -i "$work/damaged.nbp" -o "$work/out" --format raw --salvage --json
    says '"damaged": true'
    says '"exact": true'
    rm -r "$work/out"
done
does 0 full.nbp restore -i full.nbp --dry-run --salvage --json
says '"damaged": false'

for stream in *.nbp; do
    restores=0 verifies=0
    case $stream in
    inc* | merged-inc*) restores=4 ;;     # its parent is not there
    meta*) restores=1 verifies=5 ;;       # a disk of the point is in a stream that is not there
    huge*) restores='' ;;                 # 2^53 bytes: no file system has them all
    esac
    does 0 "$stream" dump -i "$stream"
    does 0 "$stream" dump -i "$stream" --json
    does $verifies "$stream" verify -q --deep -i "$stream"
    does 0 "$stream" verify -q -i -
    for format in raw qcow2; do
        if [ -n "$restores" ]; then
            does "$restores" "$stream" restore -q -i "$stream" -o "$work/out" --format $format ${verify[@]+"${verify[@]}"}
            rm -rf "$work/out"
        fi
    done
done
echo "$runs runs"
[ $runs -ge 100 ] # a test of nothing cannot fail
