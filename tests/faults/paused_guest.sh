#!/bin/bash
# A guest that is started paused for the backup, where what tells whose it is does not come at once. libvirtd dies between
# the start and the mark: the run marks it on the next one, goes on, and ends it. It dies while the disks are read, so that
# the run hears of no event: QEMU tells whether somebody has resumed the guest. QEMU does not say whether a guest that a
# killed run has started has run since: it is left as it is, and named.
# labs: system
# shellcheck source=../e2e/lab.sh
. "$(dirname "$0")/../e2e/lab.sh"
lab_start
[ "$LAB_ISOLATED" = yes ] || lab_skip "the machine's own libvirtd must not be killed"
: "${NBDPULL_STOP_AT:?is the library that stops the program}"

set=$LAB_DIR/set slice=$LAB_DIR/slice.raw
lab_random 1M "$slice"
cat >"$LAB_DIR/slice.xml" <<XML
<disk type='file' device='disk'><driver name='qemu' type='raw'/>
  <source file='$slice'><slices><slice type='storage' offset='65536' size='524288'/></slices></source>
  <target dev='vda' bus='virtio'/></disk>
XML
lab_domain --off "$LAB_NAME" "vda:xml:$LAB_DIR/slice.xml"
state() { lab_virsh "domstate $LAB_NAME"; }

# stopped STATUS [VARIABLE=VALUE]...
stopped()
{
    local want=$1 status=0
    shift
    NP_ERR=$LAB_DIR/tmp/fault.err
    { env LD_PRELOAD="$NBDPULL_STOP_AT" "$@" "$NBDPULL" backup -c "$LAB_URI" -d "$LAB_NAME" -o "$set" -l auto >"$LAB_DIR/tmp/out" \
        2>"$NP_ERR" </dev/null || status=$?; } 2>/dev/null
    [ $status -eq "$want" ] || lab_fail "$*: status $status: $(cat "$NP_ERR")"
    [ "$want" -ne 137 ] || flock "$set/lock" true
}

exact()
{
    dd if="$slice" of="$LAB_DIR/tmp/vda" bs=64k skip=1 count=8 status=none
    np 0 restore -i "$set" -o "$LAB_DIR/out" --format raw
    lab_same "$LAB_DIR/out/vda.raw" "$LAB_DIR/tmp/vda"
    rm -r "$LAB_DIR/out"
}

left_alone()
{
    [ "$(state)" = paused ] || lab_fail "$1: the guest is $(state)"
    grep -q "has run since.*virsh resume $LAB_NAME.*virsh destroy $LAB_NAME" "$NP_ERR" || lab_fail "$1: it says: $(cat "$NP_ERR")"
    exact
}

cat >"$LAB_DIR/tmp/another" <<SH
pid=\$(cat $LAB_DIR/libvirtd.pid); kill -9 \$pid
while [ -e /proc/\$pid/exe ]; do sleep 0.01; done; rm -f $LAB_DIR/libvirtd.pid
libvirtd -d -p $LAB_DIR/libvirtd.pid
SH
cp "$LAB_DIR/tmp/another" "$LAB_DIR/tmp/new_libvirtd"
stopped 0 STOP_AT=virDomainSetMetadata:1 STOP_HOW=none STOP_RUN="sh $LAB_DIR/tmp/another"
grep -q 'a new one is open' "$NP_ERR" || lab_fail "libvirtd did not die: $(cat "$NP_ERR")"
[ "$(state)" = "shut off" ] || lab_fail "after another libvirtd: the guest is $(state)"
exact

# What does not need a libvirtd goes on meanwhile.
stopped 0 STOP_AT=nbd_pread_structured:1 STOP_HOW=none STOP_RUN="sh $LAB_DIR/tmp/another"
[ "$(state)" = "shut off" ] || lab_fail "libvirtd died, and nobody resumed it: the guest is $(state)"
exact
echo "virsh -q -c $LAB_URI 'resume $LAB_NAME; suspend $LAB_NAME'" >>"$LAB_DIR/tmp/another"
stopped 0 STOP_AT=nbd_pread_structured:1 STOP_HOW=none STOP_RUN="sh $LAB_DIR/tmp/another"
left_alone "libvirtd died, and somebody resumed it"
lab_virsh "destroy $LAB_NAME --graceful" >/dev/null

# Nobody can mark it, and somebody has resumed it meanwhile.
stopped 1 STOP_AT=virDomainSetMetadata:1 STOP_HOW=stuck STOP_RUN="virsh -q -c $LAB_URI resume $LAB_NAME"
[ "$(state)" = running ] || lab_fail "not marked, but resumed: the guest is $(state)"
lab_virsh "destroy $LAB_NAME --graceful" >/dev/null
stopped 1 STOP_AT=virDomainSetMetadata:1 STOP_HOW=stuck
[ "$(state)" = "shut off" ] || lab_fail "not marked: the guest is $(state)"
stopped 1 STOP_AT=virDomainSetMetadata:1 STOP_HOW=stuck STOP_RUN="virsh -q -c $LAB_URI 'resume $LAB_NAME; suspend $LAB_NAME'"
[ "$(state)" = paused ] || lab_fail "not marked, but resumed and suspended: the guest is $(state)"
grep -q "paused, and this run may have started it.*virsh destroy $LAB_NAME" "$NP_ERR" || lab_fail "it says: $(cat "$NP_ERR")"
lab_virsh "destroy $LAB_NAME --graceful" >/dev/null

