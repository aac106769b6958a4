#!/bin/bash
# Restore: some disks, another format, preallocation, one stream, any point by id, checkpoint or "latest".
# labs: embed
. "$(dirname "$0")/lab.sh"
lab_start

lab_domain "$LAB_NAME" vda:qcow2:12M vdb:qcow2:3M vdc:raw:2M
lab_io "$LAB_NAME" vda "write -P 0x11 1M 2M"
lab_io "$LAB_NAME" vdb "write -P 0x12 1M 100k"
lab_io "$LAB_NAME" vdc "write -P 0x13 2097151 1"
set=$LAB_DIR/set
for target in vda vdb vdc; do
    lab_truth "$LAB_NAME" $target "$LAB_DIR/first.$target"
done
np_backup "$LAB_NAME" -l full -o "$set"
checkpoint=$(lab_virsh checkpoint-list --name "$LAB_NAME" | sed -n 1p)
lab_io "$LAB_NAME" vda "write -P 0x21 2M 3M"
lab_io "$LAB_NAME" vdb "write -z 1M 100k" "write -P 0x22 2M 1k"
lab_truth "$LAB_NAME" vda "$LAB_DIR/second.vda"
lab_truth "$LAB_NAME" vdb "$LAB_DIR/second.vdb"
np_backup "$LAB_NAME" -l full -i vda,vdb -o "$set"

# restored MOMENT TARGET.FORMAT...: what is in out, and nothing else.
restored()
{
    local moment=$1 file images
    shift
    for file in "$@"; do
        lab_same "$LAB_DIR/out/$file" "$LAB_DIR/$moment.${file%.*}"
    done
    images=$(cd "$LAB_DIR/out" && find . -name '*.qcow2' -o -name '*.raw' | sed 's,^./,,' | sort | tr '\n' ' ')
    [ "$images" = "$* " ] || lab_fail "restored: $images"
    rm -rf "$LAB_DIR/out"
}

np 0 restore -i "$set" -o "$LAB_DIR/out" --until latest
restored second vda.qcow2 vdb.qcow2
for until in 0001 1 "$checkpoint"; do
    np 0 restore -i "$set" -o "$LAB_DIR/out" --until "$until"
    restored first vda.qcow2 vdb.qcow2 vdc.qcow2
done
# vdc is not in the newest point; it is named with the newest point that holds it, and asking for it is an error.
np 0 restore -i "$set" -o "$LAB_DIR/out"
grep -q 'vdc.*0001' "$NP_ERR" || lab_fail "nothing said about vdc: $(cat "$NP_ERR")"
restored second vda.qcow2 vdb.qcow2
np_refuses 1 'vdc.*0001' restore -i "$set" -o "$LAB_DIR/out" -d vdc

np 0 restore -i "$set" -o "$LAB_DIR/out" -d vdb
restored second vdb.qcow2
np 0 restore -i "$set" -o "$LAB_DIR/out" --until 1 -d vda -d vdc
restored first vda.qcow2 vdc.qcow2
np 0 restore -i "$set/streams/0001.vda.nbp" -o "$LAB_DIR/out"
restored first vda.qcow2

# No QEMU program is needed, for any format. Raw is sparse.
mkdir "$LAB_DIR/bin"
ln -s "$(command -v sed)" "$LAB_DIR/bin/sed" # for np itself
for how in off metadata falloc full; do
    PATH=$LAB_DIR/bin np 0 restore -i "$set" -o "$LAB_DIR/out" --until 1 --preallocation $how
    restored first vda.qcow2 vdb.qcow2 vdc.qcow2
done
PATH=$LAB_DIR/bin np 0 restore -i "$set" -o "$LAB_DIR/out" --until 1 --format raw
[ "$(lab_used "$LAB_DIR/out/vda.raw")" -lt $((4 << 20)) ] || lab_fail "raw: not thin"
restored first vda.raw vdb.raw vdc.raw

# Cluster size and version.
for shape in 512:1.1 4K:0.10 2M:1.1; do
    np 0 restore -i "$set" -o "$LAB_DIR/out" -d vda --cluster-size ${shape%:*} --compat ${shape#*:}
    qemu-img info --output=json "$LAB_DIR/out/vda.qcow2" >"$LAB_DIR/info" || lab_fail "qemu-img info"
    [ "$(jq -r '"\(."cluster-size"):\(."format-specific".data.compat)"' "$LAB_DIR/info")" = \
        "$(numfmt --from=iec "${shape%:*}"):${shape#*:}" ] || lab_fail "$shape gave $(cat "$LAB_DIR/info")"
    restored second vda.qcow2
done
np_refuses 2 'clusters.*3000' restore -i "$set" -o "$LAB_DIR/out" --cluster-size 3000
np_refuses 2 "compat '1.0'" restore -i "$set" -o "$LAB_DIR/out" --compat 1.0
np_refuses 2 'raw' restore -i "$set" -o "$LAB_DIR/out" --format raw --cluster-size 64K

# Preallocation: nothing, the tables, or everything is there from the start.
for how in off metadata falloc full; do
    np 0 restore -i "$set" -o "$LAB_DIR/out" -d vda --preallocation $how
    used=$(lab_used "$LAB_DIR/out/vda.qcow2")
    case $how in
    off | metadata) [ "$used" -lt $((6 << 20)) ] || lab_fail "--preallocation $how takes $used bytes" ;;
    *) [ "$used" -ge $((12 << 20)) ] || lab_fail "--preallocation $how takes $used bytes" ;;
    esac
    restored second vda.qcow2
done
np_refuses 2 'preallocation|half' restore -i "$set" -o "$LAB_DIR/out" --preallocation half
