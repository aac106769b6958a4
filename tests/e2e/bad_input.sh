#!/bin/bash
# What a user gets wrong: one clear line, the documented status, and nothing changed.
# labs: system embed
# long labs: embed
. "$(dirname "$0")/lab.sh"
lab_start

set=$LAB_DIR/set
lab_domain "$LAB_NAME" vda:qcow2:4M sda:cdrom
lab_domain "$LAB_NAME-other" vda:qcow2:4M
lab_io "$LAB_NAME" vda "write -P 0x11 1M 1M"
np_backup "$LAB_NAME" -l full -o "$set"

# refused STATUS PATTERN [ARGUMENT...]: a full of the domain into a new set, with arguments that change it.
refused()
{
    local status=$1 pattern=$2
    shift 2
    np_refuses "$status" "$pattern" backup -c "$LAB_URI" -d "$LAB_NAME" -l full -o "$LAB_DIR/new" "$@"
}

# The command line.
np_refuses 2 'usage|command' # no command at all
np_refuses 2 'bakcup' bakcup
np_refuses 2 'domain|-d' backup -c "$LAB_URI" -l full -o "$LAB_DIR/new"
np_refuses 2 '-o|set' backup -c "$LAB_URI" -d "$LAB_NAME" -l full
np_refuses 2 'no-such-option' backup --no-such-option
np_refuses 2 'half' backup -c "$LAB_URI" -d "$LAB_NAME" -l half -o "$LAB_DIR/new"
refused 2 'bzip2.*lz4' --compress bzip2
refused 2 'zstd' --compress zstd:99
refused 2 'lz4' --compress lz4:x
refused 2 'w' -w 0
refused 2 'many' -w many
refused 2 '\+2' -w +2
np_refuses 2 'cluster-size.*0' restore -i "$set" -o "$LAB_DIR/new" --cluster-size 0
np_refuses 2 'sample.*0' verify -i "$set" --sample 0
np_refuses 2 'sample-part.*0' verify -i "$set" --sample 10 --sample-part 0
np_refuses 2 '-i|set' restore -o "$LAB_DIR/new"
np_refuses 2 'vmdk' restore -i "$set" -o "$LAB_DIR/new" --format vmdk
np_refuses 2 '-i|set' dump

# Domains and libvirt.
np_refuses 1 'nosuchdomain' backup -c "$LAB_URI" -d nosuchdomain -l full -o "$LAB_DIR/new"
np_refuses 1 'nowhere' backup -c 'nowhere:///system' -d "$LAB_NAME" -l full -o "$LAB_DIR/new"
np_refuses 1 'remote' backup -c 'qemu+ssh://root@host.invalid/system' -d "$LAB_NAME" -l full -o "$LAB_DIR/new"
np_refuses 1 'remote' backup -c 'qemu://host.invalid/system' -d "$LAB_NAME" -l full -o "$LAB_DIR/new"
# Its password is in no message, whatever was wrong.
uri='qemu+ssh://root:hidden@host.invalid/system'
np_refuses 1 'root:\*\*\*@host.invalid' backup -c "$uri" -d "$LAB_NAME" -l full -o "$set"
np_refuses 2 'root:\*\*\*@host.invalid' backup "$uri" -d "$LAB_NAME" -l full -o "$set"
np_refuses 2 'root:\*\*\*@host.invalid' backup --conect="$uri" -d "$LAB_NAME" -l full -o "$set"
np_refuses 2 'root:\*\*\*@host.invalid' "$uri"
grep -r -F hidden "$set" "$LAB_DIR/tmp" && lab_fail "its password is there"
if [ "$LAB_KIND" = embed ] && [ "$LAB_ISOLATED" = yes ]; then
    np_refuses 1 'libvirt' backup -c qemu:///system -d "$LAB_NAME" -l full -o "$LAB_DIR/new"
fi

# Disks.
refused 1 'vdz.*vda' -i vdz
refused 1 'vdz' -x vdz
refused 1 'sda.*(cd-?rom|empty)' -i sda
refused 1 'disk' -x vda

