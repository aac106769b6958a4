#!/bin/bash
# The number of workers changes nothing in what is stored, nor where.
# labs: embed
. "$(dirname "$0")/lab.sh"
lab_start

raw=$LAB_DIR/content
lab_program_files 24M "$raw"
truncate -s 40M "$raw"
lab_filled "$LAB_NAME" vda qcow2 "$raw"
lab_domain "$LAB_NAME" vda:qcow2:40M vdb:qcow2:9M
lab_io "$LAB_NAME" vdb "write -P 0x11 100k 70k" "write -P 0x12 5M 2M"
lab_truth "$LAB_NAME" vda "$LAB_DIR/truth.vda"
lab_truth "$LAB_NAME" vdb "$LAB_DIR/truth.vdb"

for workers in 1 2 8; do
    # Same relative names, so that the printed maps can be compared.
    mkdir "$LAB_DIR/$workers"
    np_backup "$LAB_NAME" -l copy -o "$LAB_DIR/$workers/set" -w $workers
    (cd "$LAB_DIR/$workers" && "$NBDPULL" dump -i set --map) | grep -iwE 'data|zero' >"$LAB_DIR/$workers/map"
    [ "$(wc -l <"$LAB_DIR/$workers/map")" -gt 20 ] || lab_fail "no map: $(cat "$LAB_DIR/$workers/map")"
    stat -c '%s %n' "$LAB_DIR/$workers"/set/streams/* | sed "s,$LAB_DIR/$workers/,," >"$LAB_DIR/$workers/sizes"
    for what in map sizes; do
        diff "$LAB_DIR/1/$what" "$LAB_DIR/$workers/$what" >&2 || lab_fail "$what differs with $workers workers"
    done
    np 0 restore -i "$LAB_DIR/$workers/set" -o "$LAB_DIR/$workers/out"
    lab_same "$LAB_DIR/$workers/out/vda.qcow2" "$LAB_DIR/truth.vda"
    lab_same "$LAB_DIR/$workers/out/vdb.qcow2" "$LAB_DIR/truth.vdb"
done
