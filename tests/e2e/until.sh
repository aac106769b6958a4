#!/bin/bash
# Restore of any point of a tree: by id, checkpoint, time or "latest", each exact; superseded data is never read; a
# link that is missing, foreign, doubled or damaged is named with the points that are still good.
# labs: system embed
# long labs: embed
. "$(dirname "$0")/lab.sh"
lab_start

set=$LAB_DIR/set
lab_domain "$LAB_NAME" vda:qcow2:8M vdb:qcow2:2M
truth() { lab_truth "$LAB_NAME" vda "$LAB_DIR/tmp/$1"; }

# 0001 full, 0002 inc, 0003 diff, 0004 inc on 0002, 0005 a second full, 0006 inc on it. All rewrite the same 4 MiB.
lab_random 4M "$LAB_DIR/noise"
point=0
for level in full inc diff inc full inc; do
    point=$((point + 1))
    lab_io "$LAB_NAME" vda "write -s $LAB_DIR/noise 1M 4M" "write -P 0x3$point 6M 64k"
    lab_random 4M "$LAB_DIR/noise"
    truth $point
    np_backup "$LAB_NAME" -l $level -o "$set"
    id[point]=000$point
    then=$EPOCHSECONDS # points are told apart by the second
    lab_eventually "the next second" eval '[ $EPOCHSECONDS -gt $then ]'
done
"$NBDPULL" dump -i "$set" --json >"$LAB_DIR/dump"
parents=$(jq -r '[.points[].disks[0] | .parent // "-"] | join(" ")' "$LAB_DIR/dump")
[ "$parents" = "- 0001 0002 0002 - 0005" ] || lab_fail "parents: $parents"

# is POINT UNTIL: that names this point.
is()
{
    np 0 restore -i "$set" -o "$LAB_DIR/out" --until "$2" -d vda --format raw --json
    [ "$(jq -r .point "$NP_OUT")" = "000$1" ] || lab_fail "--until $2: $(cat "$NP_OUT")"
    lab_same "$LAB_DIR/out/vda.raw" "$LAB_DIR/tmp/$1"
    rm -rf "$LAB_DIR/out"
}
for point in 1 2 3 4 5 6; do
    is $point "${id[point]}"
    checkpoint=$(jq -r ".points[$((point - 1))].checkpoint // \"\"" "$LAB_DIR/dump")
    [ -z "$checkpoint" ] || is $point "$checkpoint"
    time=$(jq -r ".points[$((point - 1))].time" "$LAB_DIR/dump")
    is $point "$time"
    is $point "$(TZ=UTC date -d "$time" '+%Y-%m-%d %H:%M:%S+00:00')"
done
is 6 latest
is 6 2999-01-01T00:00Z
export TZ=UTC-3
is 2 "$(date -d "$(jq -r '.points[1].time' "$LAB_DIR/dump")" '+%Y-%m-%d %H:%M:%S')"
unset TZ
np_refuses 1 'as old.*0001' restore -i "$set" -o "$LAB_DIR/out" --until 2020-01-01T00:00
for unknown in 0007 7 latesst nbdpull-x '2026-13-01 00:00'; do
    np_refuses 1 'no restore point|until' restore -i "$set" -o "$LAB_DIR/out" --until "$unknown"
done

