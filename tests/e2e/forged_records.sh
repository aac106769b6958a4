#!/bin/bash
# Point records that were damaged or edited, and streams that changed places: what does not fit together is refused,
# and nothing that stands in them reaches a terminal or a file name.
# labs: embed
. "$(dirname "$0")/lab.sh"
lab_start

lab_domain "$LAB_NAME" vda:qcow2:1M vdb:qcow2:1M
lab_io "$LAB_NAME" vda "write -P 0x11 0 64k"
good=$LAB_DIR/good
np_backup "$LAB_NAME" -l full -o "$good"
lab_io "$LAB_NAME" vda "write -P 0x22 0 64k"
np_backup "$LAB_NAME" -l full -o "$good"
set=$LAB_DIR/set

fresh() { rm -rf "$set" && cp -a "$good" "$set"; }
# edit POINT FILTER: the record of a fresh set, as who does it by hand: without its checksum.
edit()
{
    fresh
    jq "del(.sum) | $2" "$good/points/$1.json" >"$set/points/$1.json" || lab_fail "jq $2"
}
# refused WHY PATTERN ARGUMENT...: as damage; no file is left.
refused()
{
    local why=$1 pattern=$2
    shift 2
    np 4 "$@"
    grep -qE "$pattern" "$NP_ERR" || lab_fail "$why: it says $(cat "$NP_ERR")"
    [ ! -e "$LAB_DIR/out" ] || lab_fail "$why: left $(ls -A "$LAB_DIR/out")"
}
restore=(restore -i "$set" -o "$LAB_DIR/out")

edit 0002 'del(.disks[1])'
refused "a record without a disk" 'vda.nbp.*0002 holds disk vdb' "${restore[@]}"
edit 0002 '.disks[1].stored = false'
refused "a record that does not store a disk" 'holds disk vdb' "${restore[@]}"
edit 0002 '.uuid = "00000000-0000-4000-8000-000000000001"'
refused "a record of another point" 'not a stream of point 0002' "${restore[@]}"
edit 0002 '.disks[0].digest = "00000000000000000000000000000001"'
refused "a record with another digest" '0002.vda.nbp: not the stream' "${restore[@]}"
# An increment would start from that checkpoint, whose bitmap knows of fewer writes.
edit 0002 '.disks[0].checkpoint = "nbdpull-000000000000-0009-00000000"'
refused "a record with another checkpoint" '0002.vda.nbp: not the stream' "${restore[@]}"
# --until would take it for an older point than it is.
edit 0002 '.time = "2020-01-01T00:00:00Z"'
refused "a record with another time" '0002.vda.nbp: not a stream of point 0002.*2020' "${restore[@]}" --until '2021-01-01 00:00'

# Streams that changed places, with sizes that fit: the map of another instant is no map either.
fresh
mv "$set/streams/0001.vda.nbp" "$set/x" && mv "$set/streams/0002.vda.nbp" "$set/streams/0001.vda.nbp" &&
    mv "$set/x" "$set/streams/0002.vda.nbp"
for point in 0001 0002; do
    size=$(stat -c %s "$set/streams/$point.vda.nbp")
    jq "del(.sum) | .disks[0].stream.size = $size" "$good/points/$point.json" >"$set/points/$point.json"
done
refused "streams that changed places" '0002.vda.nbp: not the stream of disk vda' "${restore[@]}"
refused "the map of another stream" 'vda.nbp: not the stream of disk vda' dump -i "$set" --map

# A disk that nobody knows is a mistake, not an empty map.
np_refuses 1 'vdz' dump -i "$good" --map -d vdz
np_refuses 1 'vdz' dump -i "$good/streams/0001.vda.nbp" -d vda,vdz

# A stream of a set holds one disk of its point: the others are named.
np 0 restore -i "$good/streams/0002.vda.nbp" -o "$LAB_DIR/out"
grep -q 'disk vdb .*in another stream' "$NP_ERR" || lab_fail "vdb is not named: $(cat "$NP_ERR")"
rm -r "$LAB_DIR/out"
"$NBDPULL" restore -i - -o "$LAB_DIR/out" <"$good/streams/0002.vda.nbp" 2>"$NP_ERR" || lab_fail "from a pipe: status $?"
grep -q 'disk vdb .*in another stream' "$NP_ERR" || lab_fail "vdb is not named: $(cat "$NP_ERR")"
rm -r "$LAB_DIR/out"

# Escape sequences and line breaks stay out of the table, and it stays inside 100 columns.
long=$(printf '%063d' 7)
edit 0002 '.checkpoint = "'"$(printf '%090d' 1)"'\u001b[1m" | .time = "\n\u001b[31mEVIL" | .level = "\u009b1m"
    | .disks[0].target = "'"$long"'" | .disks[1].stored = false | .disks[1].why = "\u001b]0;x\u0007\n'"$long$long"'"'
np 0 dump -i "$set"
grep -qP '[^\n -~]' "$NP_OUT" && lab_fail "control characters: $(cat -v "$NP_OUT")"
[ "$(wc -L <"$NP_OUT")" -le 100 ] || lab_fail "wider than 100 columns: $(cat "$NP_OUT")"
[ "$(wc -l <"$NP_OUT")" -eq 11 ] || lab_fail "a line was broken: $(cat "$NP_OUT")"
grep -q " $long\$" "$NP_OUT" || lab_fail "the long name was cut: $(cat "$NP_OUT")"

# Made under a umask that forbids everything, the directory is ours all the same.
(umask 0777 && "$NBDPULL" restore -i "$good" -o "$LAB_DIR/out" 2>"$NP_ERR") || lab_fail "umask 0777: $(cat "$NP_ERR")"
[ "$(stat -c %a "$LAB_DIR/out")" = 700 ] || lab_fail "the directory has mode $(stat -c %a "$LAB_DIR/out")"
