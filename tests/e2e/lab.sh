# A laboratory for end-to-end tests: real libvirt, real QEMU, domains without an operating system whose disks
# are written through QEMU's monitor, the way a guest writes. Sourced by each test, never run.
#
#   . "$(dirname "$0")/lab.sh"
#   lab_start                                   LAB_URI, LAB_DIR, LAB_NAME are set; all ends with the test
#   lab_domain "$LAB_NAME" vda:qcow2:32M        defined and started
#   lab_io "$LAB_NAME" vda "write -P 0x33 10M 5M"
#   lab_truth "$LAB_NAME" vda "$LAB_DIR/truth"  what the guest sees, as a raw file
#   np 0 backup -c "$LAB_URI" -d "$LAB_NAME" -l full -o "$LAB_DIR/set"
#   lab_same "$LAB_DIR/out/vda.qcow2" "$LAB_DIR/truth"
#
# Three kinds; a line "# labs: KIND..." in the test names those it runs in, and ctest runs it in each:
#   embed    libvirt's driver inside the process, own root directory. Only one process at a time may hold it:
#            never run virsh and nbdpull at the same time.
#   system   a libvirtd as root. virsh and nbdpull are two clients.
#   session  a libvirtd of an ordinary user (of "nobody" when root runs the test).
#
# Root gets a mount and a process namespace of its own where the kernel allows it: libvirt's directories,
# /run and /var/tmp are empty there, /dev/kvm is missing (libvirt distrusts its cached capabilities when it is there but
# closed to QEMU's user, and probes QEMU for many seconds), and whatever was started dies with the test. Where
# namespaces are refused, or NBDPULL_LAB_PLAIN is set, the test cleans up behind itself.
# shellcheck shell=bash

set -u -o pipefail
export LC_ALL=C

LAB_DIR=
LAB_ISOLATED=${LAB_ISOLATED:-}
LAB_DOMAINS=() LAB_MOUNTS=() LAB_REPORTS='' LAB_PROBED=''
declare -A LAB_IMAGE LAB_FORMAT

# ---- verdicts ----

lab_note()
{
    echo "# $*" >&2
}

lab_fail()
{
    echo "FAILED: $*" >&2
    exit 1
}

# lab_skip REASON: this test cannot run here. tools/check shows the reasons.
lab_skip()
{
    echo "skipped: $*" >&2
    if [ -n "${NBDPULL_SKIPPED:-}" ]; then
        echo "$(basename "$0" .sh): $*" >>"$NBDPULL_SKIPPED"
    fi
    exit 77
}

# lab_need PROGRAM...
lab_need()
{
    local program
    for program in "$@"; do
        command -v "$program" >/dev/null || lab_skip "no program $program (tools/packages lists what tests need)"
    done
}

# The first python3 of a PATH may be a script that looks for one, ten times as slow to start as the one itself.
if [ -x /usr/bin/python3 ]; then
    python3() { /usr/bin/python3 "$@"; }
fi

lab_need_root()
{
    [ "$(id -u)" -eq 0 ] || lab_skip "$1 needs root"
}

# lab_eventually WHAT COMMAND...: for states that nothing announces; gives up after 60 s.
lab_eventually()
{
    local what=$1 end=$((SECONDS + 60))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || lab_fail "gave up waiting: $what"
        sleep 0.02
    done
}

# ---- start and end ----

# A /dev with what libvirt and QEMU need, without /dev/kvm.
lab_small_dev()
{
    local dev=$1 node
    mount -t tmpfs -o mode=755 tmpfs "$dev"
    for node in null zero full random urandom tty; do
        : >"$dev/$node"
        mount --bind "/dev/$node" "$dev/$node"
    done
    mkdir "$dev/pts" "$dev/shm"
    mount --rbind /dev/pts "$dev/pts"
    mount --bind /dev/shm "$dev/shm"
    ln -s pts/ptmx "$dev/ptmx"
    ln -s /proc/self/fd "$dev/fd"
    ln -s fd/0 "$dev/stdin"
    ln -s fd/1 "$dev/stdout"
    ln -s fd/2 "$dev/stderr"
    # libvirt moves what is mounted below /dev into QEMU's own, and fails on mounts that lie hidden under it.
    if mountpoint -q /dev; then
        umount --recursive --lazy /dev
    fi
    mount --move "$dev" /dev
}

