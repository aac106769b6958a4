#!/bin/bash
# An estimate says what the backup after it does, and changes nothing, whatever else is on the command line
# (trap 9); --threshold skips a backup that is too small.
# labs: system embed
# long labs: embed
. "$(dirname "$0")/lab.sh"
lab_start

set=$LAB_DIR/set
lab_program_files 12M "$LAB_DIR/content"
lab_filled "$LAB_NAME" vda qcow2 "$LAB_DIR/content"
qemu-img resize -q "$LAB_DIR/$LAB_NAME.vda.qcow2" 24M || lab_fail "resize"
lab_domain "$LAB_NAME" vda:qcow2:24M vdb:qcow2:9000448 vdc:raw:5M
lab_io "$LAB_NAME" vdb "write -P 0x21 0 9000448"
lab_io "$LAB_NAME" vdc "write -P 0x31 1M 1M"

set_is()
{
    if [ -e "$set" ]; then
        find "$set" -printf '%P %y %m %s %T@\n' | sort
        find "$set" -type f -print0 | sort -z | xargs -0 sha256sum
    fi
}

# estimate FILE ARGUMENT...: of the command or of `backup --estimate`; nothing changes; the document is kept.
estimate()
{
    local file=$LAB_DIR/tmp/lab.said.$1 command=$2
    shift 2
    lab_remember
    set_is >"$LAB_DIR/tmp/lab.before"
    np 0 "$command" -c "$LAB_URI" -d "$LAB_NAME" "$@" --json
    cp "$NP_OUT" "$file"
    set_is | diff "$LAB_DIR/tmp/lab.before" - >&2 || lab_fail "$command $* changed the set"
    lab_unchanged "$command $*"
}

# said FILE FILTER: what the document must hold.
said()
{
    jq -e "$2" "$LAB_DIR/tmp/lab.said.$1" >/dev/null || lab_fail "not $2: $(cat "$LAB_DIR/tmp/lab.said.$1")"
}

# same_as_done FILE: a backup's document against the exact estimate before it.
same_as_done()
{
    jq -e --slurpfile told "$LAB_DIR/tmp/lab.said.$1" '
        [.disks[] | [.target, .level, .how, .parent, .virtual_size, .allocated_bytes]] ==
            [$told[0].levels[0].disks[] | [.target, .level, .how, .parent, .virtual_size, .to_read_bytes]] and
        ([.disks[] | select(.how != "scan") | .zero_bytes + .data_bytes] ==
            [$told[0].levels[0].disks[] | select(.how != "scan") | .zero_bytes + .to_read_bytes])' "$NP_OUT" \
        >/dev/null || lab_fail "told: $(cat "$LAB_DIR/tmp/lab.said.$1") done: $(cat "$NP_OUT")"
    # All fits into the sample here, so what is expected is what is stored.
    jq -e --slurpfile told "$LAB_DIR/tmp/lab.said.$1" '[.disks[].stored_bytes] ==
        [$told[0].levels[0].disks[].expected_stored_bytes]' "$NP_OUT" >/dev/null ||
        lab_fail "stored: $(cat "$LAB_DIR/tmp/lab.said.$1" "$NP_OUT")"
}

# ---- before there is a set: it is not made ----

estimate e estimate
said e '.exact == false and [.levels[].level] == ["full"] and .status == 0'
said e '[.levels[0].disks[] | .source] == ["allocation", "allocation", "allocation"]'
said e '.levels[0].disks[0] | .to_read_bytes >= 12 * 1048576 and .to_read_bytes < 14 * 1048576 and .zero_bytes == null'
said e '.levels[0].disks[2] | .how == "all" and .to_read_bytes >= 1048576 and .to_read_bytes < 2097152'
estimate e estimate -o "$set" -l auto
said e '[.levels[].level] == ["full"]'
estimate full backup -l full -o "$set" --estimate --exact
[ ! -e "$set" ] || lab_fail "the estimate made a set"
np_refuses 1 'only full and copy' estimate -c "$LAB_URI" -d "$LAB_NAME" -l inc
np_refuses 1 'needs a full' estimate -c "$LAB_URI" -d "$LAB_NAME" -l inc -o "$set"
np_refuses 2 'from' estimate -c "$LAB_URI" -d "$LAB_NAME" -l inc -o "$set" --from 0001
np_refuses 2 'estimate' backup -c "$LAB_URI" -d "$LAB_NAME" -l full -o "$set" --exact
np_refuses 1 'no disk' estimate -c "$LAB_URI" -d "$LAB_NAME" -i vdz

np_backup "$LAB_NAME" -l full -o "$set" --json
same_as_done full
said full '.levels[0].disks[0] | .to_read_bytes + .zero_bytes == .virtual_size'

# ---- with a chain ----

lab_io "$LAB_NAME" vda "write -P 0x41 1M 1M" "write -z -u 3M 512k" "discard 8M 256k" "write -P 0x42 20M 1k"
lab_io "$LAB_NAME" vdb "write -P 0x22 8999936 512"
lab_io "$LAB_NAME" vdc "write -P 0x32 4M 64k"
dirty=$((1048576 + 524288 + 262144 + 65536))
estimate e estimate -o "$set"
said e '[.levels[].level] == ["full", "inc"]'
said e '[.levels[1].disks[] | .how] == ["bitmap", "bitmap", "scan"] and .levels[1].disks[0].parent == "0001"'
said e "[.levels[1].disks[] | .source] == [\"bitmap\", \"bitmap\", \"allocation\"] and .levels[1].disks[0].to_read_bytes == $dirty"
estimate e estimate -o "$set" --from full -i vda
said e '[.levels[].level] == ["full", "inc", "diff"] and (.levels[2].disks[1] | .stored == false and .to_read_bytes == null)'
estimate e estimate -o "$set" -l inc --scan -i vda
said e '.levels[0].disks[0] | .how == "scan" and .source == "allocation" and (.why | test("--scan"))'

