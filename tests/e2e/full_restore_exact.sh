#!/bin/bash
# One disk of a running domain, backed up in full and restored: the same bytes.
# labs: embed system
. "$(dirname "$0")/lab.sh"
lab_start

lab_domain --running "$LAB_NAME" vda:qcow2:48M
lab_io "$LAB_NAME" vda "write -P 0x11 0 1M" "write -P 0x22 10M 5M" "write -P 0x33 20500k 3k" \
    "write -P 0x44 30M 4M" "write -z -u 31M 1M" "discard 33M 512k" "write -z 40M 64k"

lab_round_trip "$LAB_NAME" vda

# Holes stay holes: 10 MiB hold data, and what qcow2 itself needs is small.
used=$(lab_used "$LAB_DIR/restored/vda.qcow2")
[ "$used" -lt $((12 << 20)) ] || lab_fail "the restored image is not thin: $used bytes"

# The full left its checkpoint, the job is over, and the domain runs on.
[ "$(lab_virsh checkpoint-list --name "$LAB_NAME" | grep -c '^nbdpull-')" -eq 1 ] || lab_fail "no checkpoint"
lab_virsh backup-dumpxml "$LAB_NAME" >/dev/null 2>&1 && lab_fail "the job still runs"
[ "$(lab_virsh domstate "$LAB_NAME")" = running ] || lab_fail "the domain does not run"
exit 0
