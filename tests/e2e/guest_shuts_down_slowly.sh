#!/bin/bash
# A real guest shuts down in the middle of a backup while its agent runs, as most do.
# long: libvirt waits half a minute for each open port
# labs: system
NBDPULL_PORTS_OPEN=1 exec bash "$(dirname "$0")/guest_shuts_down.sh"
