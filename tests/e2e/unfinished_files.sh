#!/bin/bash
# What a killed restore leaves in its directory is named by the next one that comes there, in one line, and not while it still
# runs; what a killed backup or repair left in the set, the next of them removes. Files of other names are nobody's business.
# labs: embed
. "$(dirname "$0")/lab.sh"
lab_start

lab_random 3M "$LAB_DIR/content"
lab_filled "$LAB_NAME" vda qcow2 "$LAB_DIR/content"
lab_domain "$LAB_NAME" vda:qcow2:3M vdb:qcow2:1M
lab_io "$LAB_NAME" vdb "write -P 0x11 0 64k"
set=$LAB_DIR/set out=$LAB_DIR/out
np_backup "$LAB_NAME" -l full -o "$set"
stream=$set/streams/0001.vda.nbp

# ---- a restore's ----

unfinished() { find "$out" -name '.*.part' -size +1000; }
is_writing() { [ -n "$(unfinished)" ]; }
# held_restore: it has half of the stream, and waits for more.
held_restore()
{
    exec 9<>"$LAB_DIR/tmp/pipe"
    "$NBDPULL" restore -i - -o "$out" "$@" <"$LAB_DIR/tmp/pipe" >/dev/null 2>"$LAB_DIR/tmp/held.err" 9>&- &
    held=$!
    head -c $(($(stat -c %s "$stream") - 100000)) "$stream" >&9
    lab_eventually "the image is written" is_writing
}
mkfifo "$LAB_DIR/tmp/pipe"
mkdir "$out"
touch "$out"/.vda.qcow2.0123456.part "$out"/.vda.vmdk.01234567.part "$out"/.x.01234567.tmp "$out"/vdz.qcow2.01234567.part
mkdir "$out/.vda.raw.01234567.part"
ln -s /etc/passwd "$out/.vdb.raw.01234567.part"
find "$out" | sort >"$LAB_DIR/foreign"

# Beside one that runs, nothing is said.
held_restore
np 0 restore -i "$set" -o "$out" --disk vdb
grep -q warning "$NP_ERR" && lab_fail "beside a restore that runs: $(cat "$NP_ERR")"
rm "$out"/vdb.qcow2 "$out/$LAB_NAME".*
{ kill -9 $held && wait $held; } 2>/dev/null
left=$(unfinished)
np 0 restore -i "$set" -o "$out"
np_said "^nbdpull: warning: $left, [1-9][0-9]{5,6} bytes, was left by a restore that was killed; it can be removed"
lab_same "$out/vda.qcow2" "$LAB_DIR/content"
rm "$out"/vd?.qcow2 "$out/$LAB_NAME".*

# Of several, one line.
held_restore --format raw
{ kill -9 $held && wait $held; } 2>/dev/null
touch "$out/.$LAB_NAME.original.xml.0a1b2c3d.tmp" "$out/.vda.losses.0a1b2c3d.part"
np 0 restore -i "$set" -o "$out"
np_said "^nbdpull: warning: $out: 4 files, [1-9][0-9]{5,6} bytes, were left by restores that were killed; they can be removed: "
for name in ${left##*/} .vda.losses.0a1b2c3d.part ".$LAB_NAME.original.xml.0a1b2c3d.tmp" .vda.raw.; do
    grep -q -F -e "$name" "$NP_ERR" || lab_fail "$name is not named: $(cat "$NP_ERR")"
done
[ "$(unfinished | wc -l)" -eq 2 ] || lab_fail "they were removed: $(find "$out")"
rm "$out"/vd?.qcow2 "$out/$LAB_NAME".* "$out"/.vda.losses.0a* "$out/.$LAB_NAME".*
unfinished | xargs rm

# As it says: then nothing more is said.
np 0 restore -i "$set" -o "$out"
[ ! -s "$NP_ERR" ] || lab_fail "of foreign files: $(cat "$NP_ERR")"
rm "$out"/vd?.qcow2 "$out/$LAB_NAME".*
find "$out" | sort | diff "$LAB_DIR/foreign" - || lab_fail "foreign files went"

# ---- a set's ----

left_in_set() { echo "unfinished" | tee "$set/.set.json.01234567.tmp" "$set/points/.0002.json.89abcdef.tmp" \
    >"$set/config/0001/.domain.xml.01234567.tmp"; }
are_left() { find "$set" -type f -name '.*.tmp' -size +0 | wc -l; }
touch "$set/.foreign.tmp" "$set/points/.0001.json.1234567.tmp" "$set/points/.0001.json.0123456g.tmp" "$set/config/.a b.01234567.tmp"
mkdir "$set/.set.json.76543210.tmp" "$set/config/mine"
touch "$set/config/mine/.domain.xml.01234567.tmp"
ln -s ../set.json "$set/points/.0002.json.01234567.tmp"
left_in_set
rm "$set/lock"
find "$set" | sort >"$LAB_DIR/all"
for words in "repair --dry-run" verify dump; do
    # shellcheck disable=SC2086
    np 0 $words -i "$set"
    find "$set" | sort | diff "$LAB_DIR/all" - || lab_fail "$words changed the set"
done
np 0 repair -i "$set"
[ "$(are_left)" -eq 0 ] || lab_fail "after the repair: $(find "$set" -name '.*')"
[ "$(grep -c 'removed .*/\.[a-z0-9.]*\.tmp, which an interrupted run left' "$NP_ERR")" -eq 3 ] || lab_fail "it says: $(cat "$NP_ERR")"
left_in_set
np_backup "$LAB_NAME" -l full -o "$set"
[ "$(are_left)" -eq 0 ] || lab_fail "after the backup: $(find "$set" -name '.*')"
[ "$(find "$set" -name '.*' | wc -l)" -eq 7 ] || lab_fail "foreign files went: $(find "$set" -name '.*')"
