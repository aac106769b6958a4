#!/bin/bash
# verify names every damage of a set, and says of each point what a restore of it shows: good ones restore exactly,
# affected ones do not restore at all.
# labs: embed
. "$(dirname "$0")/lab.sh"
lab_need jq
lab_start

raw=$LAB_DIR/content
lab_random 3M "$raw"
truncate -s 4M "$raw"
lab_filled "$LAB_NAME" vda qcow2 "$raw"
lab_domain "$LAB_NAME" vda:qcow2:4M vdb:qcow2:1M
good=$LAB_DIR/good set=$LAB_DIR/set
lab_io "$LAB_NAME" vdb "write -P 0x77 0 64k"
point() { np_backup "$LAB_NAME" -l "$1" -o "$good" && lab_truth "$LAB_NAME" vda "$LAB_DIR/truth.$2"; }
point full 0001
lab_io "$LAB_NAME" vda "write -P 0x22 0 1M"
point inc 0002
lab_io "$LAB_NAME" vda "write -P 0x33 2M 64k" "write -z -u 1M 512k"
point inc 0003
lab_io "$LAB_NAME" vda "write -P 0x44 3M 64k"
point inc 0004

fresh() { rm -rf "$set" && cp -a "$good" "$set"; }
# flip FILE AT: the byte there.
flip()
{
    local byte
    byte=$(od -An -t u1 -j "$2" -N 1 "$1")
    printf '%b' "\\x$(printf %02x $((byte ^ 0x41)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
# pos POINT OFFSET [size]: of the record that holds that guest byte of vda in the point's own stream.
pos()
{
    "$NBDPULL" dump -i "$good" --until "$1" -d vda --map --json |
        jq "[.map[] | select(.kind == \"data\" and .offset <= $2 and .offset + .length > $2)][0].${3:-pos}"
}
# is WHAT STATES [ARGUMENT...]: verify finds damage and these states of the four points, restores prove each. "g" is
# good, "a" affected.
is()
{
    local what=$1 states=$2 point i=0 status
    shift 2
    np 4 verify -i "$set" --json "$@"
    cp "$NP_OUT" "$LAB_DIR/tmp/verify.json"
    [ "$(jq -r '[.points[].state[0:1]] | join("")' "$NP_OUT")" = "$states" ] ||
        lab_fail "$what: not $states: $(jq -c '.points,.damages' "$NP_OUT")"
    for point in 0001 0002 0003 0004; do
        status=0
        "$NBDPULL" restore -i "$set" -o "$LAB_DIR/out" --until $point -d vda --format raw 2>"$LAB_DIR/tmp/lab.err" >/dev/null || status=$?
        case ${states:i:1}$status in
        g0) cmp "$LAB_DIR/out/vda.raw" "$LAB_DIR/truth.$point" || lab_fail "$what: point $point is called good" ;;
        a4) [ ! -e "$LAB_DIR/out/vda.raw" ] || lab_fail "$what: point $point left an image" ;;
        *) lab_fail "$what: $point is ${states:i:1}, and restoring it ends with $status: $(cat "$LAB_DIR/tmp/lab.err")" ;;
        esac
        rm -rf "$LAB_DIR/out"
        i=$((i + 1))
    done
}
# told FILTER: of the damages that the last `is` found.
told() { jq -e "$1" "$LAB_DIR/tmp/verify.json" >/dev/null || lab_fail "not $1: $(jq -c .damages "$LAB_DIR/tmp/verify.json")"; }

# ---- good ----

fresh
for how in --quick "" --deep; do
    # shellcheck disable=SC2086
    np 0 verify -i "$set" $how --json
    [ "$(jq -r '[.points[].state] | unique | join(" ")' "$NP_OUT")" = good ] || lab_fail "$(cat "$NP_OUT")"
    [ "$(jq .streams "$NP_OUT")" = 8 ] || lab_fail "not all streams: $(cat "$NP_OUT")"
