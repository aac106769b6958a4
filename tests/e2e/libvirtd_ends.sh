#!/bin/bash
# libvirtd is killed or stopped in the middle of the pull. QEMU goes on serving the job and a new libvirtd knows it:
# where one comes, the backup is committed; where none does, it fails in one line and the next run is exact. Nor does the
# guardian miss the one that comes after one that hung.
# labs: system
# cost: 25
. "$(dirname "$0")/lab.sh"
lab_start
[ "$LAB_ISOLATED" = yes ] || lab_skip "the machine's own libvirtd must not be stopped"

raw=$LAB_DIR/content
lab_program_files 6M "$raw"
lab_filled "$LAB_NAME" vda qcow2 "$raw"
lab_domain "$LAB_NAME" vda:qcow2:6M vdb:raw:1M
set=$LAB_DIR/set points=1
NP_SLOW=(--bwlimit 2M)
np_backup "$LAB_NAME" -l full -o "$set"

# end SIGNAL
end()
{
    local pid
    pid=$(cat "$LAB_DIR/libvirtd.pid")
    kill -s "$1" "$pid"
    # Not a child of the test.
    lab_eventually "libvirtd is gone" test ! -e "/proc/$pid/exe"
    rm -f "$LAB_DIR/libvirtd.pid"
}
again() { libvirtd -d -p "$LAB_DIR/libvirtd.pid" || lab_fail "libvirtd does not start again"; }

# exact HOW: so many points, and the newest is as the guest's disks were then.
exact()
{
    [ "$(np_points "$set" | wc -w)" -eq "$points" ] || lab_fail "$1: points $(np_points "$set")"
    np 0 restore -i "$set" -o "$LAB_DIR/out"
    lab_same "$LAB_DIR/out/vda.qcow2" "$LAB_DIR/tmp/vda"
    rm -r "$LAB_DIR/out"
}

# clean HOW: nothing but what the points need.
clean()
{
    lab_virsh backup-dumpxml "$LAB_NAME" >/dev/null 2>&1 && lab_fail "$1: the job runs"
    [ "$(lab_virsh checkpoint-list --name "$LAB_NAME" | grep . | sort)" = "$("$NBDPULL" dump -i "$set" --json |
        jq -r '(.points[-1:] + [.points[] | select(.level == "full")][-1:])[].checkpoint' | sort -u)" ] ||
        lab_fail "$1: checkpoints $(lab_virsh checkpoint-list --name "$LAB_NAME")"
    [ -z "$(find /var/tmp -mindepth 1)" ] || lab_fail "$1: left $(find /var/tmp -mindepth 1)"
    [ ! -e "$set/intent.json" ] || lab_fail "$1: the intent stayed"
}

for signal in KILL TERM; do
    lab_truth "$LAB_NAME" vda "$LAB_DIR/tmp/vda"
    np_start_slow "$LAB_NAME" "$set"
    end $signal
    again
    lab_io "$LAB_NAME" vda "write -P 0x41 1M 1M" "discard 4M 1M"
    np_wait 0
    # Its scratch is guarded again.
    grep -v 'a new one is open' "$NP_ERR" && lab_fail "$signal: it says more than that"
    points=$((points + 1))
    exact "$signal"
    clean "$signal"
done

# It comes back only after the run has given up.
np_start_slow "$LAB_NAME" "$set"
end KILL
np_wait 1
grep -q 'connection to libvirt broke' "$NP_ERR" || lab_fail "it says: $(cat "$NP_ERR")"
again
lab_io "$LAB_NAME" vda "write -P 0x43 2M 64k"
lab_truth "$LAB_NAME" vda "$LAB_DIR/tmp/vda"
flock "$set/lock" true
np_backup "$LAB_NAME" -l inc -o "$set" --json
jq -e '.disks[0].how == "bitmap"' "$NP_OUT" >/dev/null || lab_fail "$(cat "$NP_OUT")"
points=$((points + 1))
exact "too late"
clean "too late"

# In begin: killed with the first file that QEMU makes.
np_start backup -c "$LAB_URI" -d "$LAB_NAME" -l inc -o "$set"
lab_eventually "begin has begun" test -n "$(compgen -G '/var/tmp/nbdpull-*/*')" -o ! -e "/proc/$NP_PID"
end KILL
again
wait "$NP_PID"
lab_truth "$LAB_NAME" vda "$LAB_DIR/tmp/vda"
flock "$set/lock" true
np_backup "$LAB_NAME" -l inc -o "$set"
points=$(np_points "$set" | wc -w)
exact "in begin"
clean "in begin"

# It hangs, for longer than a guardian tries, and is killed then: the guardian is not gone before the next one is there.
if ! lab_is_sanitised; then
    echo 0 >"$LAB_DIR/later"
    LD_PRELOAD=$NBDPULL_CLOCK CLOCK_LATER=$LAB_DIR/later np_start_slow "$LAB_NAME" "$set"
    guardian=$(np_guardian)
    sockets() { find "/proc/$guardian/fd" -lname 'socket:*' 2>/dev/null | wc -l; }
    asks() { [ "$(sockets)" -gt "$before" ]; }
    before=$(sockets)
    kill -s STOP "$(cat "$LAB_DIR/libvirtd.pid")"
    kill -9 "$NP_PID"
    np_wait 137
    lab_eventually "the guardian asks libvirtd" asks
    echo 100 >"$LAB_DIR/later"
    end KILL
    again
    lab_eventually "the guardian ends" lab_has_ended "$guardian"
    grep -q 'did not come to its end: its job, .* gone now' "$NP_ERR" || lab_fail "it says: $(cat "$NP_ERR")"
    clean "a libvirtd that hung"
fi
exit 0
