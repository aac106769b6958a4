#!/bin/bash
# libvirtd is killed when it has just started a guest, paused, for a backup: with its answer sent or not, and it is there
# again at once, after the run has given up, or only when its guardian is dead too. Whoever comes first ends the guest.
# labs: system
# shellcheck source=../e2e/lab.sh
. "$(dirname "$0")/../e2e/lab.sh"
lab_start
[ "$LAB_ISOLATED" = yes ] || lab_skip "the machine's own libvirtd must not be stopped"
: "${NBDPULL_STOP_AT:?is the library that stops the program}"

# A disk that only QEMU can read, in a place whose path XML would escape.
set=$LAB_DIR/set net=$LAB_DIR/net.raw socket=$LAB_DIR/net.sock place="$LAB_DIR/a&b'c<d"
truncate -s 1M "$net"
(umask 0 && exec qemu-nbd -t -e 8 -f raw -x net -k "$socket" "$net") &
server=$!
trap 'status=$?; kill $server; (exit $status); lab_end' EXIT
lab_eventually "the disk is served" test -S "$socket"
chmod 777 "$socket"
cat >"$LAB_DIR/net.xml" <<XML
<disk type='network' device='disk'><driver name='qemu' type='raw'/><source protocol='nbd' name='net'>
  <host transport='unix' socket='$socket'/></source><target dev='vdb' bus='virtio'/></disk>
XML
mkdir "$place"
lab_domain --off "$LAB_NAME" vda:qcow2:6M "vdb:xml:$LAB_DIR/net.xml"
lab_virsh "dumpxml --inactive $LAB_NAME" >"$LAB_DIR/before.xml"

is_off() { [ "$(lab_virsh "domstate $LAB_NAME")" = "shut off" ]; }
again() { libvirtd -d -p "$LAB_DIR/libvirtd.pid" || lab_fail "libvirtd does not start again"; }

# unanswered STOP_HOW COMMAND: how the run's answer is lost, and what happens once libvirtd is killed. Status: UNANSWERED.
unanswered()
{
    cat >"$LAB_DIR/tmp/kill" <<END
pid=\$(cat $LAB_DIR/libvirtd.pid)
kill -9 \$pid
while [ -e /proc/\$pid/exe ]; do sleep 0.01; done
rm -f $LAB_DIR/libvirtd.pid
[ -s /run/libvirt/qemu/$LAB_NAME.pid ] && : >$LAB_DIR/tmp/started
$2
END
    rm -f "$LAB_DIR/tmp/started"
    NP_ERR=$LAB_DIR/tmp/lab.err UNANSWERED=0
    env STOP_AT=virDomainCreateXML:1 STOP_HOW="$1" STOP_THEN="sh $LAB_DIR/tmp/kill" \
        LD_PRELOAD="$NBDPULL_STOP_AT" "$NBDPULL" backup -c "$LAB_URI" -d "$LAB_NAME" -l full -o "$set" \
        --scratch-dir "$place" >"$LAB_DIR/tmp/out" 2>"$NP_ERR" || UNANSWERED=$?
    [ -e "$LAB_DIR/tmp/started" ] || lab_fail "$1: the guest was not started: $(cat "$NP_ERR")"
}

# clean HOW: the guest is off, as it was, and nobody has anything left to do.
clean()
{
    is_off || lab_fail "$1: the guest is $(lab_virsh "domstate $LAB_NAME")"
    [ ! -e "$set/intent.json" ] || lab_fail "$1: the intent stayed: $(cat "$NP_ERR")"
    lab_virsh "dumpxml --inactive $LAB_NAME" | diff "$LAB_DIR/before.xml" - || lab_fail "$1: its configuration has changed"
    [ -z "$(ls "$place")" ] || lab_fail "$1: left $(ls "$place")"
}

for how in none lost; do
    unanswered $how "libvirtd -d -p $LAB_DIR/libvirtd.pid"
    [ $UNANSWERED -eq 1 ] || lab_fail "$how: status $UNANSWERED: $(cat "$NP_ERR")"
    clean "libvirtd is there again, $how"
done

# The run gives up after 10 s; its guardian, which has the lock, goes on.
unanswered lost true
[ $UNANSWERED -eq 1 ] || lab_fail "late: status $UNANSWERED: $(cat "$NP_ERR")"
[ -e "$set/intent.json" ] || lab_fail "the intent is gone before the guest is off: $(cat "$NP_ERR")"
again
flock "$set/lock" true
clean "libvirtd is late"

unanswered lost "for pid in \$(pgrep -x nbdpull-guard); do kill -9 \$pid; done; kill -9 \$STOP_PID"
[ $UNANSWERED -eq 137 ] || lab_fail "killed: status $UNANSWERED: $(cat "$NP_ERR")"
again
is_off && lab_fail "somebody ended it: this test tests nothing"
np_backup "$LAB_NAME" -l full -o "$set" --scratch-dir "$place"
np_said 'paused guest'
clean "the next run"

# Somebody starts it where the run cannot: it is theirs.
unanswered lost "libvirtd -d -p $LAB_DIR/libvirtd.pid; virsh -q -c $LAB_URI resume $LAB_NAME >/dev/null"
[ "$(lab_virsh "domstate $LAB_NAME")" = running ] || lab_fail "a guest that was resumed is $(lab_virsh "domstate $LAB_NAME")"
exit 0
