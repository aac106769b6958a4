#!/bin/bash
# --bwlimit: a backup reads, and a restore writes, at that rate and no faster; what is zero costs nothing; a signal need
# not wait for the next bytes.
# labs: system
# cost: 15
. "$(dirname "$0")/lab.sh"
lab_start

raw=$LAB_DIR/content
lab_random 16M "$raw"
truncate -s 128M "$raw"
lab_filled "$LAB_NAME" vda qcow2 "$raw"
lab_domain "$LAB_NAME" vda:qcow2:128M

# took COMMAND...: its disk took the 2 s that 16 MiB take at 8 MiB/s, and a machine that is busy a little longer.
took()
{
    local seconds
    np 0 "$@" --bwlimit 8M --json
    seconds=$(jq '.disks[0].seconds' "$NP_OUT")
    lab_note "16 MiB at 8 MiB/s: $seconds s: $1"
    jq -e '.disks[0].seconds >= 1.9 and .disks[0].seconds < 3' "$NP_OUT" >/dev/null || lab_fail "$1 took $seconds s"
}
took backup -c "$LAB_URI" -d "$LAB_NAME" -l full -o "$LAB_DIR/set"
took restore -i "$LAB_DIR/set" -o "$LAB_DIR/out"
lab_same "$LAB_DIR/out/vda.qcow2" "$raw"

# has_data DIR: the first MiB has passed, 4 s after the beginning; the next one is due in 4 s.
has_data()
{
    [ -n "$(find "$1" -type f -size +64k -newer "$LAB_DIR/tmp/lab.began" 2>/dev/null)" ]
}

# ended_at_once DIR: before the next bytes are due.
ended_at_once()
{
    lab_eventually "the first bytes come" has_data "$1"
    local began=$SECONDS
    kill -s TERM "$NP_PID"
    np_wait 143
    [ $((SECONDS - began)) -lt 3 ] || lab_fail "$NP_SAID took $((SECONDS - began)) s to end"
}

lab_remember
np_start backup -c "$LAB_URI" -d "$LAB_NAME" -l full -o "$LAB_DIR/set" --bwlimit 256K
ended_at_once "$LAB_DIR/set/streams"
lab_unchanged "SIGTERM"
np_start restore -i "$LAB_DIR/set" -o "$LAB_DIR/again" --bwlimit 256K
ended_at_once "$LAB_DIR/again"
[ -z "$(find "$LAB_DIR/again" -type f 2>/dev/null)" ] || lab_fail "an image stayed: $(find "$LAB_DIR/again")"