done
[ "$(jq .expanded_bytes "$NP_OUT")" -gt 3000000 ] || lab_fail "deep expands nothing"
np 0 verify -i "$set" --quick --json
[ "$(jq .read_bytes "$NP_OUT")" = 0 ] || lab_fail "quick reads payload"
np 0 verify -i "$set" --until 2 -d vda --json
[ "$(jq -r '.streams, (.points | length)' "$NP_OUT" | xargs)" = "2 1" ] || lab_fail "not only point 2: $(cat "$NP_OUT")"
chmod -R a-w "$set"
lab_remember
np 0 verify -i "$set" --deep
lab_unchanged "verify"
chmod -R u+w "$set"

# ---- payload: exactly the points that take it ----

fresh
flip "$set/streams/0001.vda.nbp" $(($(pos 0001 0) + 200000)) # overwritten whole by 0002
is "payload that 0002 replaces" aggg
told '.damaged == 1 and (.damages[0] | .file == "streams/0001.vda.nbp" and .disk == "vda" and .offset == 0 and .length == 1048576 and (.affects | join(" ")) == "0001")'
[ "$(jq '.damages[0].pos' "$LAB_DIR/tmp/verify.json")" = "$(pos 0001 0)" ] || lab_fail "another record"
np 4 verify -i "$set"
grep -q "0001.vda.nbp: record .*disk vda, guest bytes 0 to 1048575.*; affects 0001, not 0002-0004$" "$NP_OUT" || lab_fail "it says: $(cat "$NP_OUT")"
np 0 verify -i "$set" --quick # no payload
np 0 verify -i "$set" --until 0001 -d vdb
np 4 verify -i "$set" --until 0001

flip "$set/streams/0001.vda.nbp" $(($(pos 0001 2097152) + 200000)) # in part replaced by 0003: still needed
flip "$set/streams/0003.vda.nbp" $(($(pos 0003 2097152) + 150))
is "two damages more" aaaa
told '.damaged == 3 and ([.damages[] | .affects | join(" ")] | sort | join("; ")) == "0001; 0001 0002 0003 0004; 0003 0004"'
fresh
flip "$set/streams/0004.vda.nbp" $(($(pos 0004 3145728) + 150))
is "the newest" ggga
flip "$set/streams/0001.vdb.nbp" $(($(stat -c %s "$set/streams/0001.vdb.nbp") / 2))
np 4 verify -i "$set" -d vda
np 0 verify -i "$set" -d vda --until 3

# ---- streams ----

fresh
rm "$set/streams/0003.vda.nbp"
is "a missing stream" ggaa
fresh
truncate -s -1000 "$set/streams/0002.vda.nbp"
is "a truncated stream" gaaa
fresh
mv "$set/streams/0002.vda.nbp" "$set/x" && mv "$set/streams/0003.vda.nbp" "$set/streams/0002.vda.nbp" &&
    mv "$set/x" "$set/streams/0003.vda.nbp"
for id in 0002 0003; do
    size=$(stat -c %s "$set/streams/$id.vda.nbp")
    jq "del(.sum) | .disks[0].stream.size = $size" "$good/points/$id.json" >"$set/points/$id.json"
done
is "streams that changed places" gaaa --quick
fresh
np_backup "$LAB_NAME" -l copy -o "$LAB_DIR/other" -i vda
cp "$LAB_DIR/other/streams/0001.vda.nbp" "$set/streams/0003.vda.nbp"
size=$(stat -c %s "$set/streams/0003.vda.nbp")
jq "del(.sum) | .disks[0].stream.size = $size" "$good/points/0003.json" >"$set/points/0003.json"
is "a stream of another set" ggaa --quick

# ---- index, record, files ----

