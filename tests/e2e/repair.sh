#!/bin/bash
# repair rebuilds lost and damaged records and set.json from the streams, sets aside what is of no use, deletes nothing
# and makes no point of what was never committed; then every point restores exactly and increments go on by bitmap.
# labs: embed
. "$(dirname "$0")/lab.sh"
lab_need jq
lab_start

lab_domain "$LAB_NAME" vda:qcow2:4M vdb:qcow2:1M
good=$LAB_DIR/good set=$LAB_DIR/set
lab_io "$LAB_NAME" vda "write -P 0x11 0 3M"
lab_io "$LAB_NAME" vdb "write -P 0x77 0 64k"
point()
{
    np_backup "$LAB_NAME" -l "$1" -o "$set" "${@:3}"
    lab_truth "$LAB_NAME" vda "$LAB_DIR/vda.$2" && lab_truth "$LAB_NAME" vdb "$LAB_DIR/vdb.$2"
}
point full 0001
lab_io "$LAB_NAME" vda "write -P 0x22 0 1M"
point inc 0002 --compress zstd:3
lab_io "$LAB_NAME" vda "write -z -u 1M 512k"
lab_io "$LAB_NAME" vdb "write -P 0x78 64k 64k"
point inc 0003

np 0 repair -i "$set"
grep -q "^nothing to repair: " "$NP_OUT" || lab_fail "a good set is repaired: $(cat "$NP_OUT")"
[ ! -e "$set/aside" ] || lab_fail "a good set got aside/"

# The set stays in place: a copy would not be where its checkpoints are looked for.
cp -a "$set" "$good"
fresh() { find "$set" -mindepth 1 -delete && cp -a "$good/." "$set"; }
records() { jq -S 'del(.sum, .disks[].stream.codec)' "$1"/points/*.json; }
same_records() { diff <(records "$good") <(records "$set") || lab_fail "$1: the records are not what they were"; }
restores()
{
    local what=$1 id
    shift
    for id in "$@"; do
        np 0 restore -i "$set" -o "$LAB_DIR/out" --until "$id" --format raw
        cmp "$LAB_DIR/out/vda.raw" "$LAB_DIR/vda.$id" && cmp "$LAB_DIR/out/vdb.raw" "$LAB_DIR/vdb.$id" ||
            lab_fail "$what: point $id differs"
        rm -r "$LAB_DIR/out"
    done
}
# has_all WHAT: every stream of the good set is in the set or in aside/, byte for byte.
has_all()
{
    local file
    for file in "$good"/streams/*; do
        cmp -s "$file" "$set/streams/${file##*/}" || cmp -s "$file" "$set/aside/${file##*/}" ||
            lab_fail "$1: ${file##*/} is gone"
    done
}

# ---- a record lost in the middle, one damaged, one that says something else ----
rm "$set/points/0002.json"
echo "{" >"$set/points/0003.json"
sed -i '/"sum"/d; s/"full"/"copy"/' "$set/points/0001.json"
np 4 dump -i "$set"
np 0 repair -i "$set" --dry-run --json
[ "$(jq -r '[.steps[] | .action] | join(" ")' "$NP_OUT")" = "aside rebuild rebuild aside rebuild" ] ||
    lab_fail "not the plan: $(cat "$NP_OUT")"
[ ! -e "$set/aside" ] && [ ! -e "$set/points/0002.json" ] || lab_fail "--dry-run did something"
np 0 repair -i "$set"
same_records "three records"
[ "$(cat "$set/aside/0003.json")" = "{" ] || lab_fail "the damaged record is not in aside/"
np 0 dump -i "$set"
np 0 verify -i "$set" --deep
restores "three records" 0001 0002 0003
np 0 repair -i "$set"
grep -q "^nothing to repair: " "$NP_OUT" || lab_fail "repaired twice: $(cat "$NP_OUT")"