# Trap 9: with level full and all the rest, it is an estimate.
estimate e backup -l full -o "$set" --estimate --keep-checkpoints 0 --threshold 1T -w 1 --compress zstd -q
estimate e backup -o "$set" --estimate
estimate e backup -l copy -o - --estimate --scan
estimate e backup -l inc -o "$set" --estimate --require-bitmap -x vdc
np_refuses 8 'require-bitmap' backup -c "$LAB_URI" -d "$LAB_NAME" -l inc -o "$set" --estimate --require-bitmap

estimate exact estimate -o "$set" --exact
said exact '[.levels[].level] == ["full", "inc"] and [.levels[].disks[].source] == ["extents", "extents", "extents", "extents", "extents", "extents"]'
estimate inc estimate -o "$set" -l inc --exact
said inc ".levels[0].disks[0] | .to_read_bytes + .zero_bytes == $dirty and .zero_bytes == 786432"
said inc '.levels[0].disks[2] | .how == "scan" and .sample_data_bytes == 65536'

# The table for people.
np 0 estimate -c "$LAB_URI" -d "$LAB_NAME" -o "$set" -l inc
[ "$(wc -l <"$NP_OUT")" -eq 4 ] && grep -q -E '^inc +vda +bitmap +24.0 MiB +1.8 MiB' "$NP_OUT" || lab_fail "$(cat "$NP_OUT")"

# ---- the threshold ----

set_is | grep -v 'lock' >"$LAB_DIR/tmp/lab.before"
np_refuses 3 'skipped.*1966080' backup -c "$LAB_URI" -d "$LAB_NAME" -l inc -o "$set" -x vdc --threshold 2M
np_refuses 3 'skipped' backup -c "$LAB_URI" -d "$LAB_NAME" -l full -o "$LAB_DIR/new" --threshold 1G
np 3 backup -c "$LAB_URI" -d "$LAB_NAME" -l inc -o "$set" -x vdc --threshold 1966081 --json
jq -e '.status == 3 and .error.class == "skipped" and .point == null' "$NP_OUT" >/dev/null || lab_fail "$(cat "$NP_OUT")"
set_is | grep -v 'lock' | diff "$LAB_DIR/tmp/lab.before" - >&2 || lab_fail "a skipped backup changed the set"
# The first backup of a chain is not put off by -l auto.
np_backup "$LAB_NAME" -l auto -o "$LAB_DIR/new" --threshold 1T
rm -rf "$LAB_DIR/new"

np_backup "$LAB_NAME" -l inc -o "$set" --threshold 1966080 --json
same_as_done inc
jq -e ".disks[0] | .read_bytes + 786432 == $dirty" "$NP_OUT" >/dev/null || lab_fail "$(cat "$NP_OUT")"

# ---- what images take: all of a backing chain, and not up to the last offset written ----

other=$LAB_NAME-2
lab_random 8M "$LAB_DIR/$other.vdb.raw"
qemu-img convert -f raw -O qcow2 "$LAB_DIR/content" "$LAB_DIR/base.qcow2" || lab_fail "no base"
qemu-img create -q -f qcow2 -F qcow2 -b "$LAB_DIR/base.qcow2" "$LAB_DIR/$other.vda.qcow2" || lab_fail "no overlay"
chmod a+r "$LAB_DIR/base.qcow2"
lab_domain "$other" vda:qcow2:12M vdb:raw:8M
lab_io "$other" vda "write -P 0x51 0 64k"
lab_io "$other" vdb "write -P 0x52 0 64k"
np 0 estimate -c "$LAB_URI" -d "$other" --json
jq -e '[.levels[0].disks[].to_read_bytes] == [12582912, 8388608]' "$NP_OUT" >/dev/null || lab_fail "$(cat "$NP_OUT")"

# ---- beside other runs ----

[ "$LAB_KIND" != embed ] || exit 0
np_start_slow "$LAB_NAME" "$LAB_DIR/slow"
slow=$NP_PID slow_said=$NP_SAID
np 0 estimate -c "$LAB_URI" -d "$LAB_NAME" -o "$LAB_DIR/slow"
np 0 estimate -c "$LAB_URI" -d "$LAB_NAME" -o "$set" -l inc --json
np 7 estimate -c "$LAB_URI" -d "$LAB_NAME" -o "$set" -l inc --exact
np_said 'backup job'
kill "$slow"
NP_PID=$slow NP_SAID=$slow_said np_wait 143

# A signal in the middle of its job.
job_runs() { lab_virsh backup-dumpxml "$LAB_NAME" >/dev/null 2>&1; }
lab_remember
np_start estimate -c "$LAB_URI" -d "$LAB_NAME" -l copy --exact --compress zstd:19
lab_eventually "the job begins" job_runs
kill -s INT "$NP_PID"
np_wait 130
lab_unchanged SIGINT
exit 0
