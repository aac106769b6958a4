#!/bin/bash
# intent.json and deferred.json are files like any other: written by an older version, damaged, changed by hand, or copied
# with the set while a run was at work. None of it stops the next run, and nothing that is not this set's is touched.
# labs: system
# cost: 15
. "$(dirname "$0")/lab.sh"
lab_start

raw=$LAB_DIR/content
lab_program_files 6M "$raw"
lab_filled "$LAB_NAME" vda qcow2 "$raw"
lab_domain "$LAB_NAME" vda:qcow2:6M vdb:raw:1M
set=$LAB_DIR/set scratch=$LAB_DIR/scratch
mkdir -m 711 "$scratch"
checkpoints() { lab_virsh checkpoint-list --name "$LAB_NAME" | grep . | sort; }
newest() { "$NBDPULL" dump -i "$set" --json | jq -r '.points[-1].checkpoint'; }
bitmaps()
{
    qemu-img info -U --output=json "$(lab_image "$LAB_NAME" vda)" |
        jq -r '."format-specific".data.bitmaps[]?.name' | sort
}

np_backup "$LAB_NAME" -l full -o "$set"
full=$(newest)

# A set that is copied while a run is at work has that run's intent: it is the original's, and goes on.
NP_SLOW=(--bwlimit 2M)
np_start_slow "$LAB_NAME" "$set" --scratch-dir "$scratch"
cp -a "$set" "$LAB_DIR/copy"
cp "$set/intent.json" "$LAB_DIR/intent"
NP_ERR=$LAB_DIR/tmp/copy.err
"$NBDPULL" backup -c "$LAB_URI" -d "$LAB_NAME" -l inc -o "$LAB_DIR/copy" 2>"$NP_ERR" </dev/null
[ $? -eq 7 ] || lab_fail "beside the original's run: $(cat "$NP_ERR")"
grep -q "warning: .*copy/intent.json.*left alone" "$NP_ERR" || lab_fail "it says: $(cat "$NP_ERR")"
np_wait 0
full=$(newest)
cp "$LAB_DIR/intent" "$LAB_DIR/copy/intent.json"
np_backup "$LAB_NAME" -l inc -o "$LAB_DIR/copy"
checkpoints | grep -q -x -F "$full" || lab_fail "the copy took a checkpoint of the original"
[ ! -e "$LAB_DIR/copy/intent.json" ] || lab_fail "the intent stays"
np 0 checkpoints -c "$LAB_URI" -d "$LAB_NAME" --remove
np_backup "$LAB_NAME" -l full -o "$set"

# intent JQ: an intent of this set, changed so.
home=$(newest | cut -d- -f2)
intent()
{
    jq --arg home "$home" 'del(.sum) | .point = "0090" | .home = $home | .checkpoint = "nbdpull-\($home)-0090-01234567" | '"$1" \
        "$LAB_DIR/intent" >"$set/intent.json" || lab_fail "intent $1"
}
goes_on()
{
    np_backup "$LAB_NAME" -l inc -i vda -o "$set" --require-bitmap
    [ ! -e "$set/intent.json" ] || lab_fail "$1: the intent stays"
}
said() { grep -q -E -e "$1" "$NP_ERR" || lab_fail "it says: $(cat "$NP_ERR"); no /$1/"; }

# Of an older version, of a newer one, of none.
intent 'del(.guest_ran, .freeze, .home)'
goes_on "a field less"
said "nothing of it was left"
intent '.more = [1]'
goes_on "a field more"
for text in '' '{"point": ' '{}' '[]' "$(head -c 100000 /dev/zero | tr '\0' x)"; do
    printf '%s' "$text" >"$set/intent.json"
    goes_on "no intent"
    said 'warning: .*intent.json'
done

# Checkpoints that are not this run's stay: somebody's, another set's, one that a point needs.
lab_virsh "checkpoint-create-as $LAB_NAME mine --diskspec vda,checkpoint=bitmap --diskspec vdb,checkpoint=no" >/dev/null ||
    lab_fail "no checkpoint of our own"