# An empty /var/tmp, but for the project where that is its place.
lab_hide_var_tmp()
{
    local kept
    kept=$(mktemp -d /tmp/nbdpull-source.XXXXXX)
    mount --bind "$NBDPULL_SOURCE" "$kept"
    mount -t tmpfs -o mode=1777 tmpfs /var/tmp
    if [ ! -e "$NBDPULL_SOURCE" ]; then
        mkdir -p "$NBDPULL_SOURCE"
        mount --bind "$kept" "$NBDPULL_SOURCE"
    fi
    umount "$kept"
    rmdir "$kept"
}

# Inside the namespaces: hide the machine's libvirt and its state.
lab_hide_machine()
{
    local dev dir
    dev=$(mktemp -d /tmp/nbdpull-dev.XXXXXX)
    lab_small_dev "$dev"
    rmdir "$dev"
    mount -t tmpfs -o mode=755 tmpfs /run
    mkdir -p /run/libvirt /run/lock
    lab_hide_var_tmp
    for dir in /etc/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt; do
        if [ -d $dir ]; then
            mount -t tmpfs -o mode=755 tmpfs $dir
        fi
    done
}

lab_can_isolate()
{
    [ "$(id -u)" -eq 0 ] && [ -z "${NBDPULL_LAB_PLAIN:-}" ] &&
        unshare --mount --pid --fork --kill-child --mount-proc true 2>/dev/null
}

# Run the test again, inside namespaces of its own where possible, and as "nobody" for a session.
lab_enter()
{
    local again=(bash "$0")
    if [ -z "$LAB_ISOLATED" ]; then
        if lab_can_isolate; then
            LAB_ISOLATED=entered exec unshare --mount --pid --fork --kill-child --mount-proc "${again[@]}"
        fi
        export LAB_ISOLATED=no
    elif [ "$LAB_ISOLATED" = entered ]; then
        lab_hide_machine || lab_fail "cannot set up the namespaces of the test"
        export LAB_ISOLATED=yes
    fi
    if [ "$LAB_KIND" = session ] && [ "$(id -u)" -eq 0 ]; then
        lab_need setpriv
        setpriv --reuid=nobody --regid=nogroup --clear-groups test -x "$NBDPULL" ||
            lab_skip "the ordinary user nobody cannot reach $NBDPULL"
        exec setpriv --reuid=nobody --regid=nogroup --clear-groups "${again[@]}"
    fi
}

# lab_qemu_conf FILE [LINE]...
lab_qemu_conf()
{
    local file=$1
    shift
    mkdir -p "$(dirname "$file")"
    printf '%s\n' 'security_driver = "none"' 'stdio_handler = "file"' "$@" >"$file"
}

# lab_probed DIR: what libvirt finds out about QEMU, there, is what another laboratory of this build found out: libvirt looks
# whether it is still true, and the half second that asking takes is saved in every test.
lab_probed()
{
    LAB_PROBED=$1
    mkdir -p "$1"
    cp "${NBDPULL_LAB_PROBED:-/nowhere}"/*.xml "$1" 2>/dev/null || true
}

lab_keep_probed()
{
    local kept=${NBDPULL_LAB_PROBED:-} file new
    [ -n "$LAB_PROBED" ] && [ -n "$kept" ] && mkdir -p "$kept" 2>/dev/null && [ -w "$kept" ] || return 0
    for file in "$LAB_PROBED"/*.xml; do
        if [ -s "$file" ] && ! cmp -s "$file" "$kept/${file##*/}"; then
            new=$(mktemp "$kept/new.XXXXXX") && cp "$file" "$new" && chmod 644 "$new" && mv "$new" "$kept/${file##*/}"
        fi
    done
}

lab_start_embed()
{
    local user=()
    if [ "$(id -u)" -eq 0 ]; then
        user=('user = "root"' 'group = "root"')
    fi
    # Remembered owners carry a time of the host's boot, whose reckoning wavers; each time libvirt says so.
    lab_qemu_conf "$LAB_DIR/root/etc/qemu.conf" 'remember_owner = 0' ${user[@]+"${user[@]}"}
    lab_probed "$LAB_DIR/root/cache/qemu/capabilities"
    LAB_URI="qemu:///embed?root=$LAB_DIR/root"
}

