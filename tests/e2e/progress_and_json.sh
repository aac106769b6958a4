#!/bin/bash
# What a run says: nothing without a terminal, progress on one, steps with -v, one document with --json.
# labs: embed
. "$(dirname "$0")/lab.sh"
lab_start
lab_need script

lab_domain "$LAB_NAME" vda:qcow2:8M vdb:raw:1M
lab_io "$LAB_NAME" vda "write -P 0x11 1M 4M" "write -P 0 6M 1M"

np_backup "$LAB_NAME" -l full -o "$LAB_DIR/a"
[ ! -s "$NP_OUT" ] && [ ! -s "$NP_ERR" ] || lab_fail "not silent: $(cat "$NP_OUT" "$NP_ERR")"
np 0 restore -i "$LAB_DIR/a" -o "$LAB_DIR/out"
[ ! -s "$NP_OUT" ] && [ ! -s "$NP_ERR" ] || lab_fail "restore is not silent: $(cat "$NP_OUT" "$NP_ERR")"
np_backup "$LAB_NAME" -l full -o "$LAB_DIR/b" -v
[ "$(wc -l <"$NP_ERR")" -ge 3 ] && [ ! -s "$NP_OUT" ] || lab_fail "-v says: $(cat "$NP_OUT" "$NP_ERR")"

on_terminal()
{
    script -q -e -c "'$NBDPULL' backup -c '$LAB_URI' -d '$LAB_NAME' -l copy $*" /dev/null >"$LAB_DIR/tty" </dev/null ||
        lab_fail "on a terminal: $(cat "$LAB_DIR/tty")"
}
on_terminal -o "$LAB_DIR/c"
grep -q vda "$LAB_DIR/tty" && grep -qF B/s "$LAB_DIR/tty" || lab_fail "progress: $(cat "$LAB_DIR/tty")"
on_terminal -o "$LAB_DIR/d" -q
[ ! -s "$LAB_DIR/tty" ] || lab_fail "-q on a terminal: $(cat "$LAB_DIR/tty")"

np_backup "$LAB_NAME" -l full -o "$LAB_DIR/e" --json
[ "$(jq -s length "$NP_OUT")" -eq 1 ] || lab_fail "not one document: $(cat "$NP_OUT")"
checkpoint=$(lab_virsh checkpoint-list --name "$LAB_NAME" | grep "$(jq -r '.. | .checkpoint? | strings' "$NP_OUT" | head -n 1)")
[ -n "$checkpoint" ] || lab_fail "no such checkpoint: $(cat "$NP_OUT")"
# Numbers that must stand in it: the disk's size, what is allocated, what was zero and what was stored.
for number in 8388608 4194304; do
    jq -e --argjson n $number '[.. | numbers] | index($n)' "$NP_OUT" >/dev/null || lab_fail "no $number: $(cat "$NP_OUT")"
done
for word in 0001 full vda vdb; do
    jq -e --arg w $word '[.. | strings] | index($w)' "$NP_OUT" >/dev/null || lab_fail "no $word: $(cat "$NP_OUT")"
done
[ "$("$NBDPULL" --version | wc -l)" -ge 1 ] || lab_fail "--version"
for command in backup restore dump; do
    "$NBDPULL" $command --help | grep -q -- -o || [ $command = dump ] || lab_fail "$command --help"
done