# What was superseded is neither planned nor read: about 4 MiB, not 12, whatever the chain holds.
np 0 restore -i "$set" -o "$LAB_DIR/out" --until 4 -d vda --dry-run --json
planned=$(jq -r '.disks[0] | "\(.streams) \(.read_bytes) \(.data_bytes)"' "$NP_OUT")
read -r streams bytes data <<<"$planned"
[ "$streams" -eq 3 ] && [ "$bytes" -gt $((4 << 20)) ] && [ "$bytes" -lt $((45 << 17)) ] || lab_fail "planned: $planned"
[ ! -e "$LAB_DIR/out" ] || lab_fail "a dry run made $LAB_DIR/out"
np 0 restore -i "$set" -o "$LAB_DIR/out" --until 4 -d vda --format raw --json
[ "$(jq -r '.disks[0] | "\(.read_bytes) \(.data_bytes)"' "$NP_OUT")" = "$bytes $data" ] || lab_fail "$(cat "$NP_OUT")"
rm -rf "$LAB_DIR/out"
# It may even be damaged: the middle of the first full's payload.
cp -r "$set" "$LAB_DIR/bad"
printf 'damage' | dd of="$LAB_DIR/bad/streams/0001.vda.nbp" bs=1 seek=$((2 << 20)) conv=notrunc status=none
np 0 restore -i "$LAB_DIR/bad" -o "$LAB_DIR/out" --until 4 -d vda --format raw
lab_same "$LAB_DIR/out/vda.raw" "$LAB_DIR/tmp/4"
rm -rf "$LAB_DIR/out"

# bad PATTERN UNTIL: such a restore fails, leaves nothing, and says what is not known to be damaged: no data are read for that.
bad()
{
    np_refuses 4 "$1" restore -i "$LAB_DIR/bad" -o "$LAB_DIR/out" --until "$2"
    [ -z "$(find "$LAB_DIR/out" -type f 2>/dev/null)" ] || lab_fail "$1: something was restored"
    rm -rf "$LAB_DIR/bad"
    cp -r "$set" "$LAB_DIR/bad"
}
bad '0001.vda.nbp.*not known to be damaged.*: 0006, 0005; --salvage takes what is left' 1
rm "$LAB_DIR/bad/streams/0002.vda.nbp"
bad '0002.vda.nbp.*not known to be damaged.*: 0006, 0005, 0001; --salvage takes what is left' 4
rm "$LAB_DIR/bad/streams/0005.vdb.nbp"
bad '0005.vdb.nbp.*not known to be damaged.*: 0004, 0003, 0002, 0001; --salvage takes what is left' latest
rm "$LAB_DIR/bad/points/0002.json"
bad '0002.*no record.*not known to be damaged.*: 0006, 0005, 0001; --salvage takes what is left' 3
truncate -s -1 "$LAB_DIR/bad/streams/0004.vda.nbp"
bad '0004.vda.nbp.*not known to be damaged.*: 0006, 0005, 0003, 0002, 0001; --salvage takes what is left' 4
cp "$LAB_DIR/bad/streams/0005.vda.nbp" "$LAB_DIR/bad/streams/0001.vda.nbp" # of another point
bad '0001.vda.nbp.*not known to be damaged.*: 0006, 0005; --salvage takes what is left' 2
np_backup "$LAB_NAME" -l full -o "$LAB_DIR/other"
cp "$LAB_DIR/other/streams/0001.vda.nbp" "$LAB_DIR/bad/streams/" # of another set
bad '0001.vda.nbp.*not known to be damaged.*: 0006, 0005; --salvage takes what is left' 4
sed '/"sum"/d; s/"0002"/"0007"/g; s/0002\.vd/0007.vd/' "$set/points/0002.json" >"$LAB_DIR/bad/points/0007.json" # twice
cp "$LAB_DIR/bad/streams/0002.vda.nbp" "$LAB_DIR/bad/streams/0007.vda.nbp"
cp "$LAB_DIR/bad/streams/0002.vdb.nbp" "$LAB_DIR/bad/streams/0007.vdb.nbp"
bad '(0002.*0007|0007.*0002).*all other points' latest
echo '{' >"$LAB_DIR/bad/points/0005.json"
bad '0005.json.*before 0005' latest

# Names and times of files mean nothing: a copy with new times, in another order, is the same.
for file in 0006 0003 0001 0005 0002 0004; do
    touch "$LAB_DIR/bad/streams/$file".* "$LAB_DIR/bad/points/$file".json
    sleep 0.02
done
np 0 restore -i "$LAB_DIR/bad" -o "$LAB_DIR/out" --until 4 -d vda --format raw
lab_same "$LAB_DIR/out/vda.raw" "$LAB_DIR/tmp/4"
exit 0
