#!/bin/bash
# Somebody who may write where nbdpull makes directories and sockets puts a link in their place at once: what lies
# behind the link keeps its owner and its mode, and nothing is written there.
# labs: system
. "$(dirname "$0")/lab.sh"
lab_start

lab_domain "$LAB_NAME" vda:qcow2:1M
lab_io "$LAB_NAME" vda "write -P 0x11 0 64k"
set=$LAB_DIR/set out=$LAB_DIR/out
np_backup "$LAB_NAME" -l full -o "$set"
np 0 restore -i "$set" -o "$LAB_DIR/good"

export XDG_RUNTIME_DIR=$LAB_DIR/run
mkdir -m 700 "$XDG_RUNTIME_DIR"
victim=$LAB_DIR/victim scratch=$LAB_DIR/scratch
mkdir -m 755 "$victim" "$victim/below"
mkdir -m 711 "$scratch"
echo secret >"$victim/file"
chmod 644 "$victim/file"
looks() { find "$victim" -printf '%p %y %u %m %s\n' | sort; }
before=$(looks)
# raced WORD STATUS ARGUMENT...: what is made at WORD becomes a link to $behind.
behind=$victim
raced()
{
    local word=$1
    shift
    RACED="$word $behind" LD_PRELOAD=$NBDPULL_RACED np "$@"
    local moved
    moved=$(find "$LAB_DIR" /var/tmp -maxdepth 4 -name '*.moved' -prune -print -quit)
    [ -n "$moved" ] || lab_fail "$word: nobody was quicker"
    diff <(echo "$before") <(looks) || lab_fail "$word: nbdpull $* changed what is behind a link"
    rm -rf "$moved" "${moved%.moved}" "$LAB_DIR/newset"
}

raced "$out" 1 restore -i "$set" -o "$out"
raced newset 1 backup -c "$LAB_URI" -d "$LAB_NAME" -l full -o "$LAB_DIR/newset"
raced streams 1 backup -c "$LAB_URI" -d "$LAB_NAME" -l full -o "$LAB_DIR/newset"
mkdir "$LAB_DIR/newset"
raced config 1 backup -c "$LAB_URI" -d "$LAB_NAME" -l full -o "$LAB_DIR/newset"

# The directory that is given to QEMU's user: in its default place, and in one where that user may write.
raced /var/tmp/nbdpull- 1 backup -c "$LAB_URI" -d "$LAB_NAME" -l full -o "$set"
raced "$scratch/nbdpull-" 1 backup -c "$LAB_URI" -d "$LAB_NAME" -l full -o "$set" --scratch-dir "$scratch"
np_backup "$LAB_NAME" -l inc -o "$set" --require-bitmap # all was undone

# The directory of a private socket, and the socket.
raced run/nbdpull- 5 verify --image "$LAB_DIR/good/vda.qcow2" -d vda -i "$set" --until 1
behind=$victim/file
raced /nbd 5 verify --image "$LAB_DIR/good/vda.qcow2" -d vda -i "$set" --until 1
find "$XDG_RUNTIME_DIR" -mindepth 2 | grep -v '/nbd$' && lab_fail "left: more than the link"
exit 0
