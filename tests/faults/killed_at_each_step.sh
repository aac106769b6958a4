#!/bin/bash
# kill -9 at each step, before it and after it, of an increment, a full, and the first run into a new set.
# labs: system
# cost: 15
. "$(dirname "$0")/faults.sh"
fault_start
fault_each inc "files virt nbd" "kill kill-after" 3
fault_each full "files virt nbd" "kill" 2
fault_each new "files virt nbd" "kill kill-after" 2
fault_end