lab_start_system()
{
    lab_need_root "qemu:///system"
    LAB_URI=qemu:///system
    lab_need libvirtd virtlogd
    if [ "$LAB_ISOLATED" = yes ]; then
        lab_qemu_conf /etc/libvirt/qemu.conf
        lab_probed /var/cache/libvirt/qemu/capabilities
    elif virsh -q -c "$LAB_URI" uri >/dev/null 2>&1; then
        return 0
    fi
    virtlogd -d -p "$LAB_DIR/virtlogd.pid" || lab_skip "virtlogd does not start here"
    libvirtd -d -p "$LAB_DIR/libvirtd.pid" || lab_skip "libvirtd does not start here"
}

lab_start_session()
{
    local dir
    export HOME=$LAB_DIR/home
    export XDG_RUNTIME_DIR=$LAB_DIR/run XDG_CONFIG_HOME=$HOME/.config XDG_CACHE_HOME=$HOME/.cache \
        XDG_DATA_HOME=$HOME/.local
    for dir in "$XDG_RUNTIME_DIR" "$XDG_CONFIG_HOME" "$XDG_CACHE_HOME" "$XDG_DATA_HOME"; do
        mkdir -p "$dir"
    done
    chmod 700 "$XDG_RUNTIME_DIR"
    lab_qemu_conf "$XDG_CONFIG_HOME/libvirt/qemu.conf"
    lab_probed "$XDG_CACHE_HOME/libvirt/qemu/cache/capabilities"
    LAB_URI=qemu:///session
}

