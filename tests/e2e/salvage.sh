#!/bin/bash
# A damaged set is restored with --salvage: every byte is the guest's, or lies in a range that is listed; there stand
# zeroes, or what an older point had. Status 6 if anything is lost, 0 if the image is proven to be exact all the same.
# Without --salvage nothing damaged is used.
# labs: embed
. "$(dirname "$0")/lab.sh"
lab_need jq
lab_start

size=24M
raw=$LAB_DIR/content
lab_random 9M "$raw"
truncate -s $size "$raw"
lab_filled "$LAB_NAME" vda qcow2 "$raw"
lab_domain "$LAB_NAME" vda:qcow2:$size vdb:raw:2M
set=$LAB_DIR/set good=$LAB_DIR/good out=$LAB_DIR/out

lab_io "$LAB_NAME" vdb "write -P 0x66 100k 700k"
np_backup "$LAB_NAME" -l full -o "$set"
lab_truth "$LAB_NAME" vda "$LAB_DIR/truth.0001"
lab_io "$LAB_NAME" vda "write -P 0x21 1M 3M"
lab_io "$LAB_NAME" vda "discard 5M 1M"
lab_io "$LAB_NAME" vda "write -P 0x22 20M 200k"
np_backup "$LAB_NAME" -l inc -o "$set"
lab_truth "$LAB_NAME" vda "$LAB_DIR/truth.0002"
lab_io "$LAB_NAME" vda "write -P 0x31 2M 1M"
lab_io "$LAB_NAME" vda "write -P 0x32 12M 300k"
np_backup "$LAB_NAME" -l inc -o "$set"
lab_truth "$LAB_NAME" vda "$LAB_DIR/truth.0003"
lab_truth "$LAB_NAME" vdb "$LAB_DIR/truth.vdb"
cp -a "$set" "$good"

# ---- damage ----

fresh()
{
    rm -rf "$set" "$out"
    cp -a "$good" "$set"
}

# flip POINT AT: a byte of vda's stream
flip()
{
    local file=$set/streams/$1.vda.nbp byte
    byte=$(od -An -t u1 -j "$2" -N 1 "$file")
    printf '%b' "\\x$(printf %02x $((byte ^ 0x41)))" | dd of="$file" bs=1 seek="$2" conv=notrunc status=none
}

# record POINT OFFSET: where the record of vda's window at that guest byte lies
record()
{
    "$NBDPULL" dump -i "$good/streams/$1.vda.nbp" --map --json |
        python3 -c 'import json, sys
for row in json.load(sys.stdin)["map"]:
    if row["offset"] <= int(sys.argv[1]) < row["offset"] + row["length"]:
        print(row["pos"])
        break' "$(numfmt --from=iec "$2")"
}

# ---- what must be there ----

# piece FILE OFFSET LENGTH
piece()
{
    dd if="$1" iflag=skip_bytes,count_bytes bs=64k skip="$2" count="$3" status=none
}

# honest POINT HOW: the image is the disk of the point, but for what is listed; there it is what is said to be there
honest()
{
    local image=$out/vda.raw truth=$LAB_DIR/truth.$1 patched=$LAB_DIR/patched offset length kind instead rest
    cp "$image" "$patched"
    while read -r offset length kind instead rest; do
        case $kind in lost | possible) ;; *) lab_fail "a line of the list: $offset $length $kind $instead $rest" ;; esac
        case $instead in
        zeroes) piece /dev/zero 0 "$length" >"$LAB_DIR/wanted" ;;
        point-*) piece "$LAB_DIR/truth.${instead#point-}" "$offset" "$length" >"$LAB_DIR/wanted" ;;
        *) lab_fail "instead of $offset $length there is $instead" ;;
        esac
        [ "$2" = older ] || [ "$instead" = zeroes ] || lab_fail "older data where zeroes were asked for: $instead"
        piece "$image" "$offset" "$length" | cmp - "$LAB_DIR/wanted" || lab_fail "not $instead at $offset"
        piece "$truth" "$offset" "$length" |
            dd of="$patched" oflag=seek_bytes seek="$offset" conv=notrunc bs=64k status=none
    done < <(grep -v '^#' "$out/vda.losses")
    cmp "$patched" "$truth" || lab_fail "other bytes are wrong than those that are listed in $(cat "$out/vda.losses")"
}

# refused: an ordinary restore takes nothing of it
refused()
{
    np 4 restore -i "$set" -o "$out" --format raw "$@"
    [ ! -e "$out" ] || lab_fail "a restore of damaged data left $(ls -A "$out")"
}

