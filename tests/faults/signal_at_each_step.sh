#!/bin/bash
# SIGTERM, SIGINT or SIGHUP at each step: its exit status and nothing left, or the point is committed.
# labs: system embed
# cost: 15
. "$(dirname "$0")/faults.sh"
fault_start
fault_each inc "files virt nbd" "term term-after" 3/1
fault_each full "files virt nbd" "int hup" 2/1
fault_each new "files virt nbd" "term" 2/1
fault_end