# ---- all records and set.json ----
for damage in "rm set.json" "truncate -s 7 set.json"; do
    fresh
    rm "$set"/points/*
    (cd "$set" && $damage) || lab_fail "$damage"
    case $damage in rm*) failed=1 unchecked=5 ;; *) failed=4 unchecked=4 ;; esac
    for command in "$failed dump" "$unchecked verify" "$failed restore -o $LAB_DIR/out" "$failed restore -o $LAB_DIR/out --salvage" \
        "4 backup -c $LAB_URI -d $LAB_NAME -l inc" "4 estimate -c $LAB_URI -d $LAB_NAME"; do
        read -r status command rest <<<"$command"
        case $command in backup | estimate) where=-o ;; *) where=-i ;; esac
        # shellcheck disable=SC2086
        np "$status" $command $rest $where "$set"
        grep -q "set.json.*\"nbdpull repair -i $set\" rebuilds set.json from the streams" "$NP_OUT" "$NP_ERR" ||
            lab_fail "$damage, $command: nothing says what to do: $(cat "$NP_OUT" "$NP_ERR")"
    done
    np 0 repair -i "$set" --points 3
    same_records "$damage"
    [ "$(jq -r .uuid "$set/set.json")" = "$(jq -r .uuid "$good/set.json")" ] || lab_fail "$damage: another set"
    [ "$(jq -cS .domain "$set/set.json")" = "$(jq -cS .domain "$good/set.json")" ] || lab_fail "$damage: domain"
    [ "$(jq .committed "$set/set.json")" = 3 ] || lab_fail "$damage: committed is not 3"
    restores "$damage" 0001 0002 0003
done
lab_io "$LAB_NAME" vda "write -P 0x44 3M 64k"
point inc 0004 --json
[ "$(jq -r '[.disks[] | .level + .how] | join(" ")' "$NP_OUT")" = "incbitmap incbitmap" ] ||
    lab_fail "not an increment by bitmap: $(cat "$NP_OUT")"
restores "an increment after the repair" 0001 0002 0003 0004

# ---- the newest point without anything that shows it: only when asked ----
fresh
rm "$set"/points/0003.json
sed -i '/"sum"/d; s/"committed": 3/"committed": 2/' "$set/set.json"
np 0 repair -i "$set"
grep -q "^left .*points 0003" "$NP_OUT" || lab_fail "nothing is said of point 0003: $(cat "$NP_OUT")"
[ ! -e "$set/points/0003.json" ] || lab_fail "a point was made of what nothing shows to be one"
np 1 repair -i "$set" --points 7
np 2 repair -i "$set" --points ../3
np 0 repair -i "$set" --points 0003
same_records "asked for"

# ---- a disk that is lost ----
fresh
rm "$set/points/0002.json" "$set/streams/0002.vdb.nbp"
np 4 repair -i "$set"
grep -q "disk vdb has no stream" "$NP_OUT" || lab_fail "vdb is not missed: $(cat "$NP_OUT")"
[ ! -e "$set/points/0002.json" ] || lab_fail "a point without one of its disks"
restores "a lost disk" 0001
cp "$good/streams/0002.vdb.nbp" "$set/streams/"
np 0 repair -i "$set"
same_records "a disk that came back"

# ---- streams of no use: no END, of another point, of another set ----
fresh
rm "$set/points/0002.json"
truncate -s -16 "$set/streams/0002.vda.nbp"
np 4 repair -i "$set"
[ -e "$set/aside/0002.vda.nbp" ] || lab_fail "a stream without its end is not set aside"
grep -q "what is left of it stays in aside/" "$NP_OUT" || lab_fail "where it is, is not said: $(cat "$NP_OUT")"
cp "$good/points/0002.json" "$set/points/" # of a copy; then it is still good for a salvage
np 4 restore -i "$set" -o "$LAB_DIR/out" --until 2
grep -q "0002.vda.nbp: the stream is missing; a repair has moved it to aside/0002.vda.nbp" "$NP_ERR" || lab_fail "where it is, is not said: $(cat "$NP_ERR")"
mv "$set/aside/0002.vda.nbp" "$set/streams/"
np 0 restore -i "$set" -o "$LAB_DIR/out" --until 2 --salvage
rm -r "$LAB_DIR/out"
fresh
cp "$set/streams/0001.vda.nbp" "$set/streams/0002.vdc.nbp"
cp "$set/streams/0002.vda.nbp" "$set/streams/0001.vdz.nbp"
np 0 repair -i "$set"
[ -e "$set/aside/0002.vdc.nbp" ] && [ -e "$set/aside/0001.vdz.nbp" ] || lab_fail "foreign streams are not set aside"
has_all "foreign streams"
cp "$set/streams/0001.vda.nbp" "$set/streams/0002.vdc.nbp"
np 0 repair -i "$set"
[ -e "$set/aside/0002.vdc.nbp.2" ] || lab_fail "a name in aside/ was taken twice"
same_records "foreign streams"

# ---- links, pipes and directories where files belong ----
fresh
mkfifo "$set/streams/0001.vdc.nbp" && mkdir "$set/streams/0001.vdd.nbp" && rm "$set/points/0002.json"
ln -s /etc/passwd "$set/streams/0001.vde.nbp" && ln -s 0001.json "$set/points/0002.json"
np 0 repair -i "$set"
[ -p "$set/aside/0001.vdc.nbp" ] && [ -d "$set/aside/0001.vdd.nbp" ] && [ -L "$set/aside/0001.vde.nbp" ] &&
    [ -L "$set/aside/0002.json" ] || lab_fail "what is no file is not set aside: $(cat "$NP_OUT")"
same_records "links"

# ---- a copied point ----
fresh
cp "$set/streams/0003.vda.nbp" "$set/streams/0009.vda.nbp"
cp "$set/streams/0003.vdb.nbp" "$set/streams/0009.vdb.nbp"
sed '/"sum"/d; s/"0003"/"0009"/; s/0003\.vd/0009.vd/' "$set/points/0003.json" >"$set/points/0009.json"
np 4 dump -i "$set"
np 0 repair -i "$set"
[ -e "$set/aside/0009.json" ] && [ -e "$set/aside/0009.vdb.nbp" ] || lab_fail "the copy is not set aside"
same_records "a copy"
restores "a copy" 0003

# ---- a run that did not come to its end ----
fresh
rm "$set/points/0003.json"
sed -i '/"sum"/d; s/"committed": 3/"committed": 2/' "$set/set.json"
jq -n --argjson domain "$(jq .domain.uuid "$set/set.json")" '{point: "0003", checkpoint: null, home: null,
    uri: "test", $domain, socket: "/var/tmp/x/s", work_dir: "/var/tmp/x", started: "2026-11-20T03:00:00Z"}' \
    >"$set/intent.json"
np 0 repair -i "$set" --points 0003
grep -q "the next backup into the set takes back" "$NP_OUT" || lab_fail "nothing is said of the run: $(cat "$NP_OUT")"
[ ! -e "$set/points/0003.json" ] || lab_fail "what a run had begun became a point"
np 1 repair -i "$LAB_DIR/tmp"
np 2 repair
