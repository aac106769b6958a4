#!/bin/bash
# What verify, repair and restore --verify tell a person: how far was looked, how far work has come, what to do about damage.
# labs: embed
. "$(dirname "$0")/lab.sh"
lab_need jq script
lab_start

lab_random 4M "$LAB_DIR/content"
lab_filled "$LAB_NAME" vda qcow2 "$LAB_DIR/content"
lab_domain "$LAB_NAME" vda:qcow2:4M vdb:qcow2:1M
good=$LAB_DIR/good set=$LAB_DIR/set
lab_io "$LAB_NAME" vdb "write -P 0x77 0 64k"
np_backup "$LAB_NAME" -l full -o "$good"
lab_io "$LAB_NAME" vda "write -P 0x22 0 4M"
np_backup "$LAB_NAME" -l inc -o "$good"
fresh() { rm -rf "$set" && cp -a "$good" "$set"; }
# flip FILE AT: the byte there.
flip()
{
    local byte
    byte=$(od -An -t u1 -j "$2" -N 1 "$1")
    printf '%b' "\\x$(printf %02x $((byte ^ 0x41)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
# place POINT DISK: of the first DATA record.
place() { "$NBDPULL" dump -i "$good" --until "$1" -d "$2" --map --json | jq '[.map[] | select(.kind == "data")][0].pos'; }
has() { grep -qE -- "$1" "$NP_OUT" || lab_fail "not /$1/: $(cat "$NP_OUT" "$NP_ERR")"; }
lacks() { ! grep -qE -- "$1" "$NP_OUT" || lab_fail "/$1/: $(cat "$NP_OUT")"; }
# terminal COMMAND...: in a shell on a terminal; $NP_OUT has both outputs.
terminal()
{
    script -q -e -c "$*" /dev/null >"$NP_OUT" 2>"$NP_ERR" </dev/null || lab_fail "$*: $(cat "$NP_OUT")"
}

# ---- how far was looked, and in words for one ----

np 0 repair -i "$good"
has '^nothing to repair: .*no payload was read; "nbdpull verify" does'
terminal "'$NBDPULL' verify -i '$good' --quick"
has 'good: 0001-0002 \(no payload was read\)'
has ' 4 streams,'
terminal "'$NBDPULL' verify -i '$good'"
has 'good: 0001-0002.?$'
terminal "'$NBDPULL' verify -i '$good' --until 1 -d vdb"
has ' 1 stream,'
np_refuses 2 'there is 1 part of that size' verify -i "$good" --sample 100 --sample-part 2
for how in "" --deep; do
    terminal "cat '$good/streams/0001.vda.nbp' | '$NBDPULL' verify -i - $how"
    has '[0-9.]+ [KMG]?i?B/s'
done
terminal "'$NBDPULL' restore -i '$good' -o '$LAB_DIR/out' --verify"
has '^  verified: all images were read back'
rm -r "$LAB_DIR/out"
terminal "'$NBDPULL' restore -i '$good' -o '$LAB_DIR/out' -d vda"
lacks verified

# ---- what to do about damage ----

fresh
flip "$set/streams/0001.vda.nbp" $(($(place 0001 vda) + 2000)) # replaced whole by 0002
np 4 verify -i "$set"
has '^restore points good: 0002$'
has '^what to do: "nbdpull restore --until POINT" restores a good point exactly, with --salvage .*"nbdpull backup -l full" begins a new chain$'
lacks 'part [0-9]'
for part in 1 2; do # it is in one of them
    "$NBDPULL" verify -i "$set" --sample 50 --sample-part $part >"$LAB_DIR/said.$part" 2>/dev/null
done
[ "$(cat "$LAB_DIR"/said.? | grep -cE '^ *part [12] of 2: [0-9]+ of [0-9]+ payloads$')" = 1 ] || lab_fail "the part: $(cat "$LAB_DIR"/said.?)"
flip "$set/streams/0001.vdb.nbp" $(($(place 0001 vdb) + 130))
np 4 verify -i "$set"
has '^restore points affected by damage: 0001-0002$'
has '^what to do: "nbdpull restore --until POINT --salvage" .*"nbdpull backup -l full" begins a new chain$'
fresh
flip "$set/streams/0002.vda.nbp" $(($(place 0002 vda) + 8)) # a header
np 4 verify -i "$set" --quick
has '^restore points good: 0001 \(no payload was read\)$'
fresh
rm "$set/points/0001.json" # repair mends that, and what builds on it, and says so
np 4 verify -i "$set"
has 'nbdpull repair'
has 'streams/0002.vda.nbp builds on point 0001, .*; affects 0002'
lacks '^what to do'

# ---- one stream ----

stream=$LAB_DIR/one.nbp
cp "$good/streams/0001.vda.nbp" "$stream"
flip "$stream" $(($(place 0001 vda) + 2000))
np 4 verify -i "$stream"
has '^what to do: "nbdpull restore --salvage" takes what is left$'
"$NBDPULL" verify -i - <"$stream" >"$NP_OUT" 2>"$NP_ERR" # how that ends, verify_set says
has '^what to do: keep .* in a file; "nbdpull restore -i FILE --salvage"'
np_said 'standard input: damaged, and checking ended there'
