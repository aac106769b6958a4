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