# lossy POINT: with losses, both ways; @ what else is the list's
lossy()
{
    local how
    refused --until "$1"
    for how in zero older; do
        np 6 restore -i "$set" -o "$out" --format raw --until "$1" "--salvage=$how"
        grep -q "restored with losses: disk vda: .* listed in $out/vda.losses" "$NP_ERR" || lab_fail "told: $(cat "$NP_ERR")"
        honest "$1" $how
        cp "$out/vda.losses" "$LAB_DIR/losses.$how"
        rm -rf "$out"
    done
}

# exact POINT: nothing is lost; damage is told all the same. exact POINT good: there is none
exact()
{
    np 0 restore -i "$set" -o "$out" --format raw --until "$1" --salvage
    if [ "${2-}" = good ]; then
        [ ! -s "$NP_ERR" ] || lab_fail "told of good streams: $(cat "$NP_ERR")"
    else
        grep -q "disk vda: its streams are damaged, but the image is exact" "$NP_ERR" || lab_fail "told: $(cat "$NP_ERR")"
    fi
    cmp "$out/vda.raw" "$LAB_DIR/truth.$1" || lab_fail "another disk than that of point $1"
    [ ! -e "$out/vda.losses" ] || lab_fail "a list of losses, and status 0"
    rm -rf "$out"
}

fresh
exact 0003 good
exact 0002 good

# What costs nothing: of an increment's META there are two, and the last bytes of END are zeroes.
flip 0002 200
refused
exact 0003
exact 0001 good
fresh
truncate -s -16 "$set/streams/0001.vda.nbp"
refused
exact 0003
np 0 restore -i "$set" --salvage --dry-run --json -d vda
[ "$(jq -c '.disks[0] | [.exact, .damaged]' "$NP_OUT")" = "[true,true]" ] || lab_fail "JSON: $(cat "$NP_OUT")"
fresh
np 0 restore -i "$set" --salvage --dry-run --json -d vda
[ "$(jq -c '.disks[0] | [.exact, .damaged]' "$NP_OUT")" = "[true,false]" ] || lab_fail "JSON: $(cat "$NP_OUT")"

# A payload of the full that point 0002 replaced, and one that nobody did.
flip 0001 $(($(record 0001 2M) + 5000))
exact 0003
flip 0001 $(($(record 0001 7M) + 5000))
lossy 0003
[ "$(grep -cv '^#' "$LAB_DIR/losses.zero")" -eq 1 ] || lab_fail "more than one range: $(cat "$LAB_DIR/losses.zero")"
grep -q "^$((7 << 20)) $((1 << 20)) lost zeroes streams/0001.vda.nbp [0-9]*\$" "$LAB_DIR/losses.zero" ||
    lab_fail "not the window: $(cat "$LAB_DIR/losses.zero")"

# Of an increment: the older version is that of the full.
fresh
flip 0002 $(($(record 0002 1M) + 200))
lossy 0002
grep -q "^$((1 << 20)) .* lost point-0001 streams/0002.vda.nbp" "$LAB_DIR/losses.older" ||
    lab_fail "not the full's version: $(cat "$LAB_DIR/losses.older")"
lossy 0003

# The end is gone: with it END, DIR and index, which are made anew.
fresh
truncate -s -256 "$set/streams/0001.vda.nbp"
refused
exact 0003
fresh
truncate -s -3000 "$set/streams/0002.vda.nbp"
refused
np_status=0
"$NBDPULL" restore -i "$set" -o "$out" --format raw --salvage=older >/dev/null 2>&1 || np_status=$?
cmp "$out/vda.raw" "$LAB_DIR/truth.0003" || honest 0003 older
[ $np_status -eq 0 ] || [ -e "$out/vda.losses" ] || lab_fail "status $np_status and no list"

# Of a file there is no digest then: nothing may be lost, and who could say so?
fresh
truncate -s -3000 "$set/streams/0001.vda.nbp"
np 6 restore -i "$set/streams/0001.vda.nbp" -o "$out" --format raw --salvage
grep -q 'nothing proves it exact' "$NP_ERR" || lab_fail "told: $(cat "$NP_ERR")"
cmp "$out/vda.raw" "$LAB_DIR/truth.0001" || lab_fail "another disk than that of point 0001"
rm -rf "$out"
np 6 restore -i "$set/streams/0001.vda.nbp" --dry-run --salvage
np_said 'nothing proves it exact'

