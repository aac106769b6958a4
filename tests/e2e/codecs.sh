#!/bin/bash
# Every codec restores the same disk; what compresses gets smaller, what does not is stored as it is.
# labs: embed
. "$(dirname "$0")/lab.sh"
lab_start

raw=$LAB_DIR/content
lab_program_files 12M "$raw"
lab_random 6M "$LAB_DIR/random"
cat "$LAB_DIR/random" >>"$raw"
truncate -s 24M "$raw"
lab_filled "$LAB_NAME" vda qcow2 "$raw"
lab_domain "$LAB_NAME" vda:qcow2:24M

for codec in none lz4 zstd zstd:1 zstd:9; do
    LAB_BACKUP=(-l copy --compress "$codec")
    lab_round_trip "$LAB_NAME" vda
    np 0 dump -i "$LAB_DIR/set" --json
    read -r said data stored < <(jq -r '.points[0].disks[0] | "\(.codec) \(.data_bytes) \(.stored_bytes)"' "$NP_OUT")
    lab_note "$codec: $data bytes of data stored in $stored"
    [ "${said%%:*}" = "${codec%%:*}" ] || lab_fail "dump calls $codec $said"
    if [ $codec = none ]; then
        [ "$stored" -eq "$data" ] || lab_fail "none stores $data bytes in $stored"
    else
        [ "$stored" -lt $((data * 9 / 10)) ] || lab_fail "$codec stores $data bytes in $stored"
    fi
    # 6 MiB do not compress; a few hundred bytes a MiB are the format's own.
    size=$(stat -c %s "$LAB_DIR"/set/streams/*.nbp)
    [ "$size" -lt $((stored + 64 * 1024)) ] || lab_fail "$codec: a stream of $size bytes for $stored"
done

np 0 backup -c "$LAB_URI" -d "$LAB_NAME" -l copy -o "$LAB_DIR/default"
np 0 dump -i "$LAB_DIR/default" --json
[ "$(jq -r '.points[0].disks[0].codec' "$NP_OUT")" = lz4 ] || lab_fail "the default codec is not lz4"