fresh
last=$(pos 0001 3145727)
leaf=$((last + $(pos 0001 3145727 size) + 96)) # behind the last DATA and a ZERO
flip "$set/streams/0001.vda.nbp" $((leaf + 150))
is "an index with good data" aaaa
told '.damaged == 1 and (.damages[0].message | test("INDEX"))'
flip "$set/streams/0001.vda.nbp" $((leaf + 50))
is "the header of an index" aaaa
told '.damaged == 1'
fresh
head -c 100 "$good/points/0003.json" >"$set/points/0003.json"
np 4 verify -i "$set" --json
[ "$(jq -r '[.points[] | .id, .state[0:1]] | join(" ")' "$NP_OUT")" = "0001 g 0002 g 0003 a 0004 a" ] || lab_fail "$(cat "$NP_OUT")"
jq -e '.damages[] | select(.file == "points/0003.json") | .affects == ["0003", "0004"]' "$NP_OUT" >/dev/null || lab_fail "the record: $(cat "$NP_OUT")"
np 4 verify -i "$set"
grep -q 'points/0003.json.*; affects 0003-0004, not 0001-0002$' "$NP_OUT" || lab_fail "the record: $(cat "$NP_OUT")"
grep -q '^restore points affected by damage: 0003-0004$' "$NP_OUT" || lab_fail "the points: $(cat "$NP_OUT")"
np 4 verify -i "$set" --until 2 --json
[ "$(jq -r '[.points[].id] | join(" ")' "$NP_OUT")" = 0002 ] || lab_fail "those that were not asked for: $(cat "$NP_OUT")"
# What ends it before a stream was looked at is told, and no point is called good.
np 4 verify -i "$set" --until 9
grep -q 'warning: .*no restore point "9"' "$NP_ERR" || lab_fail "the reason is not told: $(cat "$NP_ERR")"
grep -q 'restore points good' "$NP_OUT" && lab_fail "good without a look: $(cat "$NP_OUT")"
np 4 verify -i "$set" -d vdx --json
[ "$(jq -r '[.points[].state[0:1]] | join("")' "$NP_OUT")" = uuau ] || lab_fail "states without a look: $(cat "$NP_OUT")"
mv "$set/points/0003.json" "$LAB_DIR/0003.json" # as it says
rm "$set/points/0004.json"
np 4 verify -i "$set" --json
[ "$(jq -r '[.damages[].file] | join(" ")' "$NP_OUT")" = "points/0003.json points/0004.json" ] || lab_fail "lost: $(cat "$NP_OUT")"
[ "$(jq -r '[.points[].state[0:1]] | join("")' "$NP_OUT")" = ggaa ] || lab_fail "lost: $(cat "$NP_OUT")"
np_refuses 4 'points/000[34].json is lost' restore -i "$set" -o "$LAB_DIR/tmp/out"
np 0 restore -i "$set" -o "$LAB_DIR/tmp/out" --until 2 && rm -r "$LAB_DIR/tmp/out"
np 4 dump -i "$set"
grep -q '^0002 ' "$NP_OUT" || lab_fail "the good points are not listed: $(cat "$NP_OUT")"
rm "$set"/streams/000[34].*
np 0 verify -i "$set"
cp "$good/streams/0004.vda.nbp" "$set/streams/0005.vda.nbp" # as a run that was killed leaves it
np 0 verify -i "$set"
np_said 'streams/0005.vda.nbp belongs to no restore point'
fresh
rm "$set/points/0002.json"
np 4 verify -i "$set" --json
[ "$(jq -r '[.points[] | .id, .state[0:1]] | join(" ")' "$NP_OUT")" = "0001 g 0002 a 0003 a 0004 a" ] || lab_fail "$(cat "$NP_OUT")"

# ---- the sample comes past everything ----

fresh
np 0 verify -i "$set" --json
all=$(jq .payloads "$NP_OUT")
for percent in 40 25 12; do
    part=1 parts=9 sum=0
    while [ $part -le "$parts" ]; do
        np 0 verify -i "$set" --sample $percent --sample-part $part --json
        parts=$(jq .parts "$NP_OUT")
        sum=$((sum + $(jq .payloads_checked "$NP_OUT")))
        part=$((part + 1))
    done
    [ "$sum" = "$all" ] || lab_fail "$parts parts check $sum of $all payloads"
    np 2 verify -i "$set" --sample $percent --sample-part $part
