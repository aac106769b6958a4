#!/bin/bash
# verify tells the same damages in the same order whichever worker was faster, and its JSON has what the messages have: of a
# set, a file, a pipe and an image.
# labs: embed
. "$(dirname "$0")/lab.sh"
lab_need jq
lab_start

lab_random 16M "$LAB_DIR/content"
lab_filled "$LAB_NAME" vda qcow2 "$LAB_DIR/content"
lab_domain "$LAB_NAME" vda:qcow2:16M vdb:qcow2:1M
good=$LAB_DIR/good set=$LAB_DIR/set
np_backup "$LAB_NAME" -l full -o "$good"
fresh() { rm -rf "$set" && cp -a "$good" "$set"; }
# flip FILE AT: the byte there.
flip()
{
    local byte
    byte=$(od -An -t u1 -j "$2" -N 1 "$1")
    printf '%b' "\\x$(printf %02x $((byte ^ 0x41)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
# places FILE: of its DATA records.
places() { "$NBDPULL" dump -i "$1" -d vda --map --json | jq '.map[] | select(.kind == "data") | .pos'; }
json() { jq -e "$1" "$NP_OUT" >/dev/null || lab_fail "not $1: $(cat "$NP_OUT")"; }
# pipe FILE ARGUMENT...: it is damaged.
pipe()
{
    local file=$1 status=0
    shift
    "$NBDPULL" verify -i - --json "$@" <"$file" >"$NP_OUT" 2>"$NP_ERR" || status=$?
    [ $status -eq 4 ] || lab_fail "a pipe, $*: status $status: $(cat "$NP_OUT" "$NP_ERR")"
}

# ---- the order ----

fresh
places=$(places "$good")
[ "$(echo "$places" | wc -l)" -eq 16 ] || lab_fail "not 16 records: $places"
for pos in $places; do flip "$set/streams/0001.vda.nbp" $((pos + 2000)); done
for _ in $(seq 12); do
    np 4 verify -i "$set" -w 8
    [ ! -e "$LAB_DIR/first" ] || diff "$NP_OUT" "$LAB_DIR/first" || lab_fail "another order"
    cp "$NP_OUT" "$LAB_DIR/first"
    np 4 verify -i "$set" -w 8 --json
    [ "$(jq '.damages[].pos' "$NP_OUT" | xargs)" = "$(echo "$places" | xargs)" ] || lab_fail "not by position: $(jq -c '[.damages[].pos]' "$NP_OUT")"
done

# ---- set.json ----

fresh
truncate -s 7 "$set/set.json"
np 4 verify -i "$set" --json
json '.damages | length == 1 and .[0].file == "set.json"'

# ---- a pipe as a file ----

stream=$LAB_DIR/one.nbp
cp "$good/streams/0001.vda.nbp" "$stream"
third=$(echo "$places" | sed -n 3p)
flip "$stream" $((third + 2000))
np 4 verify -i "$stream" --json
json ".damages[0].pos == $third and .damages[0].record == 3 and .damages[0].length == 1048576"
of_file=$(jq -c '.damages[0] | del(.message, .file)' "$NP_OUT")
for how in "" --deep; do
    # shellcheck disable=SC2086
    pipe "$stream" $how
    [ "$(jq -c '.damages[0] | del(.message, .file)' "$NP_OUT")" = "$of_file" ] || lab_fail "of a pipe $how: $(jq -c '.damages' "$NP_OUT"), of a file: $of_file"
    json '.damages[0].file == "-"'
done
head -c $((third + 5000)) "$good/streams/0001.vda.nbp" >"$LAB_DIR/cut.nbp"
pipe "$LAB_DIR/cut.nbp"
json ".damages[0].pos == $third and .damages[0].record == 3"
{ head -c "$third" "$stream" && head -c 96 /dev/zero && tail -c +$((third + 97)) "$stream"; } >"$LAB_DIR/cut.nbp"
pipe "$LAB_DIR/cut.nbp"
json ".damages[0].pos == $third"

# ---- a copy, which has no id ----

"$NBDPULL" backup -c "$LAB_URI" -d "$LAB_NAME" -l copy -i vda -o - >"$LAB_DIR/copy.nbp" 2>"$NP_ERR" || lab_fail "$(cat "$NP_ERR")"
flip "$LAB_DIR/copy.nbp" $(($(places "$LAB_DIR/copy.nbp" | head -n 1) + 2000))
np 4 verify -i "$LAB_DIR/copy.nbp" --json
json '.points[0].id == null and .damages[0].affects == [null]'

# ---- an image ----

np 0 restore -i "$good" -o "$LAB_DIR/raw" -d vda --format raw
flip "$LAB_DIR/raw/vda.raw" 5000000
np 4 verify -i "$good" --image "$LAB_DIR/raw/vda.raw" -d vda --json
json '.damages[0].offset == .error.offset and .damages[0].offset <= 5000000 and .damages[0].offset + .damages[0].length > 5000000'