np_backup "$LAB_NAME" -l full -i vda -o "$LAB_DIR/other"
other=$("$NBDPULL" dump -i "$LAB_DIR/other" --json | jq -r '.points[-1].checkpoint')
for name in mine "$other" "$(newest)"; do
    intent ".checkpoint = \"$name\""
    echo "{\"checkpoints\": [{\"name\": \"$name\"}]}" >"$set/deferred.json"
    goes_on "checkpoint $name"
    [ ! -e "$set/deferred.json" ] || lab_fail "$name: deferred.json stays"
done
checkpoints | grep -q -x mine || lab_fail "somebody's checkpoint is gone"
checkpoints | grep -q -x -F "$other" || lab_fail "another set's checkpoint is gone"
echo '{"checkpoints": [' >"$set/deferred.json"
goes_on "no list"
said 'warning: .*deferred.json'

# A directory that is not a run's, and a job that is somebody else's.
mkdir "$LAB_DIR/nbdpull-scratch"
touch "$LAB_DIR/nbdpull-scratch/my.scratch"
intent ".work_dir = \"$LAB_DIR/nbdpull-scratch\" | .socket = \"$LAB_DIR/nbdpull-scratch/nbd.sock\""
goes_on "a directory"
[ -e "$LAB_DIR/nbdpull-scratch/my.scratch" ] || lab_fail "a foreign directory was removed"
echo "<domainbackup mode='pull'><server transport='unix' socket='/var/tmp/mine.sock'/><disks>
  <disk name='vda' backup='yes' type='file'><scratch file='/var/tmp/mine.scratch'/></disk><disk name='vdb' backup='no'/></disks></domainbackup>" >"$LAB_DIR/tmp/job.xml"
lab_virsh backup-begin "$LAB_NAME" "$LAB_DIR/tmp/job.xml" >/dev/null || lab_fail "no job of our own"
intent '.socket = "/var/tmp/mine.sock"'
np 7 backup -c "$LAB_URI" -d "$LAB_NAME" -l inc -o "$set"
lab_virsh backup-dumpxml "$LAB_NAME" | grep -q mine.sock || lab_fail "somebody's job was ended"
lab_virsh domjobabort "$LAB_NAME" >/dev/null
goes_on "a foreign job"

# The streams of a point whose record was lost: they are what it can be rebuilt from.
lost=$("$NBDPULL" dump -i "$set" --json | jq -r '.points[-1].id')
np_backup "$LAB_NAME" -l diff -i vda -o "$set"
mv "$set/points/$lost.json" "$LAB_DIR/tmp"
intent ".point = \"$lost\" | .checkpoint = \"nbdpull-$home-$lost-01234567\""
np_backup "$LAB_NAME" -l copy -i vda -o "$set"
[ -e "$set/streams/$lost.vda.nbp" ] || lab_fail "a stream without a record was removed"
mv "$LAB_DIR/tmp/$lost.json" "$set/points"

# A checkpoint that libvirt loses before the next run comes: its bitmap goes all the same.
lab_virsh "checkpoint-delete $LAB_NAME mine" >/dev/null
np 0 checkpoints -c "$LAB_URI" -d "$LAB_NAME" --remove
rm -rf "$set" "$LAB_DIR/other" "$LAB_DIR/copy"
np_backup "$LAB_NAME" -l full -o "$set"
np_start_slow "$LAB_NAME" "$set"
np_kill_both
lab_virsh destroy "$LAB_NAME" >/dev/null
lab_virsh "dumpxml $LAB_NAME" >"$LAB_DIR/tmp/domain.xml"
lab_virsh "undefine $LAB_NAME --checkpoints-metadata; define $LAB_DIR/tmp/domain.xml; start $LAB_NAME --paused" \
    >/dev/null || lab_fail "cannot define it again"
[ "$(bitmaps | wc -l)" -eq 2 ] || lab_fail "before: bitmaps $(bitmaps)"
np_backup "$LAB_NAME" -l inc -o "$set"
lab_virsh "destroy $LAB_NAME; start $LAB_NAME --paused" >/dev/null # so that the image tells
bitmaps | diff - <(checkpoints) || lab_fail "bitmaps and checkpoints differ"
exit 0
