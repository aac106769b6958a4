#!/bin/bash
# A run that puts right what a killed one has left, and each of its own steps fails, or says so: it goes on only when all is
# put right, else the next run finds the intent and does it.
# labs: system
. "$(dirname "$0")/faults.sh"
fault_start
fault_each recover "files virt" "fail lost" 3
fault_end
