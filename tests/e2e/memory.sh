#!/bin/bash
# Peak memory stays under 64 MiB with as many workers as there may be, on data that compresses and data that does not.
# labs: system embed
# long labs: embed
. "$(dirname "$0")/lab.sh"
lab_start
lab_need_own_memory

raw=$LAB_DIR/content
lab_random 96M "$raw"
lab_filled "$LAB_NAME" vda qcow2 "$raw"
lab_program_files 48M "$LAB_DIR/programs"
lab_filled "$LAB_NAME" vdb qcow2 "$LAB_DIR/programs"
lab_domain "$LAB_NAME" vda:qcow2:96M vdb:qcow2:48M

# The highest levels of zstd need more for each worker than all the rest, and are not part of this promise.
for codec in none lz4 zstd; do
    np_measured 65536 120000 backup -c "$LAB_URI" -d "$LAB_NAME" -l copy -o "$LAB_DIR/set-$codec" -w 8 --compress $codec
    np_measured 65536 120000 restore -i "$LAB_DIR/set-$codec" -o "$LAB_DIR/out-$codec" -w 8
done
lab_same "$LAB_DIR/out-lz4/vda.qcow2" "$raw"
rm -r "$LAB_DIR/out-lz4"
np_measured 65536 120000 restore -i "$LAB_DIR/set-lz4" -o "$LAB_DIR/raw" -w 8 --format raw
np_measured 65536 120000 dump -i "$LAB_DIR/set-lz4" --map --json
