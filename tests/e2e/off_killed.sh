#!/bin/bash
# A backup of a guest that is off, killed at each step: the guest can be started at once. Its guardian puts the rest right;
# killed with it, the next backup does, whether the guest runs by then or not. That is an increment by bitmap, and exact.
# labs: system
. "$(dirname "$0")/lab.sh"
lab_start

lab_domain --off "$LAB_NAME" vda:qcow2:8M vdb:qcow2:3M vdc:raw:1M
set=$LAB_DIR/set
vda=$(lab_image "$LAB_NAME" vda)
vdb=$(lab_image "$LAB_NAME" vdb)
qemu-io -f qcow2 -c "write -P 0x11 0 6M" "$vda" >/dev/null
np_backup "$LAB_NAME" -l full -o "$set"

# A qemu-img and a qemu-nbd that kill who calls them, and its guardian, before or after the call that is named.
mkdir "$LAB_DIR/bin"
for tool in qemu-img qemu-nbd; do
    cat >"$LAB_DIR/bin/$tool" <<EOF
#!/bin/bash
call="$tool \$*"
slay()
{
    [ \$KILL_WHOM = program ] || kill -9 \$(pgrep -P \$PPID -x nbdpull-guard)
    kill -9 \$PPID
}
case \$call in
*"\$KILL_BEFORE"*) [ -z "\$KILL_BEFORE" ] || slay ;;
esac
case \$call in
*"\$KILL_AFTER"*) if [ -n "\$KILL_AFTER" ]; then $(command -v $tool) "\$@"; slay; exit 0; fi ;;
esac
exec $(command -v $tool) "\$@"
EOF
    chmod +x "$LAB_DIR/bin/$tool"
done

bitmaps()
{
    qemu-img info --output=json "$1" | jq -r '[."format-specific".data.bitmaps[]?.name] | sort | join(" ")'
}
checkpoints() { lab_virsh checkpoint-list --name "$LAB_NAME" | grep . | sort | paste -sd ' '; }
nobody_serves() { ! pgrep -x qemu-nbd >/dev/null; }

has_no_intent() { [ ! -e "$set/intent.json" ]; }
is_unlocked() { ! pgrep -x nbdpull-guard >/dev/null; }

# killed WHOM STATE KILL-BEFORE KILL-AFTER POINTS: the next backup is made with the guest off, or running.
round=0
killed()
{
    local whom=$1 state=$2 kept status=0 before
    shift
    before=$(checkpoints)
    round=$((round + 1))
    qemu-io -f qcow2 -c "write -P 0x2$round ${round}M 70k" "$vda" >/dev/null
    PATH=$LAB_DIR/bin:$PATH KILL_WHOM=$whom KILL_BEFORE=$2 KILL_AFTER=$3 \
        "$NBDPULL" backup -c "$LAB_URI" -d "$LAB_NAME" -l inc -o "$set" >"$LAB_DIR/tmp/out" 2>&1 || status=$?
    wait
    [ $status -eq 137 ] || lab_fail "round $round: status $status: $(cat "$LAB_DIR/tmp/out")"
    [ "$(np_points "$set" | wc -w)" -eq "$4" ] || lab_fail "round $round: points $(np_points "$set")"
    lab_eventually "qemu-nbd ends with us" nobody_serves
    if [ "$whom" = program ]; then
        lab_eventually "the guardian puts it right" has_no_intent
        lab_eventually "the guardian ends" is_unlocked
        [ "$(checkpoints)" = "$before" ] || lab_fail "round $round: $(checkpoints), not $before"
        [ "$(bitmaps "$vda")" = "$before" ] || lab_fail "round $round: bitmaps $(bitmaps "$vda")"
    else
        [ -e "$set/intent.json" ] || lab_fail "round $round: no intent"
    fi

    if [ "$state" = running ]; then
        lab_virsh "start $LAB_NAME --paused" >/dev/null || lab_fail "round $round: the guest does not start"
    fi
    lab_truth "$LAB_NAME" vda "$LAB_DIR/truth.vda"
    lab_truth "$LAB_NAME" vdb "$LAB_DIR/truth.vdb"
    np_backup "$LAB_NAME" -l inc -o "$set" --json
    [ "$whom" = program ] || grep -q 'did not come to its end' "$NP_ERR" || lab_fail "round $round: it does not say so: $(cat "$NP_ERR")"
    [ "$(jq -r '[.disks[] | .how] | join(" ")' "$NP_OUT")" = "bitmap bitmap scan" ] || lab_fail "$(cat "$NP_OUT")"
    if [ "$state" = running ]; then
        lab_virsh "destroy $LAB_NAME --graceful" >/dev/null
    fi
    kept=$(checkpoints)
    [ "$(wc -w <<<"$kept")" -eq 2 ] || lab_fail "round $round: checkpoints $kept; it said: $(cat "$NP_ERR")"
    [ "$(bitmaps "$vda")" = "$kept" ] || lab_fail "round $round: bitmaps of vda $(bitmaps "$vda"), not $kept"
    [ "$(bitmaps "$vdb")" = "$kept" ] || lab_fail "round $round: bitmaps of vdb $(bitmaps "$vdb"), not $kept"
    [ -z "$(find /var/tmp -mindepth 1)" ] || lab_fail "round $round: left $(find /var/tmp -mindepth 1)"
    np 0 restore -i "$set" -o "$LAB_DIR/out" --format raw
    lab_same "$LAB_DIR/out/vda.raw" "$LAB_DIR/truth.vda"
    lab_same "$LAB_DIR/out/vdb.raw" "$LAB_DIR/truth.vdb"
    rm -r "$LAB_DIR/out"
}

