# A real Linux guest for end-to-end tests: kernel, busybox, QEMU's guest agent, ext4 on each of its disks. Sourced
# after lab.sh. It boots in some seconds under QEMU's own emulation.
#
#   . "$(dirname "$0")/lab.sh"
#   . "$(dirname "$0")/guest.sh"
#   lab_start
#   lab_guest "$LAB_NAME" vda:qcow2:64M         booted, its agent answers; vda is mounted at /vda
#   guest_exec "$LAB_NAME" "echo hello >/vda/file; sync"
#   guest_read "$LAB_NAME" /vda/file
#
# Kernel and initramfs are made once by tools/guest in the build directory; where they are missing the test is
# skipped.
# shellcheck shell=bash

# A file system is made once a test; the tests do not look at the clock, so its times may be what they are.
guest_disk()
{
    local name=$1 target=$2 format=$3 size=$4
    lab_need mke2fs
    if [ ! -e "$LAB_DIR/$name.$target.$format" ]; then
        mke2fs -q -t ext4 "$LAB_DIR/tmp/lab.ext4" "$size" || lab_fail "mke2fs of $size"
        lab_filled "$name" "$target" "$format" "$LAB_DIR/tmp/lab.ext4"
        rm "$LAB_DIR/tmp/lab.ext4"
    fi
}

# QEMU's user writes the console and opens the pipe; both are there before, because it could not make them.
guest_devices()
{
    local name=$1
    : >"$LAB_DIR/$name.console"
    mkfifo "$LAB_DIR/$name.shell.in" "$LAB_DIR/$name.shell.out" || lab_fail "no pipes for the guest"
    chmod 666 "$LAB_DIR/$name.console" "$LAB_DIR/$name".shell.*
    echo "<serial type='file'><source path='$LAB_DIR/$name.console'/></serial>
      <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
      <channel type='pipe'><source path='$LAB_DIR/$name.shell'/><target type='virtio' name='nbdpull.shell'/></channel>" \
        >"$LAB_DIR/$name.devices"
}

# lab_guest NAME SPEC...: the specs are those of lab_domain; the images of disks vdX get an empty ext4, unless they
# are there already. Each disk with ext4 is mounted at /TARGET.
lab_guest()
{
    local name=$1 spec target kind argument
    shift
    [ -s "${NBDPULL_GUEST:-}/initrd" ] && [ -s "$NBDPULL_GUEST/vmlinuz" ] ||
        lab_skip "no Linux guest (tools/guest ${NBDPULL_GUEST:-DIR} makes it, with network)"
    for spec in "$@"; do
        IFS=: read -r target kind argument _ <<<"$spec"
        case $target in
        vd*) guest_disk "$name" "$target" "$kind" "$argument" ;;
        esac
    done
    # Copies: libvirt gives what it starts to QEMU's user.
    cp "$NBDPULL_GUEST/vmlinuz" "$NBDPULL_GUEST/initrd" "$LAB_DIR/" || lab_fail "no copy of the guest"
    guest_devices "$name"
    lab_domain --running "$name" "boot:$LAB_DIR/vmlinuz:$LAB_DIR/initrd" "device:$LAB_DIR/$name.devices" "$@"
    # To look at the console costs nothing; to ask the agent takes a processor from the guest that boots.
    lab_eventually "$name boots; console: $LAB_DIR/$name.console" grep -q 'guest is up' "$LAB_DIR/$name.console"
    lab_eventually "the agent of $name answers" guest_answers "$name"
}

# ---- through the agent ----

# guest_agent NAME COMMAND [JSON]: what it returns, as JSON.
guest_agent()
{
    local said
    said=$(jq -c -n --arg execute "$2" --argjson arguments "${3:-null}" \
        '{execute: $execute} + if $arguments then {arguments: $arguments} else {} end') || return 1
    # An embedded driver that has just been opened has not found the agent again before it answers this.
    lab_virsh "domjobinfo $1; dumpxml $1; qemu-agent-command --timeout ${GUEST_TIMEOUT:-10} $1 '$said'" | grep -a '^{' | jq -c .return
}

# guest_agent_stops NAME: it does not answer until guest_agent_goes_on.
guest_agent_stops()
{
    guest_shell "$1" 'kill -STOP $(pidof qemu-ga); echo agent stopped >/dev/console'
    lab_eventually "the agent stops" grep -q 'agent stopped' "$LAB_DIR/$1.console"
    # From now on libvirt knows that it owes an answer.
    GUEST_TIMEOUT=1 guest_answers "$1" && lab_fail "the agent of $1 answers"
}

