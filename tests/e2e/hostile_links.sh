#!/bin/bash
# Links, pipes, devices and directories at every place of a set where files of its own should be: nothing is read or
# written through them, nothing waits, and what they lead to stays as it was. At each place some kinds, others each time.
# labs: system embed
# long labs: embed
. "$(dirname "$0")/lab.sh"
lab_start

lab_domain "$LAB_NAME" vda:qcow2:1M
lab_io "$LAB_NAME" vda "write -P 0x11 0 64k"
good=$LAB_DIR/good set=$LAB_DIR/set out=$LAB_DIR/out
np_backup "$LAB_NAME" -l full -o "$good"
np_backup "$LAB_NAME" -l inc -o "$good"
echo '{"checkpoints": []}' >"$good/deferred.json"
mkdir "$good/aside"
outside=$LAB_DIR/outside
cp -a "$good" "$outside"
token=token-$RANDOM$RANDOM
echo "{\"$token\": 1}" >"$outside/secret"
chmod 644 "$outside/secret"
looks() { find "$outside" -printf '%P %y %m %u %s %T@ %l\n' | sort; }
before=$(looks)

# put KIND PLACE
put()
{
    rm -rf "${set:?}" "$out"
    cp -a "$good" "$set"
    rm -rf "${set:?}/$2"
    case $1 in
        same) ln -s "$outside/$2" "$set/$2" ;;
        secret) ln -s "$outside/secret" "$set/$2" ;;
        hard) ln "$outside/secret" "$set/$2" ;;
        dangling) ln -s "$outside/made/$(basename "$2")" "$set/$2" ;;
        loop) ln -s "$(basename "$2")" "$set/$2" ;;
        fifo) mkfifo "$set/$2" ;;
        directory) mkdir "$set/$2" ;;
        device) mknod "$set/$2" c 1 5 ;;
    esac || lab_fail "cannot put a $1 at $2"
}
# does STATUSES ARGUMENT...
does()
{
    local want=$1 status=0
    shift
    NP_OUT=$LAB_DIR/tmp/lab.out NP_ERR=$LAB_DIR/tmp/lab.err
    timeout 60 "$NBDPULL" "$@" >"$NP_OUT" 2>"$NP_ERR" </dev/null || status=$?
    runs=$((runs + 1))
    [[ $status =~ ^[$want]$ ]] || lab_fail "$kind at $place: nbdpull $*: status $status: $(cat "$NP_ERR")"
    grep -q "$token" "$NP_OUT" "$NP_ERR" && lab_fail "$kind at $place: nbdpull $*: shows what it should not read"
    [ "$(looks)" = "$before" ] || lab_fail "$kind at $place: nbdpull $*: $(diff <(echo "$before") <(looks))"
    [ -z "$(find "$out" ! -type f ! -type d 2>/dev/null)" ] || lab_fail "$kind at $place: restored $(ls -l "$out")"
}

places=(set.json lock points points/0001.json points/0002.json streams streams/0001.vda.nbp streams/0002.vda.nbp
    config config/0002 config/0002/domain.xml intent.json deferred.json aside)
kinds=(secret hard dangling loop fifo directory) writing=same
RANDOM=${NBDPULL_CHOICE:-$SRANDOM}
if [ -n "${NBDPULL_ALL_LINKS:-}" ]; then
    kinds=(same secret hard dangling loop fifo directory) writing="same secret hard dangling loop fifo directory device"
    [ "$(id -u)" -ne 0 ] || kinds+=(device)
fi
runs=0
for place in "${places[@]}"; do
    # What a restore must not believe, whatever it is.
    case $place in
        set.json | points* | streams*) broken=145 ;;
        *) broken=0 ;;
    esac
    some=("${kinds[@]}")
    [ -n "${NBDPULL_ALL_LINKS:-}" ] || some=(same "${kinds[RANDOM % ${#kinds[@]}]}")
    for kind in "${some[@]}"; do
        [ "$kind" != hard ] || [[ $place = *.* || $place = lock ]] || continue
        put "$kind" "$place"
        does $broken restore -i "$set" -o "$out"
        does 0145 dump -i "$set" --map
        does 0145 verify -i "$set" --deep
        does 01457 repair -i "$set"
        [[ " $writing " = *" $kind "* || $place = lock || $place = *t.json ]] || continue
        put "$kind" "$place"
        does 0145 backup -c "$LAB_URI" -d "$LAB_NAME" -l inc -o "$set"
    done
done
lab_note "${#places[@]} places, ${#kinds[@]} kinds, $runs runs"

# A set that is reached by a link is the user's own wish; so is a stream.
place=- kind=-
rm -rf "$set" "$out"
ln -s "$good" "$set"
does 0 restore -i "$set" -o "$out"
rm -r "$out"
ln -s "$good/streams/0001.vda.nbp" "$LAB_DIR/stream"
does 0 restore -i "$LAB_DIR/stream" -o "$out"

# Where a restore writes: a link or anything else under a name that it would give is refused, and not followed.
for name in vda.qcow2 "$LAB_NAME.xml" "$LAB_NAME.original.xml"; do
    for kind in secret dangling fifo directory; do
        rm -rf "$out"
        mkdir "$out"
        case $kind in
            secret) ln -s "$outside/secret" "$out/$name" ;;
            dangling) ln -s "$outside/made" "$out/$name" ;;
            fifo) mkfifo "$out/$name" ;;
            directory) mkdir "$out/$name" ;;
        esac
        status=0
        timeout 60 "$NBDPULL" restore -i "$good" -o "$out" >"$NP_OUT" 2>"$NP_ERR" || status=$?
        [ $status -eq 1 ] || lab_fail "$kind at $name: status $status"
        np_said "$name exists and is not overwritten"
        [ "$(looks)" = "$before" ] || lab_fail "$kind at $name: $(diff <(echo "$before") <(looks))"
        [ "$(ls -A "$out")" = "$name" ] || lab_fail "$kind at $name: left $(ls -A "$out")"
    done
done
exit 0
