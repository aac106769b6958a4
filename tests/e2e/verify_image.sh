#!/bin/bash
# An image is the disk of a point, or it is not: restore --verify and verify --image read it back through QEMU.
# labs: embed
. "$(dirname "$0")/lab.sh"
lab_need jq qemu-io
lab_start

raw=$LAB_DIR/content
lab_random 2M "$raw"
truncate -s $((4 * 1024 * 1024 + 512)) "$raw"
lab_filled "$LAB_NAME" vda qcow2 "$raw"
lab_domain "$LAB_NAME" vda:qcow2:$((4 * 1024 * 1024 + 512)) vdb:qcow2:1M
set=$LAB_DIR/set
np_backup "$LAB_NAME" -l full -o "$set"
lab_io "$LAB_NAME" vda "write -P 0x22 512k 1M" "write -z -u 0 256k" "write -P 0x33 3M 64k"
np_backup "$LAB_NAME" -l inc -o "$set"
lab_truth "$LAB_NAME" vda "$LAB_DIR/truth"

fresh() { rm -rf "$LAB_DIR/out"; }
newest=$(np_points "$set")
newest=${newest##* }
for format in raw qcow2; do
    fresh
    np 0 restore -i "$set" -o "$LAB_DIR/out" --format $format --verify --json
    [ "$(jq .verified "$NP_OUT")" = true ] || lab_fail "not verified: $(cat "$NP_OUT")"
    image=$LAB_DIR/out/vda.$format
    lab_same "$image" "$LAB_DIR/truth"
    np 0 verify --image "$image" -d vda -i "$set"
    np 0 verify --image "$image" -d vda -i "$set" --until latest --format $format -w 1
    np 4 verify --image "$image" -d vda -i "$set" --until 1
    np_said "point 0001: .*vda.$format: it is not disk vda of that point: guest bytes 0 to"
    np 4 verify --image "$image" -d vdb -i "$set"
    np_said 'it has 4194816 bytes, and disk vdb has 1048576'
    # One byte: in data, in zeroes that were data, in a hole, in the very last sector.
    for at in 1000001 100000 2500000 4194815; do
        cp "$image" "$LAB_DIR/other.$format"
        old=$(od -An -t u1 -j $at -N 1 "$LAB_DIR/truth")
        qemu-io -f $format -c "write -P $((old ^ 1)) $at 1" "$LAB_DIR/other.$format" >/dev/null || lab_fail "cannot write $at"
        np 4 verify --image "$LAB_DIR/other.$format" -d vda -i "$set" --json
        [ "$(jq -r '.image_point, .damaged, .damages[0].disk' "$NP_OUT" | xargs)" = "$newest 1 vda" ] || lab_fail "byte $at: $(cat "$NP_OUT")"
        from=$(jq .error.offset "$NP_OUT")
        [ "$from" -le $at ] && [ $at -lt $((from + 65536)) ] || lab_fail "byte $at: $(jq -c .error "$NP_OUT")"
    done
done
# A file of the same bytes and one more sector of zeroes is another disk.
cp "$LAB_DIR/truth" "$LAB_DIR/other.raw"
truncate -s +512 "$LAB_DIR/other.raw"
np 4 verify --image "$LAB_DIR/other.raw" -d vda -i "$set"
np_said 'other.raw: it has 4195328 bytes'
# A stream in a file will do for a full.
fresh
np 0 restore -i "$set/streams/0001.vda.nbp" -o "$LAB_DIR/out" --verify
np 0 verify --image "$LAB_DIR/out/vda.qcow2" -d vda -i "$set/streams/0001.vda.nbp"

# ---- a disk that does not keep what it is given ----

for format in raw qcow2; do
    fresh
    LD_PRELOAD=$NBDPULL_TAMPER TAMPER="flip vda.$format 1000001" np 0 restore -i "$set" -o "$LAB_DIR/out" --format $format
    fresh # without --verify nobody sees it
    LD_PRELOAD=$NBDPULL_TAMPER TAMPER="flip vda.$format 1000001" np 1 restore -i "$set" -o "$LAB_DIR/out" --format $format --verify
    np_said "does not read back, and was removed.*vda.$format: it is not disk vda.*guest bytes [0-9]+ to"
    [ -z "$(find "$LAB_DIR/out" -type f 2>/dev/null)" ] || lab_fail "left $(ls "$LAB_DIR/out")"
done

# ---- what cannot be compared, and wrong words ----

np 5 verify --image "$LAB_DIR/nothing.raw" -d vda -i "$set"
np 5 verify --image "$raw" --format qcow2 -d vda -i "$set"
np_said 'cannot read it: .*qcow2'
np 5 verify --image "$LAB_DIR/other.raw" -d vda -i "$set" --until 7
# An image may name what it likes: a file that only root may read, one of its data, an address. Nothing of it is opened.
mkfifo "$LAB_DIR/fifo"
qemu-img create -q -f qcow2 -u -F raw -b "$LAB_DIR/fifo" "$LAB_DIR/named.qcow2" 4194816
qemu-img create -q -f qcow2 -u -F raw -b 'json:{"driver":"nbd","server":{"type":"unix","path":"/nowhere"}}' "$LAB_DIR/json.qcow2" 4194816
qemu-img create -q -f qcow2 -o "data_file=$LAB_DIR/data" "$LAB_DIR/data.qcow2" 4194816
rm "$LAB_DIR/data"
ln -s "$LAB_DIR/fifo" "$LAB_DIR/data"
for image in named json data; do
    timeout 60 "$NBDPULL" verify --image "$LAB_DIR/$image.qcow2" -d vda -i "$set" 2>"$NP_ERR"
    [ $? -eq 5 ] || lab_fail "$image.qcow2: $(cat "$NP_ERR")"
    np_said "$image.qcow2: it names .*stands alone"
done
for image in fifo .; do
    timeout 60 "$NBDPULL" verify --image "$LAB_DIR/$image" --format qcow2 -d vda -i "$set" 2>"$NP_ERR"
    [ $? -eq 5 ] || lab_fail "$image: $(cat "$NP_ERR")"
    np_said 'neither a file nor a block device'
done
# A name that QEMU would take for an address.
cp "$LAB_DIR/truth" "$LAB_DIR/nbd:unix:x.raw"
(cd "$LAB_DIR" && np 0 verify --image nbd:unix:x.raw -d vda -i "$set") || exit 1
np_refuses 2 'format' verify --image "$raw" -d vda -i "$set"
# Of other formats it is not known what they name.
np_refuses 2 'qcow2 or raw' verify --image "$LAB_DIR/other.raw" --format qed -d vda -i "$set"
# Found out before anything is written.
rm -rf "$LAB_DIR/out"
PATH=/nowhere "$NBDPULL" restore -i "$set" -o "$LAB_DIR/out" --verify 2>"$NP_ERR"
[ $? -eq 1 ] && [ -z "$(ls -A "$LAB_DIR/out" 2>/dev/null)" ] || lab_fail "without qemu-nbd: $(cat "$NP_ERR"; ls -A "$LAB_DIR/out")"
np_said 'qemu-nbd'
np_refuses 2 'which disk' verify --image "$LAB_DIR/other.raw" -i "$set"
np_refuses 2 'goes with --image' verify --format raw -i "$set"
np_refuses 2 'neither' verify --image "$LAB_DIR/other.raw" -d vda -i "$set" --deep
np_refuses 2 'a pipe' restore -i - -o "$LAB_DIR/x" --verify
np_refuses 2 'dry-run' restore -i "$set" --dry-run --verify
pgrep -f "qemu-nbd.*$LAB_DIR" >/dev/null && lab_fail "a qemu-nbd is left"
true