guest_agent_goes_on()
{
    : >"$LAB_DIR/$1.console"
    guest_shell "$1" 'kill -CONT $(pidof qemu-ga)'
    lab_eventually "the agent goes on" guest_answers "$1"
}

# libvirt has seen that nobody in the guest has the agent's port open.
guest_agent_is_gone() { lab_virsh "dumpxml $1" | grep -q "name='org.qemu.guest_agent.0' state='disconnected'"; }

# guest_agent_again NAME [ARGUMENT...]: it is killed and another one started, with these arguments; when libvirt has seen
# the port close, since it holds back a second event of a port for half a minute.
guest_agent_again()
{
    local name=$1
    shift
    guest_shell "$name" 'kill -9 $(pidof qemu-ga)'
    lab_eventually "the agent is killed" guest_agent_is_gone "$name"
    guest_shell "$name" "qemu-ga -m virtio-serial -p /dev/virtio-ports/org.qemu.guest_agent.0 $* &"
    lab_eventually "another agent answers" guest_answers "$name"
}

guest_answers()
{
    guest_agent "$1" guest-ping >/dev/null 2>"$LAB_DIR/tmp/lab.agent"
}

# guest_exec NAME SCRIPT: run by the guest's shell; its output and its status.
guest_exec()
{
    local pid
    pid=$(guest_agent "$1" guest-exec "$(jq -n --arg script "$2" \
        '{path: "/bin/sh", arg: ["-c", $script], "capture-output": true}')" | jq .pid)
    [ -n "$pid" ] || lab_fail "the guest does not run: $2"
    lab_eventually "the guest ends: $2" guest_ended "$1" "$pid"
    jq -r '."out-data" // ""' <<<"$GUEST_DONE" | base64 -d
    jq -r '."err-data" // ""' <<<"$GUEST_DONE" | base64 -d >&2
    return "$(jq '.exitcode // 1' <<<"$GUEST_DONE")"
}

guest_ended()
{
    GUEST_DONE=$(guest_agent "$1" guest-exec-status "{\"pid\": $2}") && [ "$(jq .exited <<<"$GUEST_DONE")" = true ]
}

# guest_write NAME PATH <CONTENT: not synced.
guest_write()
{
    local handle chunk
    handle=$(guest_agent "$1" guest-file-open "{\"path\": \"$2\", \"mode\": \"w\"}") || lab_fail "guest: no file $2"
    while chunk=$(head -c 60000 | base64 -w 0) && [ -n "$chunk" ]; do
        guest_agent "$1" guest-file-write "{\"handle\": $handle, \"buf-b64\": \"$chunk\"}" >/dev/null ||
            lab_fail "guest: cannot write $2"
    done
    guest_agent "$1" guest-file-close "{\"handle\": $handle}" >/dev/null || lab_fail "guest: cannot close $2"
}

# guest_read NAME PATH: its content.
guest_read()
{
    local handle said eof=false
    handle=$(guest_agent "$1" guest-file-open "{\"path\": \"$2\", \"mode\": \"r\"}") || lab_fail "guest: no file $2"
    while [ "$eof" = false ]; do
        said=$(guest_agent "$1" guest-file-read "{\"handle\": $handle, \"count\": 1000000}") ||
            lab_fail "guest: cannot read $2"
        jq -r '."buf-b64"' <<<"$said" | base64 -d
        eof=$(jq .eof <<<"$said")
    done
    guest_agent "$1" guest-file-close "{\"handle\": $handle}" >/dev/null
}

guest_sync()
{
    guest_exec "$1" sync || lab_fail "guest: sync"
}

# guest_trim NAME: all its file systems.
guest_trim()
{
    guest_agent "$1" guest-fstrim >/dev/null || lab_fail "guest: fstrim"
}

# Are its file systems frozen, as the agent says?
guest_is_frozen()
{
    [ "$(guest_agent "$1" guest-fsfreeze-status)" = '"frozen"' ]
}

guest_is_thawed()
{
    [ "$(guest_agent "$1" guest-fsfreeze-status)" = '"thawed"' ]
}

# ---- without the agent ----

# guest_shell NAME SCRIPT: one line for a shell of the guest, also while the agent is stopped. Nothing comes back.
guest_shell()
{
    echo "$2" >"$LAB_DIR/$1.shell.in" || lab_fail "the guest's shell takes nothing"
}