# Sets.
mkdir "$LAB_DIR/full"
echo hello >"$LAB_DIR/full/diary.txt"
refused 1 "$LAB_DIR/full.*(empty|set)" -o "$LAB_DIR/full"
refused 1 "$LAB_DIR/full/diary.txt" -o "$LAB_DIR/full/diary.txt"
np_refuses 1 "$LAB_NAME" backup -c "$LAB_URI" -d "$LAB_NAME-other" -l full -o "$set"
refused 1 'missing' -o "$LAB_DIR/missing/parent/set"
np_refuses 1 "$LAB_DIR/nothing" restore -i "$LAB_DIR/nothing" -o "$LAB_DIR/new"
np_refuses 1 "$LAB_DIR/nothing" dump -i "$LAB_DIR/nothing"
: >"$LAB_DIR/full/empty"
for file in "$LAB_DIR/full/diary.txt" /etc/passwd "$LAB_DIR/full/empty"; do # the first is shorter than any stream
    what="$file: this is not an nbdpull stream"
    [ -s "$file" ] || what="$file: 0 bytes cannot be a whole stream: it is truncated"
    np_refuses 4 "$what" dump -i "$file"
    np_refuses 4 "$what" restore -i "$file" -o "$LAB_DIR/new"
    np 4 verify -i "$file"
    grep -q -F "damaged: $what" "$NP_OUT" || lab_fail "verify says: $(cat "$NP_OUT")"
done
"$NBDPULL" verify -i - </etc/passwd >"$NP_OUT" 2>&1
[ $? -eq 4 ] && grep -q 'byte 0: this is not an nbdpull stream, or its beginning is damaged' "$NP_OUT" || lab_fail "$(cat "$NP_OUT")"
# What is no stream at all has nothing to be salvaged; what is damaged has.
head -c 300000 /dev/zero >>"$LAB_DIR/full/diary.txt"
np_refuses 4 'diary' restore -i "$LAB_DIR/full/diary.txt" -o "$LAB_DIR/new"
grep -q salvage "$NP_ERR" && lab_fail "a hint of --salvage: $(cat "$NP_ERR")"
stream=$set/streams/0001.vda.nbp
for part in "head -c -10" "tail -c +70"; do
    $part "$stream" >"$LAB_DIR/full/part.nbp"
    np_refuses 4 'part.nbp.*--salvage' restore -i "$LAB_DIR/full/part.nbp" -o "$LAB_DIR/new"
done
np_refuses 1 "$LAB_DIR/full" restore -i "$LAB_DIR/full" -o "$LAB_DIR/new"

# A set, or a point, of a later version of the program.
cp -r "$set" "$LAB_DIR/later"
sed -i -E '/"sum"/d; s/("[a-z_]*version" *: *)[0-9]+/\1999/' "$LAB_DIR/later/set.json"
cmp -s "$set/set.json" "$LAB_DIR/later/set.json" && lab_fail "no version in set.json"
refused 1 'version|newer' -o "$LAB_DIR/later"
np_refuses 1 'version|newer' restore -i "$LAB_DIR/later" -o "$LAB_DIR/new"

# --json prints a document for a failure too.
np 1 backup -c "$LAB_URI" -d nosuchdomain -l full -o "$LAB_DIR/new" --json
jq -e '(.status | type == "number" or type == "string") and (.error | has("class") and has("message") and has("disk")
    and has("offset")) and (.error.message | contains("nosuchdomain"))' "$NP_OUT" >/dev/null ||
    lab_fail "no document of the failure: $(cat "$NP_OUT")"
for words in "backup --bogus" "restore -w 0" "dump stray" "verify --sample 0" "checkpoints --bogus" "repair --bogus" "estimate --bogus"; do
    # shellcheck disable=SC2086
    np 2 $words --json
    jq -e '.status == 2 and .error.class == "usage"' "$NP_OUT" >/dev/null || lab_fail "$words: $(cat "$NP_OUT")"
done

# After all that, the set takes another full.
np_backup "$LAB_NAME" -l full -o "$set"
[ "$(np_points "$set")" = "0001 0002" ] || lab_fail "points: $(np_points "$set")"
