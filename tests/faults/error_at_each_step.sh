#!/bin/bash
# Each step fails once, or did what it should and says that it failed, or fails with all that come after it.
# labs: system embed
# cost: 20
. "$(dirname "$0")/faults.sh"
fault_start
fault_each inc "files virt nbd reads" "fail lost" 4/2
fault_each inc "files" "gone-full" 1/0
fault_each inc "virt" "gone" 1/0
fault_each full "files virt nbd" "fail" 1/0
fault_each new "files virt nbd reads" "fail" 1
fault_end
