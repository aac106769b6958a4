#!/bin/bash
# A chain of many streams needs more descriptors than a shell or a service manager allows at first: the next increment
# and a restore go on.
# labs: embed
. "$(dirname "$0")/lab.sh"
lab_start

set=$LAB_DIR/set
disks=(vda vdb vdc vdd vde vdf vdg vdh)
lab_domain "$LAB_NAME" "${disks[@]/%/:qcow2:1M}"
lab_io "$LAB_NAME" vda "write -P 0x11 0 1M"
np_backup "$LAB_NAME" -l full -o "$set"
for ((i = 1; i < 4; i++)); do
    np_backup "$LAB_NAME" -l inc -o "$set"
done
lab_io "$LAB_NAME" vda "write -P 0x12 64k 64k"
lab_truth "$LAB_NAME" vda "$LAB_DIR/truth"

# 32 streams below the next point, 5 below the disk that is restored.
ulimit -Sn 48
np_backup "$LAB_NAME" -l inc -o "$set" --json
jq -e '[.disks[].how] | unique == ["bitmap"]' "$NP_OUT" >/dev/null || lab_fail "not increments by bitmap: $(cat "$NP_OUT" "$NP_ERR")"
ulimit -Sn 8
np 0 restore -i "$set" -o "$LAB_DIR/out" -d vda
ulimit -Sn 48
lab_same "$LAB_DIR/out/vda.qcow2" "$LAB_DIR/truth"

# Text that was lost on its way, though what came after it went through, is no success either.
np_backup "$LAB_NAME" -l inc -o "$set"
python3 - "$NBDPULL" "$LAB_DIR/set" <<'PY' || lab_fail "text that was lost"
import fcntl, os, subprocess, sys
read, write = os.pipe()
fcntl.fcntl(write, 1031, 4096)  # F_SETPIPE_SZ
os.set_blocking(write, False)
os.write(write, b"x")
done = subprocess.run([sys.argv[1], "dump", "-i", sys.argv[2]], stdout=write, stderr=subprocess.PIPE)
rest = len(os.read(read, 65536)) - 1
if not 0 < rest < 4096:
    sys.exit("the text is too short, or it went through whole: %d bytes" % rest)
sys.exit(not (done.returncode == 1 and b"standard output" in done.stderr))
PY