killed both off "bitmap --add -f qcow2 $vda" "" 1     # nothing but the intent
killed both off "" "bitmap --add -f qcow2 $vda" 2     # one bitmap of two
killed program off "" "bitmap --add -f qcow2 $vdb" 3
killed both running "" "bitmap --add -f qcow2 $vda" 4 # and the guest has it by now
killed program off "qemu-nbd" "" 5                    # both bitmaps, a server that is just starting
killed both running "" "bitmap --add -f qcow2 $vdb" 6
killed both off "bitmap --remove" "" 8                # committed, before pruning

# An image that is away when the next backup comes, as after a power cut: its bitmap is not forgotten.
np_start backup -c "$LAB_URI" -d "$LAB_NAME" -l full -o "$set" --bwlimit 1M
has_stream() { [ -n "$(find "$set/streams" -name '*.nbp' -newer "$LAB_DIR/tmp/lab.began")" ]; }
lab_eventually "the images are read" has_stream
np_kill_both
mv "$vda" "$vda.away"
np 1 backup -c "$LAB_URI" -d "$LAB_NAME" -l inc -o "$set"
mv "$vda.away" "$vda"
np_backup "$LAB_NAME" -l inc -o "$set" --require-bitmap -x vdc
for is in "$(bitmaps "$vda")" "$(bitmaps "$vdb")"; do
    [ "$is" = "$(checkpoints)" ] || lab_fail "bitmaps $is, but the checkpoints are $(checkpoints)"
done

# Its set is gone, too: the guardian knows of images and bitmap from the run, and that it was far from its commit.
checkpoints >"$LAB_DIR/tmp/before"
np_start backup -c "$LAB_URI" -d "$LAB_NAME" -l full -o "$LAB_DIR/gone" --bwlimit 1M
is_reading() { [ -n "$(find "$LAB_DIR/gone/streams" -name '*.nbp' 2>/dev/null)" ]; }
lab_eventually "the images are read" is_reading
[ "$(checkpoints)" != "$(cat "$LAB_DIR/tmp/before")" ] || lab_fail "no checkpoint: this test tests nothing"
rm -r "$LAB_DIR/gone"
kill -9 "$NP_PID"
np_wait 137
lab_eventually "the guardian ends" is_unlocked
grep -q 'did not come to its end: its .*checkpoint.* gone now' "$NP_ERR" || lab_fail "it says: $(cat "$NP_ERR")"
for is in "$(checkpoints)" "$(bitmaps "$vda")" "$(bitmaps "$vdb")"; do
    [ "$is" = "$(cat "$LAB_DIR/tmp/before")" ] || lab_fail "a killed run whose set is gone left $is"
done
