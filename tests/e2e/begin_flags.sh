#!/bin/bash
# The flag that keeps a guest which shuts down in mid-backup goes to servers that have it, and to no other: one that does
# not know it would refuse the backup. Such a server is not here, so its version is made up and the flag taken off again.
# labs: embed
. "$(dirname "$0")/lab.sh"
lab_start

lab_domain "$LAB_NAME" vda:qcow2:1M
export BEGIN_FLAGS=$LAB_DIR/tmp/flags

# flags VERSION WANTED
flags()
{
    FAKE_VERSION=$1 LD_PRELOAD=$NBDPULL_HOLD np 0 backup -c "$LAB_URI" -d "$LAB_NAME" -l copy -o "$LAB_DIR/set.$1"
    [ "$(cat "$BEGIN_FLAGS")" = "$2" ] || lab_fail "libvirt $1: flags $(cat "$BEGIN_FLAGS"), not $2"
}
flags 9000000 0
flags 11009999 0
flags 11010000 2
flags 12001000 2