# Before the mark libvirtd dies, and on the next one somebody starts the guest anew, paused as well: it is theirs.
{
    cat "$LAB_DIR/tmp/new_libvirtd"
    # Of a start that it did not live to finish, libvirtd may end the guest itself.
    echo "virsh -q -c $LAB_URI destroy $LAB_NAME; timeout 60 sh -c 'until virsh -q -c $LAB_URI start $LAB_NAME --paused; do :; done'"
} >"$LAB_DIR/tmp/started_anew"
stopped 1 STOP_AT=virDomainSetMetadata:1 STOP_HOW=none STOP_RUN="sh $LAB_DIR/tmp/started_anew 2>/dev/null"
[ "$(state)" = paused ] || lab_fail "somebody started it anew, and it is $(state)"
lab_virsh "destroy $LAB_NAME --graceful" >/dev/null

# While there is no libvirtd, the guest runs for a moment: no later event tells that.
{
    sed '$d' "$LAB_DIR/tmp/new_libvirtd"
    echo "python3 $LAB_DIR/tmp/moment.py /var/lib/libvirt/qemu/domain-*/monitor.sock"
    sed -n '$p' "$LAB_DIR/tmp/new_libvirtd"
} >"$LAB_DIR/tmp/moment"
cat >"$LAB_DIR/tmp/moment.py" <<'PY'
import json, socket, sys

monitor = socket.socket(socket.AF_UNIX)
monitor.connect(sys.argv[1])
answers = monitor.makefile()
answers.readline()
for command in "qmp_capabilities", "cont", "stop":
    monitor.sendall(json.dumps({"execute": command}).encode())
    while "return" not in json.loads(answers.readline()):
        pass
PY
stopped 0 STOP_AT=nbd_pread_structured:1 STOP_HOW=none STOP_RUN="sh $LAB_DIR/tmp/moment"
left_alone "it ran while there was no libvirtd"
lab_virsh "destroy $LAB_NAME --graceful" >/dev/null

# A run and its guardian are killed, and another tool reads the paused guest's disks when the next run comes, which first
# waits half a minute for a begin of its own to show.
if [ "${NBDPULL_FAULTS:-all}" = all ]; then
    stopped 137 STOP_AT=nbd_connect_socket:1 STOP_HOW=killall
    mkdir -m 777 "$LAB_DIR/other"
    cat >"$LAB_DIR/job.xml" <<XML
<domainbackup mode='pull'><server transport='unix' socket='$LAB_DIR/other/sock'/>
  <disks><disk name='vda' backup='yes' type='file'><scratch file='$LAB_DIR/other/scratch'/></disk></disks></domainbackup>
XML
    lab_virsh "domjobabort $LAB_NAME; backup-begin $LAB_NAME $LAB_DIR/job.xml" >/dev/null || lab_fail "no other job"
    stopped 7
    grep -q "started paused for the backup, cannot be ended while another backup job.*other/sock" "$NP_ERR" || lab_fail "another's job: it says: $(cat "$NP_ERR")"
    [ "$(state)" = paused ] || lab_fail "another's job: the guest is $(state)"
    lab_virsh backup-dumpxml "$LAB_NAME" | grep -q other/sock || lab_fail "the other job is gone"
    lab_virsh "domjobabort $LAB_NAME" >/dev/null
    stopped 0
    [ "$(state)" = "shut off" ] || lab_fail "the other job is over: the guest is $(state)"
    exact
fi

# The run that asks QEMU loses its libvirtd over it: that tells nothing, and the one after that asks again.
stopped 137 STOP_AT=nbd_connect_socket:1 STOP_HOW=killall
stopped 1 STOP_AT=virDomainQemuMonitorCommand:1 STOP_HOW=none STOP_RUN="sh $LAB_DIR/tmp/new_libvirtd"
grep -q "cannot ask whether domain $LAB_NAME" "$NP_ERR" || lab_fail "it says: $(cat "$NP_ERR")"
[ -e "$set/intent.json" ] || lab_fail "what is left to do is forgotten"
stopped 0
[ "$(state)" = "shut off" ] || lab_fail "asked again: the guest is $(state)"
exact

stopped 137 STOP_AT=nbd_connect_socket:1 STOP_HOW=killall
[ "$(state)" = paused ] || lab_fail "it is $(state): this test tests nothing"
stopped 0 STOP_AT=virDomainQemuMonitorCommand:1 STOP_HOW=fail
left_alone "QEMU does not answer"
[ ! -e "$set/intent.json" ] || lab_fail "something is left to do"
