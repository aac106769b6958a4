#!/bin/bash
# A libvirtd that speaks another language: nothing goes by its words. An agent that is gone before it answers has frozen
# the guest all the same, and the guest is thawed.
# labs: system
# cost: 20
. "$(dirname "$0")/lab.sh"
. "$(dirname "$0")/guest.sh"
export LC_ALL=C.UTF-8 LANGUAGE=uk
lab_start
export LC_ALL=C
unset LANGUAGE
said=$(lab_virsh secret-dumpxml 00000000-0000-0000-0000-000000000000 2>&1)
[[ $said == *"Не знайдено"* ]] || lab_skip "libvirtd speaks no other language here (libvirt-l10n): $said"

lab_guest "$LAB_NAME" vda:qcow2:64M vdb:qcow2:64M
set=$LAB_DIR/set
np_backup "$LAB_NAME" -l full -o "$set"

# What is dirty on vdb is written before it is frozen, slowly: the agent waits for that, and is killed there. It comes
# back when the run has been told.
guest_exec "$LAB_NAME" "dd if=/dev/urandom of=/vdb/file bs=1M count=8 2>/dev/null"
lab_virsh blkdeviotune "$LAB_NAME" vdb --total-bytes-sec 2000000 --live >/dev/null || lab_fail "vdb is not slowed down"
agent='qemu-ga -m virtio-serial -p /dev/virtio-ports/org.qemu.guest_agent.0'
guest_shell "$LAB_NAME" "pid=\$(pidof qemu-ga); until grep -q '^State:.D' /proc/\$pid/status; do sleep 0.1; done; kill -9 \$pid
while grep -q '^State:.[^Z]' /proc/\$pid/status; do sleep 0.1; done; echo it is gone >/dev/console; sleep 2; $agent &"
np 0 backup -c "$LAB_URI" -d "$LAB_NAME" -l inc -o "$set" --json
grep -q "it is gone" "$LAB_DIR/$LAB_NAME.console" || lab_fail "the agent was not killed in mid-freeze: this test tests nothing"
np_said "warning.*cannot freeze"
lab_note "$(cat "$NP_ERR")"
[ "$(jq .quiesced "$NP_OUT")" = false ] || lab_fail "it says that it was frozen"
guest_is_thawed "$LAB_NAME" || lab_fail "the guest is not thawed"
guest_exec "$LAB_NAME" "echo more >/vda/file; echo more >/vdb/file; sync" || lab_fail "the guest does not write"
