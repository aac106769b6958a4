#!/bin/bash
# A backup of a guest that is off, each of whose steps fails, or says so; and the same of one that finds bitmaps which a
# killed run has left, and of which libvirt has not heard: none stays in an image.
# labs: system
FAULT_OFF=yes
. "$(dirname "$0")/faults.sh"
fault_start
fault_each inc "files nbd virt" "fail lost" 1
fault_each recover "files virt" "fail lost" 2
fault_end