# lab_start: in the laboratory that NBDPULL_LAB names, or the first of the test's line "# labs: ...".
lab_start()
{
    local labs
    labs=$(sed -n 's/^# labs: //p' "$0")
    LAB_KIND=${NBDPULL_LAB:-${labs%% *}}
    [[ " $labs " == *" $LAB_KIND "* ]] || lab_skip "not made for NBDPULL_LAB=$LAB_KIND"
    : "${NBDPULL:?is the program to test}" "${NBDPULL_SOURCE:?is the source directory}"
    [ -x "$NBDPULL" ] || lab_fail "no program $NBDPULL"
    lab_need virsh qemu-img qemu-nbd qemu-system-x86_64 jq unshare
    lab_enter
    # Short, because sockets lie below it; open for QEMU's user to pass through.
    LAB_DIR=$(mktemp -d /tmp/np.XXXXXX) || lab_fail "no work directory"
    chmod 711 "$LAB_DIR"
    mkdir "$LAB_DIR/tmp"
    export TMPDIR=$LAB_DIR/tmp XDG_STATE_HOME=$LAB_DIR/tmp/lab.state
    # shellcheck disable=SC2034  # for the tests
    LAB_NAME=nbdpull-test-${LAB_DIR##*.}
    trap lab_end EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    lab_own_reports
    # The embedded driver's own messages are not the program's.
    export LIBVIRT_LOG_OUTPUTS=3:file:$LAB_DIR/libvirt.log
    "lab_start_$LAB_KIND"
}

# A sanitiser's reports of this test: whoever of the program's processes it is about, also a guardian whose status nobody
# has, and one of which the test wants that it fails, the test fails.
lab_own_reports()
{
    local options
    for options in ASAN_OPTIONS UBSAN_OPTIONS LSAN_OPTIONS TSAN_OPTIONS; do
        if [[ ${!options:-} =~ ^(.*log_path=)([^:]+)(.*)$ ]]; then
            LAB_REPORTS=${BASH_REMATCH[2]}.${LAB_DIR##*.}
            export "$options=${BASH_REMATCH[1]}$LAB_REPORTS${BASH_REMATCH[3]}"
        fi
    done
}

# lab_reported: is there one? Shows them.
lab_reported()
{
    local report status=1
    for report in ${LAB_REPORTS:+"$LAB_REPORTS".*}; do
        if [ -e "$report" ]; then
            lab_note "$report: $(head -n 40 "$report")"
            status=0
        fi
    done
    return $status
}

# lab_small_place SIZE DIR: a file system that fills up.
lab_small_place()
{
    lab_need_root "a small file system"
    [ "$LAB_ISOLATED" = yes ] || lab_skip "a small file system needs a mount namespace"
    mkdir "$2"
    mount -t tmpfs -o "size=$1,mode=711" tmpfs "$2" || lab_fail "cannot mount $2"
    LAB_MOUNTS+=("$2")
}

lab_end()
{
    local status=$? name file
    # A child that gets a signal before it has become its program must not clean up.
    [ "$BASHPID" = $$ ] || exit $status
    trap - EXIT INT TERM HUP
    for name in ${LAB_DOMAINS[@]+"${LAB_DOMAINS[@]}"}; do
        lab_destroy "$name" >/dev/null 2>&1
    done
    for file in "$LAB_DIR"/libvirtd.pid "$LAB_DIR"/run/libvirt/libvirtd.pid "$LAB_DIR"/virtlogd.pid; do
        if [ -s "$file" ]; then
            kill "$(cat "$file")" 2>/dev/null
        fi
    done
    cd /
    umount ${LAB_MOUNTS[@]+"${LAB_MOUNTS[@]}"} 2>/dev/null
    lab_reported && status=1
    lab_keep_probed
    if [ $status -ne 0 ] && [ $status -ne 77 ] && [ -n "${NBDPULL_LAB_KEEP:-}" ]; then
        lab_note "kept: $LAB_DIR"
    else
        rm -rf "$LAB_DIR"
    fi
    exit $status
}

# ---- domains ----

# lab_virsh COMMAND...: several commands in one string, separated by ";", are one connection.
lab_virsh()
{
    if [ "$LAB_KIND" = embed ]; then
        lab_virsh_embed "$@"
    else
        virsh -q -c "$LAB_URI" "$@"
    fi
}

# lab_script COMMAND...: what lab_virsh was given, as one string of virsh's.
lab_script()
{
    [ $# -ne 1 ] || { echo "$1" && return; }
    printf "'%s' " "$@"
}

# libvirt 9.0's embedded driver crashes at exit about once in a hundred times, after its work is done, and what
# virsh has printed may be lost with it. So what only asks is asked again; what changes something is done. And it
# may end a domain when it is closed while it still connects to it: to ask for statistics waits for that.
lab_virsh_embed()
{
    local status said script mark=@@@
    said=$(mktemp "$LAB_DIR/tmp/lab.XXXXXX")
    script="domstats --balloon; echo $mark; $(lab_script "$@")"
    for _ in 1 2 3 4 5; do
        status=0
        # The shell's own word about a crash goes to the group's standard error.
        { virsh -q -c "$LAB_URI" "$script" >"$said" 2>"$said.err" || status=$?; } 2>/dev/null
        case "$status $*" in
        13[49]\ *define* | 13[49]\ *start* | 13[49]\ *destroy* | 13[49]\ *-begin* | 13[49]\ *-create* | 13[49]\ *abort*)
            status=0 && break
            ;;
        13[49]\ *) ;;
        *) cat "$said.err" >&2 && break ;;
        esac
    done
    sed "1,/$mark/{/$mark./!d;s/^.*$mark//}" "$said"
    rm -f "$said" "$said.err"
    return $status
}

lab_image()
{
    echo "${LAB_IMAGE[$1/$2]}"
}

lab_bus()
{
    case $1 in
    vd*) echo virtio ;;
    sd*) echo sata ;;
    hd*) echo ide ;;
    fd*) echo fdc ;;
    esac
}

# lab_disk_xml NAME TARGET KIND ARGUMENT OPTIONS: one <disk>; makes the image unless it is there.
lab_disk_xml()
{
    local name=$1 target=$2 kind=$3 argument=$4 options=$5 source='' device=disk driver=raw
    case $kind in
    cdrom | floppy)
        device=$kind
        source=${argument:+"<source file='$argument'/>"}
        ;;
    xml)
        cat "$argument"
        return
        ;;
    *)
        local image=$LAB_DIR/$name.$target.$kind
        driver=$kind
        if [ ! -e "$image" ]; then
            qemu-img create -q -f "$kind" ${options:+-o "$options"} "$image" "$argument" ||
                lab_fail "qemu-img create $image"
        fi
        source="<source file='$image'/>"
        ;;
    esac
    echo "<disk type='file' device='$device'>
      <driver name='qemu' type='$driver' discard='unmap' detect_zeroes='off'/>$source
      <target dev='$target' bus='$(lab_bus "$target")'/></disk>"
}

