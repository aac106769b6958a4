#!/bin/bash
# 64 TiB of virtual disk with a little data: time and memory follow the data, not the size.
# labs: embed
# alone: it is measured
. "$(dirname "$0")/lab.sh"
lab_start
grep -q -a -F -e __asan_init -e __tsan_init "$NBDPULL" && lab_skip "a sanitised program's memory is not its own"

# Clusters of 2 MiB keep the image's own tables small.
lab_domain "$LAB_NAME" vda:qcow2:64T:cluster_size=2M
lab_io "$LAB_NAME" vda "write -P 0x11 0 1M" "write -P 0x22 13T 3M" "write -P 0x33 40000001M 70k" \
    "write -P 0x44 70368744177663 1"

measured()
{
    local what=$1
    shift
    "$NBDPULL_PEAK" "$LAB_DIR/peak" "$NBDPULL" "$@" 2>"$LAB_DIR/err" || lab_fail "$what: $(cat "$LAB_DIR/err")"
    read -r kib ms <"$LAB_DIR/peak"
    lab_note "$what: $ms ms, peak $kib KiB"
    [ "$kib" -lt 65536 ] || lab_fail "$what: peak memory $kib KiB"
    [ "$ms" -lt 60000 ] || lab_fail "$what: $ms ms"
}
measured backup backup -c "$LAB_URI" -d "$LAB_NAME" -l full -o "$LAB_DIR/set"
measured restore restore -i "$LAB_DIR/set" -o "$LAB_DIR/out"
measured dump dump -i "$LAB_DIR/set" --map
restored=$LAB_DIR/out/vda.qcow2
qemu-img compare -U "$LAB_DIR/$LAB_NAME.vda.qcow2" "$restored" || lab_fail "the restored disk differs"
[ "$(lab_virtual_size "$restored")" = 70368744177664 ] || lab_fail "restored size"
