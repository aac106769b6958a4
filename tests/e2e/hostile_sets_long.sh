#!/bin/bash
# Every one of the hostile sets through every command.
# long: about two minutes
# labs: embed
NBDPULL_ALL_SETS=1 exec bash "$(dirname "$0")/hostile_sets.sh"
