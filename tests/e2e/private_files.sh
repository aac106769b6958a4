#!/bin/bash
# Under a umask that forbids nothing and one that forbids everything: what nbdpull makes is its owner's alone. And what
# its children get: no descriptor but their own, no word in their arguments that is secret, no core of it all.
# labs: system
. "$(dirname "$0")/lab.sh"
lab_need setpriv
lab_start
ulimit -S -c hard # else no core is written anyway

lab_domain "$LAB_NAME" vda:qcow2:1M
lab_random 1M "$LAB_DIR/content" # more than a pipe holds
lab_io "$LAB_NAME" vda "write -s $LAB_DIR/content 0 1M"
good=$LAB_DIR/good
np_backup "$LAB_NAME" -l full -o "$good"

# private DIR: it and all below.
private()
{
    local found
    found=$(find "$@" \( -type d ! -perm 700 -o -type f ! -perm 600 -o ! -type d ! -type f \) -printf '%p %M\n')
    [ -z "$found" ] || lab_fail "umask $mask: $found"
    [ -n "$(find "$@" -type f)" ] || lab_fail "umask $mask: nothing in $*"
}

# qemu-img and qemu-nbd that note what they were given before they do their work.
programs=$LAB_DIR/programs
mkdir -m 755 "$programs"
for name in qemu-img qemu-nbd; do
    cat >"$programs/$name" <<END
#!/bin/sh
find /proc/\$\$/fd -type l -fprintf "$LAB_DIR/tmp/fds.\$\$" '\\nfd %f %l\\n'
tr '\\0' ' ' </proc/\$\$/cmdline >>"$LAB_DIR/tmp/children"
cat "$LAB_DIR/tmp/fds.\$\$" >>"$LAB_DIR/tmp/children"
grep -e '^Max core' /proc/\$\$/limits >>"$LAB_DIR/tmp/children"
exec "$(command -v $name)" "\$@"
END
    chmod 755 "$programs/$name"
done

secret=$(printf "q%07d" $RANDOM) # of the length that VNC takes
for mask in 000 777; do
    umask $mask
    PATH=$programs:$PATH np_backup "$LAB_NAME" -l auto -o "$LAB_DIR/new.$mask"
    np_backup "$LAB_NAME" -l auto -o "$LAB_DIR/new.$mask"
    rm -f "$LAB_DIR/new.$mask/points/0002.json"
    np 0 repair -i "$LAB_DIR/new.$mask" --points 0002
    np 0 restore -i "$LAB_DIR/new.$mask" -o "$LAB_DIR/out.$mask" --verify
    np 0 restore -i "$good" -o "$LAB_DIR/raw.$mask" --format raw
    "$NBDPULL" restore -i - -o "$LAB_DIR/pipe.$mask" <"$good/streams/0001.vda.nbp" 2>"$NP_ERR" || lab_fail "$(cat "$NP_ERR")"
    umask 022
    private "$LAB_DIR"/{new,out,raw,pipe}."$mask"

    # In the middle of a run: its directory is QEMU's user's, and nobody else enters.
    umask $mask
    np_start_held "$LAB_NAME"
    umask 022
    work=$(find /var/tmp -maxdepth 1 -name 'nbdpull-*')
    [[ ${work##*/} =~ ^nbdpull-[0-9a-f]{8}$ ]] || lab_fail "no directory of a run: $work"
    lab_eventually "the socket" test -S "$work/nbd.sock"
    [ "$(stat -c %a "$work")" = 700 ] || lab_fail "umask $mask: $(stat -c '%n %A %U' "$work")"
    setpriv --reuid=nobody --regid=nogroup --clear-groups ls "$work" >/dev/null 2>&1 && lab_fail "nobody looks into $work"
    setpriv --reuid=nobody --regid=nogroup --clear-groups ls "$work/nbd.sock" >/dev/null 2>&1 && lab_fail "nobody reaches the socket"
    # The guardian has its channel and nothing else of the run's, and its arguments name domain and set only.
    guardian=$(np_guardian)
    fds=$(find "/proc/$guardian/fd" -type l -printf '%f %l\n' | grep -v -E '^[012] |socket:|anon_inode|pipe:|/dev/|libvirt')
    [ -z "$fds" ] || lab_fail "the guardian has $fds"
    tr '\0' '\n' <"/proc/$guardian/cmdline" >"$LAB_DIR/tmp/arguments"
    [ "$(tr '\n' ' ' <"$LAB_DIR/tmp/arguments")" = "nbdpull guardian $LAB_NAME " ] ||
        lab_fail "the guardian's arguments: $(cat "$LAB_DIR/tmp/arguments")"
    for pid in $NP_PID $guardian; do
        grep -q -E '^Max core file size +[01] ' "/proc/$pid/limits" || lab_fail "$(grep core "/proc/$pid/limits")"
    done
    np_release "$LAB_DIR/tmp/stream"
    np_wait 0
done

# Secrets of the domain: what libvirt gives only to who asks for it is in no file and no word of ours.
lab_virsh "dumpxml --inactive $LAB_NAME" >"$LAB_DIR/tmp/domain.xml"
lab_virsh "destroy $LAB_NAME" >/dev/null
sed -i "s|</devices>|<graphics type='vnc' autoport='yes' passwd='$secret'/></devices>|" "$LAB_DIR/tmp/domain.xml"
lab_virsh "define $LAB_DIR/tmp/domain.xml" >/dev/null || lab_fail "no password can be set"
lab_virsh "dumpxml --security-info $LAB_NAME" | grep -q "$secret" || lab_fail "libvirt does not keep the password"
: >"$LAB_DIR/tmp/children"
PATH=$programs:$PATH np_backup "$LAB_NAME" -l inc -o "$good" -v
cp "$NP_ERR" "$LAB_DIR/tmp/said"
np 0 restore -i "$good" -o "$LAB_DIR/restored"
grep -r -q -a -F "$secret" "$good" "$LAB_DIR/restored" "$LAB_DIR/tmp/said" "$LAB_DIR/tmp/children" && lab_fail "the password is known"
# Its bytes are not in the stream compressed either: the copies beside it are the same XML.
diff <(zcat -f "$good/config/0002/domain.xml") "$LAB_DIR/restored/$LAB_NAME.original.xml" >/dev/null || lab_fail "another XML"

# What the programs of the guest that is off were given.
grep -q -e ' bitmap ' "$LAB_DIR/tmp/children" && grep -q -e 'qemu-nbd' "$LAB_DIR/tmp/children" ||
    lab_fail "they were not started: $(cat "$LAB_DIR/tmp/children")"
# The standard ones, the one socket that it is given, and the script itself; whatever this test was started with.
awk '/^\/bin\/sh/ { sockets = 0 }
    /^fd/ && $2 > 2 && $3 !~ /\/qemu-(img|nbd)$/ && ($3 !~ /^socket:/ || ++sockets > 1) { print; bad = 1 }
    END { exit bad }' "$LAB_DIR/tmp/children" || lab_fail "a child has more descriptors than it needs"
grep -q -e "$good" "$LAB_DIR/tmp/children" && lab_fail "they know the set: $(grep -e "$good" "$LAB_DIR/tmp/children")"
grep '^Max core' "$LAB_DIR/tmp/children" | grep -v -E 'size +[01] ' && lab_fail "a child may leave a core"
exit 0
