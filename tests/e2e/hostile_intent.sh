#!/bin/bash
# Who may write to a set writes an intent.json that fits it in all that can be known from its files, and names what
# other runs and other people have: the next run takes none of it away, and does not wait for ever.
# labs: system
. "$(dirname "$0")/lab.sh"
lab_start

other=$LAB_NAME-b raw=$LAB_DIR/content
lab_random 2M "$raw" # more than a pipe holds
lab_filled "$other" vda qcow2 "$raw"
lab_domain "$other" vda:qcow2:2M
lab_domain "$LAB_NAME" vda:qcow2:1M
set=$LAB_DIR/set
np_backup "$LAB_NAME" -l full -o "$set"
uuid=$(lab_virsh domuuid "$LAB_NAME" | head -1)
home=$(jq -r .home.id "$set/set.json")
intent()
{
    jq -n --arg uuid "$uuid" --arg home "$home" '{point: "0090", checkpoint: "nbdpull-\($home)-0090-01234567", home: $home,
        uri: "qemu:///system", domain: $uuid, socket: "/var/tmp/nbdpull-01234567/nbd.sock",
        work_dir: "/var/tmp/nbdpull-01234567", started: "2026-01-01T00:00:00Z", guest_ran: true, freeze: false,
        guest_started: true} | '"$1" >"$set/intent.json" || lab_fail "intent $1"
}
goes_on()
{
    np_backup "$LAB_NAME" -l inc -o "$set"
    [ ! -e "$set/intent.json" ] || lab_fail "$1: the intent stays"
}
said() { grep -q -E -e "$1" "$NP_ERR" || lab_fail "it says: $(cat "$NP_ERR"); no /$1/"; }

# The directory of a run of another domain, in the middle of its job. /var/tmp can be listed by everybody.
np_start_held "$other"
theirs=$(find /var/tmp -maxdepth 1 -name 'nbdpull-*') pid=$NP_PID
lab_eventually "the other run's socket" test -S "$theirs/nbd.sock"
held=$(find "$theirs" | sort)
for path in "$theirs" "/proc/self/root$theirs"; do
    intent ".work_dir = \"$path\" | .socket = \"$path/nbd.sock\""
    goes_on "the directory of another run"
    said 'warning: .*intent.json.*left alone'
    [ "$(find "$theirs" | sort)" = "$held" ] || lab_fail "another run lost: $(diff <(echo "$held") <(find "$theirs" | sort))"
done
NP_PID=$pid
np_release "$LAB_DIR/theirs.nbp"
np_wait 0
[ ! -e "$theirs" ] || lab_fail "$theirs stays"

# Files of one's own in a directory that is called like a run's, by way of links, and a directory that is a link.
mkdir "$LAB_DIR/nbdpull-01234567" "$LAB_DIR/real"
touch "$LAB_DIR/nbdpull-01234567/notes" "$LAB_DIR/real/nbd.sock" "$LAB_DIR/real/vda.scratch"
ln -s "$LAB_DIR/real" "$LAB_DIR/nbdpull-89abcdef"
for name in nbdpull-01234567 nbdpull-89abcdef; do
    intent ".work_dir = \"$LAB_DIR/$name\" | .socket = \"$LAB_DIR/$name/nbd.sock\""
    goes_on "$name"
    said 'warning: .*remove its directory by hand'
done
[ -e "$LAB_DIR/nbdpull-01234567/notes" ] && [ -e "$LAB_DIR/real/nbd.sock" ] && [ -e "$LAB_DIR/real/vda.scratch" ] ||
    lab_fail "gone: files behind a link, or of somebody else"

# A guest that was started paused by somebody is not ended, and one whose domain is another is not looked at.
lab_virsh "start $LAB_NAME --paused" >/dev/null 2>&1
intent .
goes_on "a paused guest"
lab_virsh domstate "$LAB_NAME" | grep -q paused || lab_fail "the guest is $(lab_virsh domstate "$LAB_NAME")"
intent ".domain = \"$(lab_virsh domuuid "$other" | head -1)\""
goes_on "another domain"
said 'warning: .*intent.json.*left alone'

# A freeze that never was: without an agent that could say so each run tries again, and goes on.
intent '.freeze = true'
np_backup "$LAB_NAME" -l inc -o "$set"
said 'warning: .*thaw'

# Images: a pipe that nobody writes to, a device, a directory, what is no image; the guest runs, then it is off.
mkfifo "$LAB_DIR/fifo"
echo text >"$LAB_DIR/text"
checkpoint=nbdpull-$home-0090-01234567
qemu-img create -q -f qcow2 "$LAB_DIR/foreign.qcow2" 1M
qemu-img bitmap --add "$LAB_DIR/foreign.qcow2" theirs
qemu-img create -q -f qcow2 -o "data_file=$LAB_DIR/fifo.data" "$LAB_DIR/data.qcow2" 1M
rm "$LAB_DIR/fifo.data" && mkfifo "$LAB_DIR/fifo.data"
paths=("$LAB_DIR"/{fifo,text,real,none,data.qcow2,foreign.qcow2} /dev/null /dev/full)
images=$(printf '%s\n' "${paths[@]}" | jq -R '{target: "vdx", path: .}' | jq -cs .)
for state in running off; do
    [ $state = running ] || lab_virsh "destroy $LAB_NAME" >/dev/null
    intent ".images = $images"
    timeout 60 "$NBDPULL" backup -c "$LAB_URI" -d "$LAB_NAME" -l inc -o "$set" 2>"$LAB_DIR/tmp/lab.err" </dev/null
    status=$?
    [ $status -eq 0 ] || lab_fail "$state: status $status: $(cat "$LAB_DIR/tmp/lab.err")"
    [ ! -e "$set/intent.json" ] || lab_fail "$state: the intent stays"
done
# The bitmap of a point, as if a run on images had begun it: it stays, for the next increment starts from it.
for state in off running; do
    [ $state = off ] || lab_virsh "start $LAB_NAME --paused" >/dev/null
    intent ".checkpoint = $("$NBDPULL" dump -i "$set" --json | jq '.points[-1].checkpoint') |
        .images = [{target: \"vda\", path: \"$(lab_image "$LAB_NAME" vda)\"}]"
    np_backup "$LAB_NAME" -l inc -o "$set" --json
    [ ! -e "$set/intent.json" ] || lab_fail "$state, a point's bitmap: the intent stays"
    jq -e '.disks[0].how == "bitmap"' "$NP_OUT" >/dev/null || lab_fail "$state: a point's bitmap is gone: $(cat "$NP_OUT" "$NP_ERR")"
done

qemu-img info --output=json "$LAB_DIR/foreign.qcow2" | jq -r '."format-specific".data.bitmaps[].name' | grep -q -x theirs ||
    lab_fail "a bitmap of somebody else is gone"
[ "$(cat "$LAB_DIR/text")" = text ] || lab_fail "a file was changed"
lab_virsh checkpoint-list --name "$LAB_NAME" | grep -q -F "$checkpoint" && lab_fail "the checkpoint of the intent was made"
exit 0
