#!/bin/bash
# A backup of a guest that is off is killed at each step, alone or with its guardian and its qemu-nbds, or only these are: the
# images are nobody's at once, and the next run goes on by bitmap.
# So does the one after a run that is killed while it puts that right.
# labs: system
FAULT_OFF=yes
. "$(dirname "$0")/faults.sh"
fault_start
fault_each inc "files nbd virt" "kill killall" 1
fault_each inc "nbd" "servers" 1
fault_each full "files nbd virt" "killall" 1
fault_each recover "files nbd virt" "kill killall" 1
fault_end
