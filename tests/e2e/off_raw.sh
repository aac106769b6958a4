#!/bin/bash
# Raw images of a guest that is off: a QEMU that only reads one lets others write to it, so nbdpull itself keeps them out,
# of raw backing images too. Who writes already makes the backup fail, and so does a guest that runs in the end.
# labs: system
. "$(dirname "$0")/lab.sh"
lab_start

set=$LAB_DIR/set
base=$LAB_DIR/base.raw
lab_random 4M "$LAB_DIR/content"
lab_filled "$LAB_NAME" vda raw "$LAB_DIR/content"
lab_random 1M "$base"
lab_domain --off "$LAB_NAME" vda:raw:4M "vdb:qcow2:1M:backing_file=$base,backing_fmt=raw"
vda=$(lab_image "$LAB_NAME" vda)
is_read() { [ -n "$(find "$set/streams" -name '*.nbp' -newer "$LAB_DIR/tmp/lab.began" -size +64k)" ]; }
# in_the_middle ARGUMENT...: a backup that is held when some of the image is read; goes_on STATUS.
in_the_middle()
{
    np_start backup -c "$LAB_URI" -d "$LAB_NAME" -l full -o "$set" --bwlimit 1M "$@"
    lab_eventually "the image is read" is_read
    kill -STOP "$NP_PID"
}
goes_on()
{
    kill -CONT "$NP_PID"
    np_wait "$1"
}
start() { lab_virsh "start $LAB_NAME --paused" >"$LAB_DIR/tmp/lab.start" 2>&1; }
stop() { lab_virsh "destroy $LAB_NAME --graceful" >/dev/null; }

# writer FILE, until writer_ends: it has the raw image open for writing, and has written.
pattern=0
holds() { [[ $(qemu-io -r -U -f raw -c "read -P $pattern 512k 512" "$1" 2>&1) == "read "[0-9]* ]]; }
writer()
{
    [ -p "$LAB_DIR/tmp/lab.writer" ] || mkfifo "$LAB_DIR/tmp/lab.writer"
    : >"$LAB_DIR/tmp/lab.writer.out"
    qemu-io -f raw "$1" <"$LAB_DIR/tmp/lab.writer" >"$LAB_DIR/tmp/lab.writer.out" 2>&1 &
    writer=$!
    exec 7>"$LAB_DIR/tmp/lab.writer"
    pattern=$((pattern + 1))
    printf 'write -P %d 512k 512\nflush\n' "$pattern" >&7
    lab_eventually "the writer writes" holds "$1"
}
writer_ends()
{
    exec 7>&-
    wait "$writer" || lab_fail "the writer: $(cat "$LAB_DIR/tmp/lab.writer.out")"
}

np_backup "$LAB_NAME" -l full -o "$set"
: >"$LAB_DIR/tmp/lab.bg.out"

# Somebody writes already: to the image of a disk, or to one below it.
writer "$vda"
np_refuses 7 "vda.*$vda.*another process" backup -c "$LAB_URI" -d "$LAB_NAME" -l full -o "$set"
np_backup "$LAB_NAME" -l copy -o "$set" -x vda
writer_ends
writer "$base"
np_refuses 7 "vdb.*$base.*another process" backup -c "$LAB_URI" -d "$LAB_NAME" -l full -o "$set"
writer_ends

# Started after nbdpull has asked whether it runs.
mkdir "$LAB_DIR/bin"
cat >"$LAB_DIR/bin/qemu-img" <<END
#!/bin/bash
case "\$*" in
"info "*) virsh -q -c '$LAB_URI' start '$LAB_NAME' --paused >/dev/null 2>&1 ;;
esac
exec $(command -v qemu-img) "\$@"
END
chmod +x "$LAB_DIR/bin/qemu-img"
points=$(np_points "$set")
PATH=$LAB_DIR/bin:$PATH np 7 backup -c "$LAB_URI" -d "$LAB_NAME" -l full -o "$set" -i vda
np_said "vda.*another process"
[ "$(lab_virsh domstate "$LAB_NAME")" = paused ] || lab_fail "the guest does not run: this test tests nothing"
[ "$(np_points "$set")" = "$points" ] || lab_fail "a point of a guest that was started before"
stop

# Started in the middle: refused, and the backup is exact. Afterwards it starts.
lab_truth "$LAB_NAME" vda "$LAB_DIR/truth"
in_the_middle -i vda
start && lab_fail "the guest started while its raw image is read"
grep -q lock "$LAB_DIR/tmp/lab.start" || lab_fail "start says: $(cat "$LAB_DIR/tmp/lab.start")"
qemu-io -f raw -c "write 0 512" "$vda" >/dev/null 2>&1 && lab_fail "others can write"
goes_on 0
np 0 restore -i "$set" -o "$LAB_DIR/out" -d vda --format raw
lab_same "$LAB_DIR/out/vda.raw" "$LAB_DIR/truth"
start || lab_fail "the guest does not start after the backup: $(cat "$LAB_DIR/tmp/lab.start")"
stop

# Where the lock is not seen, as by a QEMU with device nodes of its own: the guest that runs is.
lab_remember
points=$(np_points "$set")
in_the_middle -i vda
mv "$vda" "$vda.read"
cp "$vda.read" "$vda"
start || lab_fail "the guest does not start: $(cat "$LAB_DIR/tmp/lab.start")"
goes_on 1
np_said 'started while its images were read'
[ "$(np_points "$set")" = "$points" ] || lab_fail "a point of images that could be written to"
stop
rm "$vda.read"
lab_unchanged "the guest that runs in the end"

# A start that is under way when the backup ends has written nothing.
cat >"$LAB_DIR/bin/qemu" <<END
#!/bin/bash
case "\$*" in
*"guest=$LAB_NAME,"*) read -r _ <'$LAB_DIR/bin/go' ;;
esac
exec $(command -v qemu-system-x86_64) "\$@"
END
chmod 755 "$LAB_DIR/bin" "$LAB_DIR/bin/qemu"
mkfifo -m 666 "$LAB_DIR/bin/go"
lab_virsh dumpxml --inactive "$LAB_NAME" | sed "s|<emulator>.*<|<emulator>$LAB_DIR/bin/qemu<|" >"$LAB_DIR/slow.xml"
lab_virsh define "$LAB_DIR/slow.xml" >/dev/null || lab_fail "no domain with another QEMU"
in_the_middle -i vda
start &
starter=$!
exec 6>"$LAB_DIR/bin/go" # somebody reads
[ "$(lab_virsh domstate "$LAB_NAME" --reason)" = "paused (starting up)" ] ||
    lab_fail "no start is under way: $(lab_virsh domstate "$LAB_NAME" --reason)"
goes_on 0
exec 6>&-
wait "$starter" || lab_fail "the guest does not start after the backup: $(cat "$LAB_DIR/tmp/lab.start")"
stop

# A killed backup keeps nobody out.
in_the_middle -i vda
kill -9 "$NP_PID"
np_wait 137
writer "$vda"
writer_ends
flock "$set/lock" true # its guardian may be at work still
np_backup "$LAB_NAME" -l full -o "$set"