# lab_domain_xml NAME SPEC...: the specs are those of lab_domain.
lab_domain_xml()
{
    local name=$1 spec target kind argument options firmware='' machine=q35 memory=32
    shift
    for spec in "$@"; do
        IFS=: read -r target kind argument _ <<<"$spec"
        case $target in
        nvram) firmware="<loader readonly='yes' type='pflash'>$kind</loader><nvram>$argument</nvram>" ;;
        boot)
            firmware="<kernel>$kind</kernel><initrd>$argument</initrd><cmdline>console=ttyS0 quiet cryptomgr.notests</cmdline>"
            memory=256
            ;;
        hd* | fd*) machine=pc ;;
        esac
    done
    echo "<domain type='qemu'><name>$name</name><memory unit='MiB'>$memory</memory><vcpu>1</vcpu>
      <os><type arch='x86_64' machine='$machine'>hvm</type>$firmware</os><features><acpi/></features><cpu mode='maximum'/>
      <devices><controller type='usb' model='none'/><memballoon model='none'/>"
    for spec in "$@"; do
        IFS=: read -r target kind argument options <<<"$spec"
        case $target in
        nvram | boot) ;;
        device) cat "$kind" ;;
        *) lab_disk_xml "$name" "$target" "$kind" "$argument" "$options" ;;
        esac
    done
    echo "</devices></domain>"
}

# lab_domain [--running|--off] NAME SPEC...: define and start (paused: nothing but the test writes).
#   TARGET:FORMAT:SIZE[:OPTIONS]   an image, made with `qemu-img create -o OPTIONS` unless it is there already
#   TARGET:cdrom[:PATH]  TARGET:floppy[:PATH]   empty without a path
#   TARGET:xml:PATH                a <disk> element from a file
#   nvram:CODE:VARS                firmware in flash
#   boot:KERNEL:INITRD             an operating system (guest.sh has one)
#   device:PATH                    elements of <devices> from a file
lab_domain()
{
    local start="start --paused" name spec target kind
    case $1 in
    --running) start=start && shift ;;
    --off) start= && shift ;;
    esac
    name=$1
    shift
    for spec in "$@"; do
        IFS=: read -r target kind _ <<<"$spec"
        LAB_IMAGE[$name/$target]=$LAB_DIR/$name.$target.$kind
        LAB_FORMAT[$name/$target]=$kind
    done
    lab_domain_xml "$name" "$@" >"$LAB_DIR/$name.xml" || exit 1
    LAB_DOMAINS+=("$name")
    lab_virsh "define $LAB_DIR/$name.xml${start:+; $start $name}" >/dev/null || lab_fail "domain $name"
}

# lab_filled NAME TARGET FORMAT RAW-FILE: an image of that content, for the next lab_domain.
lab_filled()
{
    qemu-img convert -f raw -O "$3" "$4" "$LAB_DIR/$1.$2.$3" || lab_fail "cannot make an image of $4"
}

# lab_program_files SIZE FILE: what a guest's disk may hold: compresses about 2 to 1, and slowly if asked to.
lab_program_files()
{
    tar -c --ignore-failed-read -C / usr/lib usr/bin 2>/dev/null | head -c "$1" >"$2"
    [ "$(stat -c %s "$2")" -eq "$(numfmt --from=iec "$1")" ] || lab_fail "not $1 of program files here"
}

# lab_random SIZE FILE: does not compress.
lab_random()
{
    head -c "$1" /dev/urandom >"$2"
}

# lab_destroy NAME: end it and forget it with its checkpoints.
lab_destroy()
{
    lab_virsh "destroy $1; undefine $1 --checkpoints-metadata --nvram" || true
}

# ---- the guest's writes ----

# lab_device NAME TARGET: what `qemu-io -d` takes, from the live XML.
lab_device()
{
    local alias
    alias=$(lab_virsh dumpxml "$1" | sed -n "/<target dev='$2'/,/<\/disk>/s/.*<alias name='\(.*\)'.*/\1/p")
    [ -n "$alias" ] || lab_fail "no device $2 in domain $1"
    case $alias in
    virtio-*) echo "/machine/peripheral/$alias/virtio-backend" ;;
    *) echo "$alias" ;;
    esac
}

