#!/bin/bash
# verify --sample takes another part with each run, in whatever rhythm runs come, and comes past every payload; runs that check
# other things do not take each other's turns; where the last part is not known, the day chooses.
# labs: session embed
. "$(dirname "$0")/lab.sh"
lab_start

lab_random 3M "$LAB_DIR/content"
lab_filled "$LAB_NAME" vda qcow2 "$LAB_DIR/content"
lab_domain "$LAB_NAME" vda:qcow2:3M vdb:qcow2:1M
set=$LAB_DIR/set
np_backup "$LAB_NAME" -l full -o "$set"
lab_io "$LAB_NAME" vda "write -P 0x22 0 1M"
np_backup "$LAB_NAME" -l inc -o "$set"
state=$XDG_STATE_HOME/nbdpull
day=$(($(date +%s) / 86400))

# part STATUS ARGUMENT...: the part that this run takes.
part()
{
    np "$1" verify -i "$set" --json "${@:2}"
    grep -q warning "$NP_ERR" && lab_fail "it warns: $(cat "$NP_ERR")"
    jq .part "$NP_OUT"
}
# follows PART BEFORE PARTS
follows() { [ "$1" -eq $(($2 % $3 + 1)) ] || lab_fail "part $1 of $3 follows part $2"; }

np 0 verify -i "$set" --json
all=$(jq .payloads "$NP_OUT")
[ ! -e "$state" ] || lab_fail "a run without --sample remembers something"

# Each of them, and all payloads; the parts of another size, of a disk, of a point and of a depth have turns of their own.
for options in "--sample 25" "--sample 14" "--sample 12" "--sample 25 -d vda" "--sample 25 --until 1" "--sample 25 --deep" "--sample 50 -d vdb,vda"; do
    # shellcheck disable=SC2086
    last=$(part 0 $options) parts=$(jq .parts "$NP_OUT") sum=0
    [ "$last" -eq $((day % parts + 1)) ] || [ "$last" -eq $(((day + 1) % parts + 1)) ] || lab_fail "$options: not the day's part, $last"
    for ((i = 0; i < parts; i++)); do
        # shellcheck disable=SC2086
        now=$(part 0 $options)
        follows "$now" "$last" "$parts"
        last=$now
        sum=$((sum + $(jq .payloads_checked "$NP_OUT")))
    done
    [ $((parts % 7)) -ne 0 ] || lab_fail "$options: $parts parts, of which a weekly job would see one where the day chooses"
    [[ $options == *" -"* ]] && continue
    [ "$sum" -eq "$all" ] || lab_fail "$options: $parts runs check $sum of $all payloads"
done
[ "$(stat -c %a "$state")" = 700 ] && [ -z "$(find "$state" -type f ! -perm 600)" ] || lab_fail "others may read $(ls -la "$state")"
[ "$(find "$state" -type f | wc -l)" -eq 7 ] || lab_fail "not a file for each kind of run: $(ls -la "$state")"
[ "$(find "$set" -newer "$state" | wc -l)" -eq 0 ] || lab_fail "the set was written to"

# A copy of the set is verified on its own; a part that was asked for, or a run that came to no verdict, is no turn.
last=$(part 0 --sample 25)
cp -a "$set" "$LAB_DIR/copy"
np 0 verify -i "$LAB_DIR/copy" --sample 25
np 0 verify -i "$set" --sample 25 --sample-part $((last % 4 + 1))
np 5 verify -i "$set" --sample 25 --until 9
np 5 verify -i "$set" --sample 25 -d vdx
mv "$set/set.json" "$LAB_DIR/away"
np 5 verify -i "$set" --sample 25
mv "$LAB_DIR/away" "$set/set.json"
now=$(part 0 --sample 25)
follows "$now" "$last" 4
cd "$LAB_DIR" || exit 1
np 0 verify -i ./set/ --sample 25 --json # the same set
follows "$(jq .part "$NP_OUT")" "$now" 4
cd /

