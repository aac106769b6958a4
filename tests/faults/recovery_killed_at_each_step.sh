#!/bin/bash
# kill -9 of a run together with its guardian, so that only the next run is left to put right what they leave; and the
# same of that one, at each of its own steps: then the one after it does.
# labs: system
. "$(dirname "$0")/faults.sh"
fault_start
fault_each inc "files virt nbd" "killall killall-after" 2
fault_each recover "files virt nbd" "kill killall" 2
fault_end