# A stream is missing, or half of it.
fresh
rm "$set/streams/0002.vda.nbp"
lossy 0003
grep -qx "# Nothing is left of $set/streams/0002.vda.nbp: the stream is missing" "$LAB_DIR/losses.zero" ||
    lab_fail "it is not named, or twice: $(head "$LAB_DIR/losses.zero")"
# Zeroes for all that it may have held are much, where the full before it is whole.
np 6 restore -i "$set" --dry-run --salvage
grep -q 'bytes may be lost, .*as zeroes; with --salvage=older as in point 0001,' "$NP_ERR" || lab_fail "told: $(cat "$NP_ERR")"
np 6 restore -i "$set" --dry-run --salvage=older
! grep -q 'as in point 0001' "$NP_ERR" || lab_fail "told who does so: $(cat "$NP_ERR")"
flip 0001 $(($(record 0001 7M) + 5000))
np 6 restore -i "$set" --dry-run --salvage
! grep -q 'as in point 0001' "$NP_ERR" || lab_fail "what is damaged is called whole: $(cat "$NP_ERR")"
fresh
rm "$set/streams/0001.vda.nbp"
lossy 0003
np 6 restore -i "$set" -o "$out" --format raw --salvage
grep -q 'disk vda: [1-9][0-9]* bytes may be lost, if what is missing held them, in ' "$NP_ERR" || lab_fail "told: $(cat "$NP_ERR")"
rm -r "$out"
fresh
truncate -s $(($(stat -c %s "$good/streams/0001.vda.nbp") / 2)) "$set/streams/0001.vda.nbp"
lossy 0003
fresh
truncate -s 0 "$set/streams/0001.vda.nbp" "$set/streams/0002.vda.nbp"
lossy 0003

# A point's record is lost, or does not name the disk.
for how in "has no record in the set" "has a record that does not name this disk"; do
    fresh
    case $how in
    *no*set) rm "$set/points/0002.json" ;;
    *) jq 'del(.sum) | del(.disks[] | select(.target == "vda"))' "$good/points/0002.json" >"$set/points/0002.json" ;;
    esac
    np 6 restore -i "$set" -o "$out" --format raw --until 0003 --salvage
    grep -q "# Point 0002, which these streams build on, $how" "$out/vda.losses" || lab_fail "told: $(head "$out/vda.losses")"
    honest 0003 zero
done

# Bytes are missing in the middle, others are there twice, a block is another disk's.
fresh
file=$set/streams/0001.vda.nbp
{ head -c 8000000 "$good/streams/0001.vda.nbp"; tail -c +8004097 "$good/streams/0001.vda.nbp"; } >"$file"
lossy 0003
fresh
{ head -c 8004096 "$good/streams/0001.vda.nbp"; tail -c +8000001 "$good/streams/0001.vda.nbp"; } >"$file"
lossy 0003
fresh
dd if="$set/streams/0001.vdb.nbp" of="$file" bs=4k count=1 seek=1900 conv=notrunc status=none
lossy 0003

# One stream in a file, and what is told.
np 6 restore -i "$file" -o "$out" --format raw --salvage --json
python3 - "$NP_OUT" "$out/vda.losses" <<'PY' || lab_fail "JSON: $(cat "$NP_OUT")"
import json, sys
told = json.load(open(sys.argv[1]))
disk = told["disks"][0]
ranges = [line.split() for line in open(sys.argv[2]) if not line.startswith("#")]
assert told["status"] == 6 and told["error"]["class"] == "losses" and disk["target"] == "vda" and not disk["exact"]
assert disk["losses"] == sys.argv[2] and disk["loss_ranges"] == len(ranges) == 1
assert disk["lost_bytes"] == sum(int(r[1]) for r in ranges) and disk["possible_bytes"] == 0
PY
rm -rf "$out"

# A dry run says so before, and writes nothing.
np 6 restore -i "$set" --dry-run --salvage
np_said 'would be restored with losses'

# The other disk is not concerned. A list that is there is not overwritten, nor is a restore that stands.
np 0 restore -i "$set" -o "$out" --format raw --salvage -d vdb
cmp "$out/vdb.raw" "$LAB_DIR/truth.vdb" || lab_fail "vdb differs"
np 1 restore -i "$set" -o "$out" --format raw --salvage -d vdb
: >"$out/vda.losses"
np 1 restore -i "$set" -o "$out" --format raw --salvage -d vda
np_said 'vda.losses exists'
[ ! -e "$out/vda.raw" ] || lab_fail "written beside another's list"
rm -rf "$out"