# Damage is a verdict: the runs behind it see the rest.
last=$(jq .part "$NP_OUT")
stream=$set/streams/0001.vda.nbp
cp "$stream" "$LAB_DIR/whole"
dd if=/dev/zero of="$stream" bs=64k seek=2 count=24 conv=notrunc status=none
for _ in 1 2 3 4; do
    now=$(part 4 --sample 25)
    follows "$now" "$last" 4
    last=$now
done
cp "$LAB_DIR/whole" "$stream"

# What was remembered is nothing to rely on.
for text in "" "x" "0" "5" "-1" "99999999999999999999 of 4" "$(head -c 10000 /dev/zero | tr '\0' 1)"; do
    for file in "$state"/*; do
        echo "$text" >"$file"
    done
    now=$(part 0 --sample 25)
    [ "$now" -eq $((day % 4 + 1)) ] || [ "$now" -eq $(((day + 1) % 4 + 1)) ] || lab_fail "it remembers \"$text\", and part $now comes"
    follows "$(part 0 --sample 25)" "$now" 4
done

# Nowhere to remember it: that is said, once, and the day chooses. It is nothing to fail for.
days()
{
    local now
    np 0 verify -i "$set" --sample 25 --json
    [ "$(grep -c "warning: which part comes next cannot be remembered, so the day chooses: .*$1" "$NP_ERR")" -eq 1 ] ||
        lab_fail "it says: $(cat "$NP_ERR"), not $1"
    now=$(jq .part "$NP_OUT")
    [ "$now" -eq $((day % 4 + 1)) ] || [ "$now" -eq $(((day + 1) % 4 + 1)) ] || lab_fail "$1: not the day's part, $now"
}
rm -r "$state"
ln -s "$LAB_DIR/copy" "$state"
days "$state"
diff <(ls -A "$LAB_DIR/copy") <(ls -A "$set") || lab_fail "it followed a link"
rm "$state"
if [ "$LAB_KIND" = session ]; then
    chmod a-w "$XDG_STATE_HOME"
    days "$state"
    chmod u+w "$XDG_STATE_HOME"
    # A path that is not absolute is none.
    mkdir "$LAB_DIR/rel" && cd "$LAB_DIR/rel" || exit 1
    home=$HOME
    unset HOME
    XDG_STATE_HOME=rel
    days "neither XDG_STATE_HOME nor HOME is set"
    export HOME=$home
    cd / && rmdir "$LAB_DIR/rel" || lab_fail "it made $(ls "$LAB_DIR/rel")"
    # Whatever the umask; and without XDG_STATE_HOME it is below HOME.
    unset XDG_STATE_HOME
    umask 277
    last=$(part 0 --sample 25 2>&1) && follows "$(part 0 --sample 25)" "$last" 4
    umask 022
    [ "$(stat -c %a "$HOME/.local/state/nbdpull")" = 700 ] || lab_fail "the directory below HOME: $(ls -la "$HOME/.local/state")"
    exit 0
fi

[ "$LAB_ISOLATED" = yes ] || exit 0
# What is there cannot be replaced any more: the file system is full, or read-only.
lab_small_place 1M "$XDG_STATE_HOME"
last=$(part 0 --sample 25)
for _ in 1 2 3 4; do # a part that is not the day's
    [ "$last" -eq $((day % 4 + 1)) ] && break
    last=$(part 0 --sample 25)
done
dd if=/dev/zero of="$XDG_STATE_HOME/full" bs=4k status=none 2>/dev/null
days "No space"
days "No space"
rm "$XDG_STATE_HOME/full"
follows "$(part 0 --sample 25)" "$last" 4
mount -o remount,ro "$XDG_STATE_HOME"
days "Read-only"
days "Read-only"
mount -o remount,rw "$XDG_STATE_HOME"
# Another user's directory leads where that user likes.
chown -R nobody "$state"
days "belongs to another user"
# Root's own.
mount -t tmpfs tmpfs /var/lib && LAB_MOUNTS=(/var/lib "${LAB_MOUNTS[@]}")
unset XDG_STATE_HOME
last=$(part 0 --sample 25)
follows "$(part 0 --sample 25)" "$last" 4
[ "$(stat -c %a /var/lib/nbdpull)" = 700 ] || lab_fail "in /var/lib: $(ls -la /var/lib)"
