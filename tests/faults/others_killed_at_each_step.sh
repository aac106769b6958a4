#!/bin/bash
# At each step of a run somebody else is killed: its guardian, the domain's QEMU, or libvirtd, and another one is started.
# labs: system
# cost: 25
. "$(dirname "$0")/faults.sh"
fault_start
[ "$LAB_ISOLATED" = yes ] || lab_skip "the machine's own libvirtd must not be killed"
fault_each inc "files virt nbd reads" "guardian" 1
fault_each inc "files virt nbd" "qemu" 1
fault_each inc "virt nbd files" "libvirtd" 1
# One of these in the short run: each has to wait.
also=$((RANDOM % 3))
[ "${NBDPULL_FAULTS:-some}" != all ] && [ $also -ne 0 ] || fault_each inc "files" "qemu-gone" 1
[ "${NBDPULL_FAULTS:-some}" != all ] && [ $also -ne 1 ] || fault_each inc "virt" "libvirtd-late" 1
[ "${NBDPULL_FAULTS:-some}" != all ] && [ $also -ne 2 ] || fault_each full "files virt nbd" "qemu" 1
fault_end
