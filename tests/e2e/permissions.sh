#!/bin/bash
# What the file system or libvirt forbids: one line that names the path and the likely cause.
# labs: system
. "$(dirname "$0")/lab.sh"
lab_start

lab_domain "$LAB_NAME" vda:qcow2:4M
lab_io "$LAB_NAME" vda "write -P 0x11 1M 1M"

# A place that QEMU's user cannot enter.
mkdir -m 700 "$LAB_DIR/closed" "$LAB_DIR/closed/inner"
np_refuses 1 "$LAB_DIR/closed.*(mode|permission|AppArmor|SELinux)" backup -c "$LAB_URI" -d "$LAB_NAME" -l full \
    -o "$LAB_DIR/new" --scratch-dir "$LAB_DIR/closed/inner"
np_refuses 1 "$LAB_DIR/nowhere" backup -c "$LAB_URI" -d "$LAB_NAME" -l full -o "$LAB_DIR/new" \
    --scratch-dir "$LAB_DIR/nowhere"
# A path that no socket can have.
long=$LAB_DIR/$(printf 'x%.0s' {1..100})
mkdir -m 711 "$long"
np_refuses 1 "long" backup -c "$LAB_URI" -d "$LAB_NAME" -l full -o "$LAB_DIR/new" --scratch-dir "$long"

# A place of one's own that QEMU can reach works.
mkdir -m 755 "$LAB_DIR/open"
np_backup "$LAB_NAME" -l full -o "$LAB_DIR/set" --scratch-dir "$LAB_DIR/open"
[ -z "$(ls -A "$LAB_DIR/open")" ] || lab_fail "left in the scratch directory: $(ls -A "$LAB_DIR/open")"
[ "$(stat -c %a "$LAB_DIR/set")" = 700 ] || lab_fail "mode of the set: $(stat -c %a "$LAB_DIR/set")"
[ -z "$(find "$LAB_DIR/set" -type f ! -perm 600)" ] || lab_fail "files of the set that are not 0600"
[ -z "$(find "$LAB_DIR/set" -type d ! -perm 700)" ] || lab_fail "directories of the set that are not 0700"

# Targets that cannot be written. Root may write everywhere, except where nobody can.
lab_need setpriv
as_nobody=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
chmod -R a+rX "$LAB_DIR/set"
mkdir -m 755 "$LAB_DIR/roots"
lab_remember
"${as_nobody[@]}" "$NBDPULL" restore -i "$LAB_DIR/set" -o "$LAB_DIR/roots/out" 2>"$LAB_DIR/tmp/lab.err" </dev/null
status=$?
[ $status -eq 1 ] || lab_fail "restore into root's directory: status $status"
NP_ERR=$LAB_DIR/tmp/lab.err np_said "$LAB_DIR/roots.*permission"
"${as_nobody[@]}" "$NBDPULL" restore -i "$LAB_DIR/set" -o "$LAB_DIR/roots" 2>"$LAB_DIR/tmp/lab.err" </dev/null
[ $? -eq 1 ] || lab_fail "restore into root's directory"
NP_ERR=$LAB_DIR/tmp/lab.err np_said "$LAB_DIR/roots.*permission"

# A user without the right to the system's socket.
[ "$LAB_ISOLATED" = yes ] || exit 0
chmod 700 /run/libvirt
"${as_nobody[@]}" "$NBDPULL" backup -c "$LAB_URI" -d "$LAB_NAME" -l full -o "$LAB_DIR/new" \
    2>"$LAB_DIR/tmp/lab.err" </dev/null
status=$?
chmod 755 /run/libvirt
[ $status -eq 1 ] || lab_fail "no right to the socket: status $status"
NP_ERR=$LAB_DIR/tmp/lab.err np_said 'permission|denied|right'
lab_unchanged "what nobody tried"
