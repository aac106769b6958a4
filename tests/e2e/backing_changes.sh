#!/bin/bash
# An image below a disk's own becomes another one, or is changed: no bitmap tells. The next increment is a scan and
# exact, the one after it is by bitmap again; and nothing else is taken for such a change.
# labs: system
# cost: 25
. "$(dirname "$0")/lab.sh"
lab_start
lab_need qemu-io python3
[ "$LAB_ISOLATED" = yes ] || lab_skip "the machine's own libvirtd must not be stopped"

# Golden images of 128 MiB that differ in 20 blocks of 4 KiB, within what a sample of clean granules nearly always misses.
golden=$LAB_DIR/golden
python3 - "$golden" <<'END' || lab_fail "no golden images"
import os, random, sys
content = bytearray(os.urandom(1 << 20) * 128)
for name in "123":
    open(sys.argv[1] + name + ".raw", "wb").write(content)
    for place in random.sample(range(4 << 8, 100 << 8), 20):
        content[place << 12:place + 1 << 12] = os.urandom(4096)
END
for i in 1 2 3; do
    qemu-img convert -f raw -O qcow2 "$golden$i.raw" "$golden$i.qcow2" && rm "$golden$i.raw" || lab_fail "golden $i"
done
set=$LAB_DIR/set
vda=$LAB_DIR/$LAB_NAME.vda.qcow2
qemu-img create -q -f qcow2 -b "${golden}1.qcow2" -F qcow2 "$vda"
lab_domain --off "$LAB_NAME" vda:qcow2:128M

start() { lab_virsh "start --paused $LAB_NAME" >/dev/null || lab_fail "start"; }
stop() { lab_virsh "destroy $LAB_NAME" >/dev/null || lab_fail "destroy"; }
writes() { qemu-io -f qcow2 -c "write -P $1 1M 64k" "$vda" >/dev/null || lab_fail "qemu-io"; }

# exact CASE HOW [ARGUMENT...]
exact()
{
    local case=$1 want=$2 truth=${TRUTH:-}
    shift 2
    if [ -z "$truth" ]; then
        truth=$LAB_DIR/tmp/vda
        lab_truth "$LAB_NAME" vda "$truth"
    fi
    np_backup "$LAB_NAME" -l auto -o "$set" --json "$@"
    [ "$(jq -r '.disks[0].how' "$NP_OUT")" = "$want" ] || lab_fail "$case: not by $want: $(jq -c .disks "$NP_OUT")"
    why=$(jq -r '.disks[0].why' "$NP_OUT")
    np 0 restore -i "$set" -o "$LAB_DIR/out"
    lab_same "$LAB_DIR/out/vda.qcow2" "$truth"
    rm -r "$LAB_DIR/out"
    lab_note "$case: exact, $why"
}

# changed CASE: the change is seen, once.
changed()
{
    exact "$1" scan
    [[ $why == "an image below it is another one than at point "* || $why == "point "*" does not say what was below it" ]] ||
        lab_fail "$1: $why"
    exact "$1, then nothing" bitmap
}

exact "the full, off" all
writes 0x11
exact "nothing below was changed, off" bitmap
start
exact "nothing below was changed, live" bitmap
lab_io "$LAB_NAME" vda "write -P 0x12 2M 64k"
exact "nothing below was changed, live again" bitmap
pid=$(cat "$LAB_DIR/libvirtd.pid")
kill "$pid"
lab_eventually "libvirtd is gone" test ! -e "/proc/$pid/exe"
rm -f "$LAB_DIR/libvirtd.pid"
libvirtd -d -p "$LAB_DIR/libvirtd.pid" || lab_fail "libvirtd does not start again"
exact "another libvirtd" bitmap
stop
exact "off again" bitmap
start
exact "live once more" bitmap
stop

qemu-img rebase -u -f qcow2 -b "${golden}2.qcow2" -F qcow2 "$vda"
writes 0x13
changed "on another golden image"
cp "${golden}3.qcow2" "$LAB_DIR/x" && mv "$LAB_DIR/x" "${golden}2.qcow2"
changed "its file was replaced, off"
cat "${golden}1.qcow2" >"${golden}2.qcow2"
changed "its file was overwritten, off"
qemu-img rebase -u -f qcow2 -b "${golden}3.qcow2" -F qcow2 "$vda"
start
changed "on another golden image, before a start"

# The QEMU that runs reads the old file until it ends, and what it reads is what a point holds.
lab_truth "$LAB_NAME" vda "$LAB_DIR/tmp/old"
cp "${golden}1.qcow2" "$LAB_DIR/x" && mv "$LAB_DIR/x" "${golden}3.qcow2"
TRUTH=$LAB_DIR/tmp/old
# Who only reads the disk's image beside it, and has the new file below, is not asked.
mkfifo "$LAB_DIR/tmp/lab.reader" || lab_fail "no pipe"
qemu-io -r -U -f qcow2 "$vda" <"$LAB_DIR/tmp/lab.reader" >"$LAB_DIR/tmp/lab.reader.out" 2>&1 &
reader=$!
exec 7>"$LAB_DIR/tmp/lab.reader"
has_golden() { find "/proc/$reader/fd" -lname "${golden}3.qcow2" 2>/dev/null | grep -q .; }
lab_eventually "somebody reads" has_golden
exact "its file was replaced, live, and somebody reads beside the guest" scan
exec 7>&-
wait "$reader"
exact "its file was replaced, live" scan
exact "its file was replaced, live, and the guest still has the old one" scan
exact "a full of a guest that still has the old one" all -l full
stop
start
TRUTH=
exact "the guest has the new one" scan
exact "the guest has the new one, then nothing" bitmap
stop
exact "nothing since" bitmap

# What is not at its path is not known.
start
lab_truth "$LAB_NAME" vda "$LAB_DIR/tmp/old"
mv "${golden}3.qcow2" "$LAB_DIR/away"
TRUTH=$LAB_DIR/tmp/old
exact "its file is away, live" scan
exact "its file is away, live, again" scan
mv "$LAB_DIR/away" "${golden}3.qcow2"
exact "its file is back" scan
exact "its file is back, then nothing" bitmap
stop
TRUTH=

# A repair leaves what it cannot know better; of a record that it rebuilds nobody knows.
np 0 repair -i "$set"
exact "nothing since, but a repair" bitmap
newest=$(np_points "$set")
rm "$set/points/${newest##* }.json" || lab_fail "no record to remove"
np 0 repair -i "$set"
changed "the record was rebuilt"

# Without images below.
qemu-img rebase -f qcow2 -b "" "$vda" || lab_fail "rebase"
changed "nothing is below it any longer"
exit 0
