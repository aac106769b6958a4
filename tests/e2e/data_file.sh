#!/bin/bash
# A disk whose data lie in a file of their own (trap 8): the restored disk shares nothing with the original, neither
# image nor data file.
# labs: embed
. "$(dirname "$0")/lab.sh"
lab_start

set=$LAB_DIR/set
data=$LAB_DIR/vda.data
lab_domain "$LAB_NAME" "vda:qcow2:4M:data_file=$data,data_file_raw=on"
lab_io "$LAB_NAME" vda "write -P 0x11 1M 1M"
lab_truth "$LAB_NAME" vda "$LAB_DIR/truth"
np_backup "$LAB_NAME" -l full -o "$set"
lab_io "$LAB_NAME" vda "write -P 0x12 1M 1M"
sum=$(sha256sum <"$data")
np 0 restore -i "$set" -o "$LAB_DIR/out"
lab_same "$LAB_DIR/out/vda.qcow2" "$LAB_DIR/truth"
qemu-img info --output=json "$LAB_DIR/out/vda.qcow2" | grep -q 'data-file.*vda' && lab_fail "it uses the data file"
qemu-io -c "write -P 0x13 0 4M" "$LAB_DIR/out/vda.qcow2" >/dev/null || lab_fail "cannot write the restored disk"
[ "$(sha256sum <"$data")" = "$sum" ] || lab_fail "the original's data changed"
grep -q "$data\|$(lab_image "$LAB_NAME" vda)" "$LAB_DIR/out/$LAB_NAME.xml" && lab_fail "the XML points to the original"
exit 0
