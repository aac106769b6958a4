#!/bin/bash
# A backup into every one of the hostile sets.
# long: about a minute
# labs: embed
NBDPULL_ALL_SETS=1 exec bash "$(dirname "$0")/hostile_backup.sh"
