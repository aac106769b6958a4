#!/bin/bash
# A disk with large clusters, shrunk inside one and grown again: the rest of that cluster comes back with the content
# it had, and its bits are lost. The increment is exact, and not by luck: the sample is a sixteenth of the disk.
# labs: system embed
# long labs: embed
. "$(dirname "$0")/lab.sh"
lab_start

set=$LAB_DIR/set
lab_domain "$LAB_NAME" vda:qcow2:64M:cluster_size=2M
lab_io "$LAB_NAME" vda "write -P 0x11 0 62M"
np_backup "$LAB_NAME" -l full -o "$set"
lab_io "$LAB_NAME" vda "write -P 0x12 41M 64k"
lab_virsh "blockresize $LAB_NAME vda 41088K; blockresize $LAB_NAME vda 64M" >/dev/null || lab_fail "blockresize"
lab_truth "$LAB_NAME" vda "$LAB_DIR/truth.1"
np_backup "$LAB_NAME" -l inc -o "$set"

lab_io "$LAB_NAME" vda "write -P 0x13 19456k 64k"
lab_virsh "blockresize $LAB_NAME vda 18560K; blockresize $LAB_NAME vda 50M" >/dev/null || lab_fail "blockresize"
lab_io "$LAB_NAME" vda "write -P 0x14 48M 512"
lab_virsh "blockresize $LAB_NAME vda 65M" >/dev/null || lab_fail "blockresize"
lab_truth "$LAB_NAME" vda "$LAB_DIR/truth.2"
np_backup "$LAB_NAME" -l inc -o "$set"

for point in 1 2; do
    np 0 restore -i "$set" -o "$LAB_DIR/out" --until $((point + 1)) --format raw
    lab_same "$LAB_DIR/out/vda.raw" "$LAB_DIR/truth.$point"
    rm -rf "$LAB_DIR/out"
done

# Twice, and what the first one lost is written anew where the second one is: the last clean data is as it was, and what comes
# back in the first one's cluster lies far from it.
name=$LAB_NAME-twice
lab_domain "$name" vda:qcow2:128M:cluster_size=2M
lab_io "$name" vda "write -P 0x11 0 120M"
np_backup "$name" -l full -o "$set.twice"
lab_io "$name" vda "write -P 0x12 25M 64k"
lab_virsh "blockresize $name vda 24640K; blockresize $name vda 128M" >/dev/null || lab_fail "blockresize"
lab_io "$name" vda "write -P 0x11 50M 2M"
lab_virsh "blockresize $name vda 51264K; blockresize $name vda 128M" >/dev/null || lab_fail "blockresize"
lab_truth "$name" vda "$LAB_DIR/truth"
np_backup "$name" -l inc -o "$set.twice"
np 0 restore -i "$set.twice" -o "$LAB_DIR/out" --format raw
lab_same "$LAB_DIR/out/vda.raw" "$LAB_DIR/truth"
exit 0
