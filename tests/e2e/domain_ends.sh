#!/bin/bash
# The domain is destroyed, its QEMU killed or its job aborted in the middle of the pull: an error, no point.
# labs: system
. "$(dirname "$0")/lab.sh"
lab_start

raw=$LAB_DIR/content
lab_program_files 12M "$raw"
lab_filled "$LAB_NAME" vda qcow2 "$raw"
lab_domain "$LAB_NAME" vda:qcow2:12M
set=$LAB_DIR/set
np_backup "$LAB_NAME" -l full -o "$set"
lab_files >"$LAB_DIR/tmp/lab.files"

# ended HOW COMMAND...
ended()
{
    local how=$1
    shift
    np_start_slow "$LAB_NAME" "$set" -q
    "$@" || lab_fail "cannot: $how"
    np_wait 1
    # A checkpoint cannot be deleted while the domain is off: it warns, and the next backup does it.
    sed -i '/^nbdpull: warning: /d' "$NP_ERR"
    np_said "$LAB_NAME|vda"
    [ "$(np_points "$set")" = 0001 ] || lab_fail "$how: points $(np_points "$set")"
    [ "$(find "$set/streams" -type f | wc -l)" -eq 1 ] || lab_fail "$how: a stream stayed"
    [ -z "$(find /var/lib/libvirt /var/tmp "$LAB_DIR" -type s ! -path '*/domain-*' ! -name '*.monitor')" ] ||
        lab_fail "$how: a socket stayed: $(find /var/lib/libvirt /var/tmp "$LAB_DIR" -type s)"
}
kill_qemu() { kill -9 "$(cat "/run/libvirt/qemu/$LAB_NAME.pid")"; }

ended "job aborted" lab_virsh domjobabort "$LAB_NAME"
[ "$(lab_virsh checkpoint-list --name "$LAB_NAME" | grep -c nbdpull)" -eq 1 ] || lab_fail "checkpoints after the abort"
ended "domain destroyed" lab_virsh destroy "$LAB_NAME"
lab_virsh "start $LAB_NAME --paused" >/dev/null
ended "QEMU killed" kill_qemu

# And then the next full works, and leaves only its own checkpoint.
lab_domain_is_off() { [ "$(lab_virsh domstate "$LAB_NAME")" = "shut off" ]; }
lab_eventually "libvirt sees that QEMU died" lab_domain_is_off
lab_virsh "start $LAB_NAME --paused" >/dev/null
np_backup "$LAB_NAME" -l full -o "$set"
np 0 restore -i "$set" -o "$LAB_DIR/out"
lab_same "$LAB_DIR/out/vda.qcow2" "$raw"

# In the first run into a set, while its image is out of reach: the set stays, for only it tells of the checkpoint.
fresh=$LAB_DIR/fresh image=$(lab_image "$LAB_NAME" vda)
np_start_slow "$LAB_NAME" "$fresh" -q
mv "$image" "$image.away"
kill_qemu
np_wait 1
flock "$fresh/lock" true
[ -e "$fresh/intent.json" ] || [ -e "$fresh/deferred.json" ] || lab_fail "the checkpoint of the first run is forgotten"
lab_eventually "libvirt sees that QEMU died" lab_domain_is_off
mv "$image.away" "$image"
lab_virsh "start $LAB_NAME --paused" >/dev/null
np_backup "$LAB_NAME" -l full -o "$fresh"
[ "$(lab_virsh checkpoint-list --name "$LAB_NAME" | grep -c nbdpull)" -eq 2 ] ||
    lab_fail "checkpoints of two sets with one point each: $(lab_virsh checkpoint-list --name "$LAB_NAME")"