# lab_io NAME TARGET COMMAND...: commands of qemu-io, in order, then a flush, in one connection.
# QEMU prints what they gave to its own output, not to the monitor; so the last command, when it writes a
# pattern, is verified from outside.
lab_io()
{
    local name=$1 target=$2 device script='' command said
    shift 2
    device=$(lab_device "$name" "$target") || exit 1
    for command in "$@"; do
        script+="qemu-monitor-command $name --hmp 'qemu-io -d $device \"$command\"';"
    done
    script+="qemu-monitor-command $name --hmp 'qemu-io -d $device flush'"
    said=$(lab_virsh "$script" | tr -d '\r\n') || lab_fail "lab_io $name $target $*"
    [ -z "$said" ] || lab_fail "lab_io $name $target $*: $said"
    case $command in
    "write -P "*) lab_holds "$name" "$target" "${command#write }" ;;
    esac
}

# lab_holds NAME TARGET "-P PATTERN OFFSET LENGTH"
lab_holds()
{
    local said
    said=$(qemu-io -r -U -f "${LAB_FORMAT[$1/$2]}" -c "read $3" "$(lab_image "$1" "$2")" 2>&1)
    [[ $said == "read "[0-9]* ]] || lab_fail "$1 $2 does not hold $3: $said"
}

# lab_truth NAME TARGET FILE: the disk as the guest sees it now. It must not be written meanwhile.
lab_truth()
{
    local format=${LAB_FORMAT[$1/$2]}
    qemu-img convert -U -f "$format" -O raw "$(lab_image "$1" "$2")" "$3" || lab_fail "no truth of $2"
}

# ---- comparing ----

lab_virtual_size()
{
    qemu-img info -U --output=json "$1" | jq '."virtual-size"'
}