# Records: the newest point must not quietly become another one.
fresh
echo '{' >"$set/points/0003.json"
np 4 restore -i "$set" -o "$out" --salvage
grep -q 'record of point 0003.*repair' "$NP_ERR" || lab_fail "told: $(cat "$NP_ERR")"
np 4 restore -i "$set" -o "$out" --salvage --until 0003
np 4 restore -i "$set" -o "$out" --salvage --until "2099-01-01 00:00" # the last before it may be the one whose record is lost
np 1 restore -i "$set" -o "$out" --salvage --until 0009
grep -q "$set: no restore point \"0009\"; the newest of 2: 0002 " "$NP_ERR" || lab_fail "told: $(cat "$NP_ERR")"
np 0 restore -i "$set" -o "$out" --format raw --salvage --until 0002
cmp "$out/vda.raw" "$LAB_DIR/truth.0002" || lab_fail "another disk than that of point 0002"
rm -rf "$out"

# unread POINT STATUS ARGUMENT...: a salvage on a disk that fails at the point's record
unread()
{
    LD_PRELOAD=$NBDPULL_TAMPER TAMPER="eio points/$1.json 9" np "$2" restore -i "$set" -o "$out" --format raw --salvage "${@:3}"
}

# It may be good: it is not taken for lost, neither on the way nor in place of the newest.
fresh
unread 0002 1
grep -q '0002, whose record cannot be read' "$NP_ERR" || lab_fail "told: $(cat "$NP_ERR")"
unread 0002 1 --until 0002
grep -q 'record of point 0002.*cannot be read' "$NP_ERR" || lab_fail "told: $(cat "$NP_ERR")"
unread 0003 1
grep -q 'record of point 0003.*cannot be read' "$NP_ERR" || lab_fail "told: $(cat "$NP_ERR")"
[ ! -e "$out" ] || [ -z "$(ls -A "$out")" ] || lab_fail "left: $(ls -A "$out")"
unread 0002 0 --until 0001
cmp "$out/vda.raw" "$LAB_DIR/truth.0001" || lab_fail "another disk than that of point 0001"
rm -rf "$out"

# By a time the highest point that is not after it is meant, wherever the clock stood at others: 0003, not 0001.
fresh
for hour in 0001:10:00 0002:12:00 0003:09:30; do
    record=points/${hour%%:*}.json
    jq "del(.sum) | .time = \"2026-11-20T${hour#*:}:00Z\"" "$good/$record" >"$set/$record"
done
np 0 restore -i "$set" -o "$out" --format raw --salvage --until 2026-11-20T11:00Z
cmp "$out/vda.raw" "$LAB_DIR/truth.0003" || lab_fail "another disk than that of point 0003"
rm -rf "$out"
echo '{' >"$set/points/0003.json"
np 4 restore -i "$set" -o "$out" --salvage --until 2026-11-20T11:00Z
grep -q 'record of point 0003' "$NP_ERR" || lab_fail "told: $(cat "$NP_ERR")"

# Which of two records with one stream is the copy is not known, so none is taken, of whatever point.
fresh
jq 'del(.sum) | .id = "0004" | .disks[].stream.file |= sub("0003"; "0004")' "$set/points/0003.json" >"$set/points/0004.json"
np 4 restore -i "$set" -o "$out" --salvage --until 0001
grep -q 'same stream UUID' "$NP_ERR" || lab_fail "told: $(cat "$NP_ERR")"

# Nothing is left of the newest stream, which held nothing: the digest proves it.
fresh
np_backup "$LAB_NAME" -l inc -o "$set"
rm "$set/streams/0004.vda.nbp"
np 0 restore -i "$set" -o "$out" --format raw --salvage=older
cmp "$out/vda.raw" "$LAB_DIR/truth.0003" || lab_fail "another disk than that of point 0004"
rm -rf "$out"

np 2 restore -i - -o "$out" --salvage
np 2 restore -i "$set" -o "$out" --salvage=best
np 2 restore -i "$set" -o "$out" --salvage --verify

# Nothing is left of one disk: the others are there for who asks for them.
fresh
for file in "$set"/streams/*.vdb.nbp; do
    : >"$file"
done
np 4 restore -i "$set" -o "$out" --format raw --salvage
grep -q 'disk vdb: nothing of its .* can be used (-d takes other disks without it)' "$NP_ERR" || lab_fail "it says: $(cat "$NP_ERR")"
[ ! -e "$out" ] || lab_fail "something was restored"
np 0 restore -i "$set" -o "$out" --format raw --salvage -d vda
cmp "$out/vda.raw" "$LAB_DIR/truth.0003" || lab_fail "vda differs"
