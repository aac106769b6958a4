#!/bin/bash
# trap 12: what a point consists of is durable before its record has its name, and the record is before the run ends: a
# sync comes between the last byte of each file and the next rename, and after the one that commits.
# labs: system
. "$(dirname "$0")/faults.sh"
fault_start
fault_guest_writes
fault_run inc STOP_LOG="$LAB_DIR/tmp/steps"
[ "$FAULT_STATUS" -eq 0 ] || lab_fail "an undisturbed run: $(cat "$NP_ERR")"
# Only the commit must not replace, and so is a renameat2. Two streams and the copies that go along are written before.
sed -n 's/^files \([a-z0-9]*\):.*/\1/p' "$LAB_DIR/tmp/steps" | awk '
    last == "renameat2" && !/^fsync$/ { bad = "the commit is not synced at once" }
    { steps = steps " " $0; last = $0 }
    /^writev$/ { if (unsynced) bad = "a file is begun before the last one is synced"; unsynced = 1; writes++ }
    /^f(data)?sync$/ { unsynced = 0 }
    /^renameat/ { if (unsynced) bad = "a rename before the sync" }
    /^renameat2$/ { committed++; before = writes }
    END {
        if (committed != 1) bad = "commits: " committed + 0
        else if (before < 6) bad = "only " before " files before the commit"
        if (bad) { print bad ":" steps; exit 1 }
    }' >&2 || lab_fail "what is committed is not durable"