# lab_same RESTORED TRUTH: every byte, and the size. The format comes from the file's name.
lab_same()
{
    local restored=$1 truth=$2 format=${1##*.}
    [ -f "$restored" ] || lab_fail "$restored is missing"
    if [ "$format" = qcow2 ]; then
        qemu-img check -q "$restored" || lab_fail "qemu-img check $restored"
        qemu-img convert -f qcow2 -O raw "$restored" "$LAB_DIR/tmp/same.raw" || lab_fail "cannot read $restored"
        cmp "$LAB_DIR/tmp/same.raw" "$truth" || lab_fail "$restored differs from $truth"
        rm "$LAB_DIR/tmp/same.raw"
    else
        cmp "$restored" "$truth" || lab_fail "$restored differs from $truth"
    fi
}

# lab_used FILE: bytes it takes on the host.
lab_used()
{
    echo $(($(stat -c '%b * %B' "$1")))
}

# ---- nothing left behind ----

# Sockets, scratch files, checkpoints and sets that exist now, where libvirt and nbdpull may put them.
lab_files()
{
    local places=("$LAB_DIR")
    if [ "$LAB_ISOLATED" = yes ]; then
        places+=(/var/tmp)
    fi
    if [ "$LAB_ISOLATED" = yes ] && [ "$LAB_KIND" = system ]; then
        places+=(/var/lib/libvirt /run/libvirt)
    fi
    find "${places[@]}" \( -path "$LAB_DIR/tmp/lab.*" -o -name log -o -name cache -o -name .cache \
        -o -name '*.log' -o -name '*.xml.new' \) -prune -o -printf '%y %p\n' | sort
}

# Jobs and checkpoints of the domains, as libvirt says. It goes on after a command that fails.
lab_jobs()
{
    local name script=''
    for name in ${LAB_DOMAINS[@]+"${LAB_DOMAINS[@]}"}; do
        script+="echo $name; backup-dumpxml $name; checkpoint-list --name $name;"
    done
    lab_virsh "$script" 2>/dev/null
}

# lab_remember, then lab_unchanged: no file, job or checkpoint came or went in between.
lab_remember()
{
    lab_jobs >"$LAB_DIR/tmp/lab.jobs"
    lab_files >"$LAB_DIR/tmp/lab.files"
}

lab_unchanged()
{
    lab_jobs | diff "$LAB_DIR/tmp/lab.jobs" - >&2 || lab_fail "${1:-it} left or took a job or a checkpoint"
    lab_files | diff "$LAB_DIR/tmp/lab.files" - >&2 || lab_fail "${1:-it} left or took files"
}

# ---- the program ----

# Processes that an embedded driver forks print libvirt's own lines, and no API of libvirt stops them.
np_drop_libvirt_lines()
{
    if [ "$LAB_KIND" = embed ]; then
        sed -i -E '/^[0-9]{4}-[0-9-]+ [0-9:.+]+: [0-9]+: (info|warning|error) :/d' "$NP_ERR"
    fi
}

# np STATUS ARGUMENT...: run it and demand that exit status. Its output is in NP_OUT and NP_ERR.
np()
{
    local want=$1 status=0
    shift
    NP_OUT=$LAB_DIR/tmp/lab.out
    NP_ERR=$LAB_DIR/tmp/lab.err
    "$NBDPULL" "$@" >"$NP_OUT" 2>"$NP_ERR" </dev/null || status=$?
    np_drop_libvirt_lines
    if [ $status -ne "$want" ]; then
        head -c 2000 "$NP_OUT" "$NP_ERR" >&2
        lab_fail "nbdpull $*: status $status, not $want"
    fi
}

# np_start ARGUMENT...: run it in the background; then np_wait STATUS.
np_start()
{
    NP_OUT=$LAB_DIR/tmp/lab.bg.out
    NP_ERR=$LAB_DIR/tmp/lab.bg.err
    NP_SAID="nbdpull $*"
    : >"$LAB_DIR/tmp/lab.began"
    # A shell that is not interactive starts background commands with SIGINT ignored.
    env --default-signal=INT "$NBDPULL" "$@" >"$NP_OUT" 2>"$NP_ERR" </dev/null &
    NP_PID=$!
}

np_wait()
{
    local status=0
    wait "$NP_PID" || status=$?
    [ $status -eq "$1" ] || lab_fail "$NP_SAID: status $status, not $1: $(head -c 1000 "$LAB_DIR/tmp/lab.bg.err")"
}

# np_guardian: process id of the guardian of the background run.
np_guardian()
{
    pgrep -P "$NP_PID" -x nbdpull-guard || lab_fail "$NP_SAID has no guardian"
}

# np_kill_both: kill -9 of the background run and of its guardian, which must not see the run's end. Until it has ended too,
# it has the set's lock.
np_kill_both()
{
    local guardian
    guardian=$(np_guardian) || exit 1
    kill -9 "$guardian" "$NP_PID"
    np_wait 137
    lab_eventually "the guardian ends" lab_has_ended "$guardian"
}

# lab_has_ended PID
lab_has_ended()
{
    ! kill -0 "$1" 2>/dev/null
}

# Is the background run in the middle of its job? Where libvirt can be asked, it is, and the new point has a stream: the
# job is there before begin has returned. An embedded driver cannot be asked beside nbdpull, so there the stream tells
# alone, by growing.
np_is_pulling()
{
    kill -0 "$NP_PID" 2>/dev/null || lab_fail "$NP_SAID ended too soon: $(head -c 1000 "$LAB_DIR/tmp/lab.bg.err")"
    if [ "$LAB_KIND" = embed ]; then
        [ -n "$(find "$1/streams" -name '*.nbp' -size +64k -newer "$LAB_DIR/tmp/lab.began" 2>/dev/null)" ]
    else
        [ -n "$(find "$1/streams" -name '*.nbp' -newer "$LAB_DIR/tmp/lab.began" 2>/dev/null)" ] &&
            lab_virsh backup-dumpxml "$2" >/dev/null 2>&1
    fi
}

# np_start_slow NAME SET [ARGUMENT...]: a backup in the background, in the middle of its job when this returns.
# One worker at zstd's highest level takes seconds for some tens of MiB, on any machine. A test that waits for the end may
# set NP_SLOW to a --bwlimit, which takes no processor.
NP_SLOW=(--compress zstd:19 -w 1)
np_start_slow()
{
    local name=$1 set=$2
    shift 2
    np_start backup -c "$LAB_URI" -d "$name" -l full -o "$set" "${NP_SLOW[@]}" "$@"
    lab_eventually "the job begins" np_is_pulling "$set" "$name"
}

# np_start_held NAME [ARGUMENT...]: a copy into a pipe that nobody reads, in the middle of its job when this returns;
# it stays there until np_release FILE, which takes the stream. What it says is in NP_ERR. Then np_wait STATUS.
np_start_held()
{
    local name=$1
    shift
    [ -p "$LAB_DIR/tmp/lab.held" ] || mkfifo "$LAB_DIR/tmp/lab.held" || lab_fail "no pipe"
    exec 9<>"$LAB_DIR/tmp/lab.held"
    NP_ERR=$LAB_DIR/tmp/lab.bg.err
    NP_SAID="nbdpull backup into a pipe $*"
    env --default-signal=INT "$NBDPULL" backup -c "$LAB_URI" -d "$name" -l copy -o - "$@" \
        >"$LAB_DIR/tmp/lab.held" 2>"$NP_ERR" </dev/null 9>&- &
    NP_PID=$!
    lab_eventually "the job begins" np_has_scratch
}

np_has_scratch()
{
    kill -0 "$NP_PID" 2>/dev/null || lab_fail "$NP_SAID ended too soon: $(head -c 1000 "$NP_ERR")"
    [ -n "$(find "$LAB_DIR" /var/tmp -path '*/nbdpull-*/*.scratch' 2>/dev/null)" ]
}

np_release()
{
    exec 8<"$LAB_DIR/tmp/lab.held" 9>&-
    cat <&8 >"$1"
    exec 8<&-
}

# np_refuses STATUS PATTERN ARGUMENT...: it fails with one clear line that says so, and changes nothing.
np_refuses()
{
    local want=$1 pattern=$2
    shift 2
    lab_remember
    np "$want" "$@"
    np_said "$pattern"
    [ ! -s "$NP_OUT" ] || lab_fail "nbdpull $* fails and prints to standard output"
    lab_unchanged "nbdpull $*"
}

# np_said PATTERN: its standard error is one line that says so.
np_said()
{
    # Not in np_wait: sed makes a new file, and a guardian may still be writing to the old one.
    np_drop_libvirt_lines
    [ "$(wc -l <"$NP_ERR")" -eq 1 ] || lab_fail "not one line: $(cat "$NP_ERR")"
    grep -q -i -E -e "$1" "$NP_ERR" || lab_fail "it says: $(cat "$NP_ERR"); no /$1/"
}

lab_is_sanitised()
{
    grep -q -a -F -e __asan_init -e __tsan_init "$NBDPULL"
}

# Skips where the program's memory is not its own doing.
lab_need_own_memory()
{
    lab_is_sanitised && lab_skip "a sanitiser's memory is not the program's"
    : "${NBDPULL_PEAK:?is the program e2e_peak, which measures}"
}

# np_measured KIB MS ARGUMENT...: it succeeds within that peak memory (VmHWM) and that time.
np_measured()
{
    local most_kib=$1 most_ms=$2 kib ms
    shift 2
    "$NBDPULL_PEAK" "$LAB_DIR/tmp/lab.peak" "$NBDPULL" "$@" >/dev/null 2>"$LAB_DIR/tmp/lab.err" </dev/null ||
        lab_fail "nbdpull $*: $(head -c 1000 "$LAB_DIR/tmp/lab.err")"
    read -r kib ms <"$LAB_DIR/tmp/lab.peak"
    lab_note "$ms ms, peak $kib KiB: nbdpull $*"
    [ "$kib" -lt "$most_kib" ] || lab_fail "nbdpull $*: peak memory $kib KiB"
    [ "$ms" -lt "$most_ms" ] || lab_fail "nbdpull $*: $ms ms"
}

# np_points SET: ids of its points, in one line.
np_points()
{
    "$NBDPULL" dump -i "$1" --json | jq -r '[.points[].id] | join(" ")' || lab_fail "cannot dump $1"
}

# np_backup NAME ARGUMENT...
np_backup()
{
    local name=$1
    shift
    np 0 backup -c "$LAB_URI" -d "$name" "$@"
}

# lab_round_trip NAME TARGET...: back up into a new set with LAB_BACKUP, restore, compare each disk.
LAB_BACKUP=(-l full)
lab_round_trip()
{
    local name=$1 target
    shift
    rm -rf "$LAB_DIR/set" "$LAB_DIR/restored"
    for target in "$@"; do
        lab_truth "$name" "$target" "$LAB_DIR/tmp/truth.$target"
    done
    np_backup "$name" "${LAB_BACKUP[@]}" -o "$LAB_DIR/set"
    np 0 restore -i "$LAB_DIR/set" -o "$LAB_DIR/restored"
    for target in "$@"; do
        lab_same "$LAB_DIR/restored/$target.qcow2" "$LAB_DIR/tmp/truth.$target"
        rm "$LAB_DIR/tmp/truth.$target"
    done
}
