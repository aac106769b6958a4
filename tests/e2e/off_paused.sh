#!/bin/bash
# A guest that is off, with a disk that only its QEMU can read: it is started paused for the backup, and is off again
# afterwards, however that ends. The chain goes on in both directions, the local disk by its bitmap. One that somebody
# resumes meanwhile goes on; a saved memory is never touched.
# labs: system
. "$(dirname "$0")/lab.sh"
lab_start

set=$LAB_DIR/set net=$LAB_DIR/net.raw socket=$LAB_DIR/net.sock
lab_program_files 6M "$LAB_DIR/content"
lab_filled "$LAB_NAME" vda qcow2 "$LAB_DIR/content"
cp "$LAB_DIR/content" "$net"
(umask 0 && exec qemu-nbd -t -e 8 -f raw -x net -k "$socket" "$net") &
server=$!
trap 'status=$?; kill $server; (exit $status); lab_end' EXIT
lab_eventually "the disk is served" test -S "$socket"
chmod 777 "$socket"
cat >"$LAB_DIR/net.xml" <<XML
<disk type='network' device='disk'><driver name='qemu' type='raw'/><source protocol='nbd' name='net'>
  <host transport='unix' socket='$socket'/></source><target dev='vdb' bus='virtio'/></disk>
XML
lab_domain --off "$LAB_NAME" vda:qcow2:6M "vdb:xml:$LAB_DIR/net.xml"

is_off() { [ "$(lab_virsh "domstate $LAB_NAME")" = "shut off" ]; }
off() { is_off || lab_fail "$1: the domain is $(lab_virsh "domstate $LAB_NAME")"; }

# exact HOW-OF-VDA HOW-OF-VDB ARGUMENT...
exact()
{
    local want="$1 $2" how
    shift 2
    qemu-img convert -U -f qcow2 -O raw "$(lab_image "$LAB_NAME" vda)" "$LAB_DIR/tmp/vda" || lab_fail "no truth"
    cp "$net" "$LAB_DIR/tmp/vdb"
    np_backup "$LAB_NAME" -o "$set" --json "$@"
    how=$(jq -r '[.disks[].how] | join(" ")' "$NP_OUT")
    guest=$(jq -r .guest "$NP_OUT") checkpoint=$(jq -r .checkpoint "$NP_OUT")
    [ "$how" = "$want" ] || lab_fail "$*: $how, not $want: $(jq -c '[.disks[].why]' "$NP_OUT")"
    np 0 restore -i "$set" -o "$LAB_DIR/out" --format raw
    lab_same "$LAB_DIR/out/vda.raw" "$LAB_DIR/tmp/vda"
    lab_same "$LAB_DIR/out/vdb.raw" "$LAB_DIR/tmp/vdb"
    rm -r "$LAB_DIR/out"
}

exact all all -l full
[ "$guest" = off ] || lab_fail "guest: $guest"
off "full"
qemu-io -f qcow2 -c "write -P 0x31 1M 64k" "$(lab_image "$LAB_NAME" vda)" >/dev/null
printf 'changed' | dd of="$net" bs=1 seek=3000000 conv=notrunc status=none
exact bitmap scan -l inc
off "inc"
lab_virsh "start $LAB_NAME --paused" >/dev/null
lab_io "$LAB_NAME" vda "write -P 0x32 2M 64k"
exact bitmap scan -l inc
lab_virsh "destroy $LAB_NAME --graceful" >/dev/null
exact bitmap scan -l inc
off "inc after it ran"

# libvirt has lost the checkpoint.
lab_virsh checkpoint-delete "$LAB_NAME" "$checkpoint" --metadata >/dev/null || lab_fail "no loss"
exact bitmap scan -l inc
off "lost checkpoint"

# Ended by a signal, killed, and killed together with the guardian.
slow() { np_start_slow "$LAB_NAME" "$set"; }
lab_remember
slow
kill -TERM "$NP_PID"
np_wait 143
off "SIGTERM"
lab_unchanged "SIGTERM"
slow
guardian=$(np_guardian)
kill -9 "$NP_PID"
np_wait 137
lab_eventually "the guardian ends" lab_has_ended "$guardian"
np_said 'paused guest'
off "kill -9"
lab_unchanged "kill -9"
slow
np_kill_both
is_off && lab_fail "somebody ended it: this test tests nothing"
np_backup "$LAB_NAME" -o "$set" -l inc
np_said 'paused guest'
off "killed, and its guardian"
exact bitmap scan -l inc
lab_virsh backup-dumpxml "$LAB_NAME" >/dev/null 2>&1 && lab_fail "a job runs"

# Somebody resumes it: it is theirs.
slow
lab_virsh "resume $LAB_NAME" >/dev/null || lab_fail "resume"
np_wait 0
grep -q 'taken over by somebody' "$NP_ERR" || lab_fail "it says: $(cat "$NP_ERR")"
[ "$(lab_virsh "domstate $LAB_NAME")" = running ] || lab_fail "a guest that was resumed is $(lab_virsh "domstate $LAB_NAME")"

lab_virsh "destroy $LAB_NAME --graceful" >/dev/null || lab_fail "destroy"
slow
lab_virsh "resume $LAB_NAME; suspend $LAB_NAME" >/dev/null || lab_fail "resume and suspend"
np_wait 0
grep -q 'has run since' "$NP_ERR" || lab_fail "suspended again: it says: $(cat "$NP_ERR")"
[ "$(lab_virsh "domstate $LAB_NAME")" = paused ] || lab_fail "suspended again: $(lab_virsh "domstate $LAB_NAME")"

# A saved memory stays.
lab_virsh "managedsave $LAB_NAME" >/dev/null || lab_fail "managedsave"
np_refuses 1 'vdb.*saved memory.*start it' backup -c "$LAB_URI" -d "$LAB_NAME" -l inc -o "$set"
[[ $(lab_virsh "dominfo $LAB_NAME") =~ Managed\ save:\ *yes ]] || lab_fail "the saved memory is gone"