done
np 0 verify -i "$set" --sample 25
np_said '^nbdpull: part [1-4] of 4 of the payloads$'

# ---- could not check, and what is none ----

preload() { LD_PRELOAD=$NBDPULL_TAMPER TAMPER="$1" np "${@:2}"; }
preload "eio 0001.vda.nbp $(($(pos 0001 0) + 2000))" 5 verify -i "$set" --json
[ "$(jq -r '[.points[].state[0:1]] | join("")' "$NP_OUT")" = uggg ] || lab_fail "EIO: $(cat "$NP_OUT")"
[ "$(jq -r '.error.class, .unchecked, .damaged' "$NP_OUT" | xargs)" = "unchecked 1 0" ] || lab_fail "EIO: $(cat "$NP_OUT")"
flip "$set/streams/0004.vda.nbp" $(($(pos 0004 3145728) + 150))
preload "eio 0001.vda.nbp $(($(pos 0001 0) + 2000))" 4 verify -i "$set"
np 5 verify -i "$LAB_DIR/nothing"
np 5 verify -i "$set" --until 9
np 5 verify -i "$set" --until 9 --json
[ "$(jq -r '[.points[].state[0:1]] | join("")' "$NP_OUT")" = uuuu ] || lab_fail "states without a look: $(cat "$NP_OUT")"
np 5 verify -i "$set" -d vdx

# ---- one stream: a file, a pipe ----

stream=$LAB_DIR/one.nbp
cp "$good/streams/0001.vda.nbp" "$stream"
np 0 verify -i "$stream" --deep
np 0 verify -i "$good/streams/0003.vda.nbp" # what it builds on is not looked for
for how in "" --deep; do
    # shellcheck disable=SC2086
    "$NBDPULL" verify -i - $how <"$stream" || lab_fail "a good pipe $how"
done
flip "$stream" $(($(pos 0001 0) + 200000))
np 4 verify -i "$stream"
grep -q 'one.nbp: record .*guest bytes 0 to 1048575' "$NP_OUT" || lab_fail "it says: $(cat "$NP_OUT")"
for how in "" --deep; do
    status=0
    # shellcheck disable=SC2086
    "$NBDPULL" verify -i - $how <"$stream" >"$LAB_DIR/tmp/said" 2>&1 || status=$?
    [ $status -eq 4 ] || lab_fail "a damaged pipe $how: $status"
    grep -q 'disk vda, guest bytes 0 to 1048575' "$LAB_DIR/tmp/said" || lab_fail "it says: $(cat "$LAB_DIR/tmp/said")"
done
status=0
head -c 100000 "$good/streams/0001.vda.nbp" | "$NBDPULL" verify -i - >/dev/null 2>&1 || status=$?
[ $status -eq 4 ] || lab_fail "half a pipe: $status"
# Damage before it is known what there is: of a file as of a pipe.
for damage in "head -c 100000 $good/streams/0001.vda.nbp" "cat $LAB_DIR/tmp/no_meta"; do
    { head -c 4096 /dev/zero && tail -c +4097 "$good/streams/0001.vda.nbp"; } >"$LAB_DIR/tmp/no_meta"
    $damage >"$LAB_DIR/tmp/half.nbp"
    for how in "-i $LAB_DIR/tmp/half.nbp" "-i -"; do
        status=0
        # shellcheck disable=SC2086
        "$NBDPULL" verify $how --json <"$LAB_DIR/tmp/half.nbp" >"$NP_OUT" 2>"$NP_ERR" || status=$?
        [ $status -eq 4 ] && [ "$(jq '.damaged, (.damages | length)' "$NP_OUT" | xargs)" = "1 1" ] || lab_fail "$damage, $how: status $status, $(cat "$NP_OUT")"
    done
    np 4 verify -i "$LAB_DIR/tmp/half.nbp"
    grep -q '^damaged: .*half.nbp: .*; affects all that is in it$' "$NP_OUT" || lab_fail "$damage: $(cat "$NP_OUT" "$NP_ERR")"
done
