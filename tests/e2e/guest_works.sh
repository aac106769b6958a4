#!/bin/bash
# The Linux guest of the laboratory: files go in and out through its agent, it trims and freezes, and what it has
# synced is in the backup.
# labs: system embed session
# long labs: embed session
. "$(dirname "$0")/lab.sh"
. "$(dirname "$0")/guest.sh"
lab_start

lab_guest "$LAB_NAME" vda:qcow2:64M vdb:raw:16M
lab_random 3M "$LAB_DIR/tmp/file"
head -c 100001 "$LAB_DIR/tmp/file" >"$LAB_DIR/tmp/odd"
guest_write "$LAB_NAME" /vda/odd <"$LAB_DIR/tmp/odd"
guest_read "$LAB_NAME" /vda/odd | cmp - "$LAB_DIR/tmp/odd" || lab_fail "the guest's file is another"
[ "$(guest_exec "$LAB_NAME" "cat /vda/odd | wc -c; touch /vdb/there")" = 100001 ] || lab_fail "guest_exec"
(guest_exec "$LAB_NAME" "exit 3")
[ $? -eq 3 ] || lab_fail "no status of guest_exec"

guest_shell "$LAB_NAME" "echo heard >/vda/shell"
lab_eventually "the shell does it" guest_exec "$LAB_NAME" "grep -q heard /vda/shell"
[ ! -s "$LAB_DIR/$LAB_NAME.shell.out" ] || lab_fail "the shell's pipe is read"

guest_exec "$LAB_NAME" "dd if=/dev/urandom of=/vda/big bs=1M count=16 2>/dev/null; sync"
full=$(lab_used "$(lab_image "$LAB_NAME" vda)")
guest_exec "$LAB_NAME" "rm /vda/big; sync"
guest_trim "$LAB_NAME"
[ "$(lab_used "$(lab_image "$LAB_NAME" vda)")" -lt $((full - (12 << 20))) ] || lab_fail "trimming gave nothing back"

guest_is_thawed "$LAB_NAME" || lab_fail "frozen from the start"
guest_agent "$LAB_NAME" guest-fsfreeze-freeze >/dev/null || lab_fail "cannot freeze"
guest_is_frozen "$LAB_NAME" || lab_fail "not frozen"
LAB_BACKUP=(-l full)
lab_round_trip "$LAB_NAME" vda vdb
guest_agent "$LAB_NAME" guest-fsfreeze-thaw >/dev/null || lab_fail "cannot thaw"
guest_is_thawed "$LAB_NAME" || lab_fail "still frozen"
