# Runs that are ended at one of their steps, and what must be true afterwards. Sourced by each test, never run.
#
#   . "$(dirname "$0")/faults.sh"
#   fault_start
#   fault_each inc "files virt nbd" "kill"     rounds over the steps of an increment, or over some of them
#
# Ways: those of stop_at.c; and qemu, libvirtd, guardian, servers, which kill somebody else: the domain's QEMU (-gone: and
# libvirt has seen it when the run goes on), the daemon (another one is started; -late: 12 s later, when the run has given
# up), the run's guardian, its qemu-nbds. Levels: full, inc, new (auto into a new set), recover (an
# increment that finds a run which was killed together with its guardian; of a guest that is off, when libvirt had not yet
# heard of its bitmap).
#
# A round: the guest writes; a backup is ended at the step, where the guest writes again; then the set is readable,
# has the point whole or not at all, its newest point restores exactly; what the way of ending promises is so; the
# next backup works, goes on by bitmap, restores exactly, and nothing of the ended run is left.
#
#   NBDPULL_FAULTS=some|all     some steps, chosen by the seed, or every one
#   NBDPULL_FAULTS_PART=K/N     of every one a part that follows from its name: N runs, also on N machines, take them all,
#                               but for steps that only some runs have
#   NBDPULL_FAULTS_SEED=N       take that choice again; the test prints it
#   NBDPULL_FAULTS_STEP=NAME:N  this step only
# shellcheck shell=bash
# shellcheck source=../e2e/lab.sh
. "$(dirname "${BASH_SOURCE[0]}")/../e2e/lab.sh"

# With FAULT_OFF set before, the guest is off, and "writes" while nobody has its images.
FAULT_TARGETS=(vda vdb)
FAULT_OFF=${FAULT_OFF:-}
FAULT_ROUNDS=0 FAULT_FAILED=()
# What rounds are of: fault_backup_count LEVEL, fault_backup_round LEVEL STEP HOW, and fault_backup_reset after a failure.
FAULT_KIND=fault_backup
declare -A FAULT_DEVICE FAULT_STEPS

fault_start()
{
    lab_start
    : "${NBDPULL_STOP_AT:?is the library that stops the program}"
    RANDOM=${NBDPULL_FAULTS_SEED:=${NBDPULL_CHOICE:-$((SRANDOM % 32768))}}
    lab_note "NBDPULL_FAULTS_SEED=$NBDPULL_FAULTS_SEED"
    FAULT_SET=$LAB_DIR/set
    fault_vdb
    lab_domain ${FAULT_OFF:+--off} "$LAB_NAME" vda:qcow2:5M vdb:raw:3000320
    local target
    for target in "${FAULT_TARGETS[@]}"; do
        [ -n "$FAULT_OFF" ] || FAULT_DEVICE[$target]=$(lab_device "$LAB_NAME" "$target")
    done
    fault_guest_writes
    np_backup "$LAB_NAME" -l full -o "$FAULT_SET"
    fault_guest_writes
    np_backup "$LAB_NAME" -l inc -o "$FAULT_SET"
    fault_truth last
}

# A hole, and then data to the end: it takes several reads, and one that only seems to work leaves other bytes.
fault_vdb()
{
    local image=$LAB_DIR/$LAB_NAME.vdb.raw
    truncate -s 500000 "$image"
    head -c 2500320 /dev/zero | tr '\0' 'Z' >>"$image" || lab_fail "no image of vdb"
}

# ---- the guest ----

# fault_io TARGET COMMAND: a command of virsh.
fault_io()
{
    echo "qemu-monitor-command $LAB_NAME --hmp 'qemu-io -d ${FAULT_DEVICE[$1]} \"$2\"';"
}

# A few writes of other bytes in other places, zeroes and discards among them. One command of virsh.
fault_writes()
{
    local pattern=$((RANDOM % 254 + 1)) k=$((RANDOM % 70))
    echo "$(fault_io vda "write -P $pattern $((k * 64))k 100k")$(fault_io vda "discard $((k * 30))k 64k")$(
        fault_io vda "write -z $((k * 50 + 7))k 70k")$(fault_io vdb "write -P $pattern $((k * 40))k 5k")$(
        fault_io vda flush)$(fault_io vdb flush)"
}

fault_guest_writes()
{
    local said
    if [ -n "$FAULT_OFF" ]; then
        fault_off_writes
        return
    fi
    said=$(lab_virsh "$(fault_writes)" | tr -d '\r\n') || lab_fail "the guest's writes may not all be done: $said"
    [ -z "$said" ] || lab_fail "the guest cannot write: $said"
}

fault_off_writes()
{
    local pattern=$((RANDOM % 254 + 1)) k=$((RANDOM % 70))
    qemu-io -f qcow2 -c "write -P $pattern $((k * 64))k 100k" -c "write -z $((k * 50 + 7))k 70k" \
        "$(lab_image "$LAB_NAME" vda)" >"$LAB_DIR/tmp/io" &&
        qemu-io -f raw -c "write -P $pattern $((k * 40))k 5k" "$(lab_image "$LAB_NAME" vdb)" >"$LAB_DIR/tmp/io" ||
        lab_fail "the images cannot be written: $(cat "$LAB_DIR/tmp/io")"
}

# fault_truth WHICH: what the guest sees now.
fault_truth()
{
    local target
    for target in "${FAULT_TARGETS[@]}"; do
        lab_truth "$LAB_NAME" "$target" "$LAB_DIR/tmp/$1.$target"
    done
}

# ---- steps ----

fault_level()
{
    case $1 in
    new) echo auto ;;
    recover) echo inc ;;
    *) echo "$1" ;;
    esac
}

# fault_program [VARIABLE=VALUE]... -- ARGUMENT...: its exit status is in FAULT_STATUS.
fault_program()
{
    local settings=()
    while [ "$1" != -- ]; do
        settings+=("$1")
        shift
    done
    shift
    NP_ERR=$LAB_DIR/tmp/fault.err
    FAULT_STATUS=0
    # The group's standard error: the shell says there that it was killed.
    { env --default-signal=INT ${settings[@]+"${settings[@]}"} LD_PRELOAD="$NBDPULL_STOP_AT" "$NBDPULL" "$@" \
        >"$LAB_DIR/tmp/fault.out" 2>"$NP_ERR" </dev/null || FAULT_STATUS=$?; } 2>/dev/null
}

# fault_run LEVEL [VARIABLE=VALUE]...
fault_run()
{
    local level
    level=$(fault_level "$1")
    shift
    fault_program "$@" -- backup -c "$LAB_URI" -d "$LAB_NAME" -l "$level" -o "$FAULT_SET" -w 1
}

# fault_prepare LEVEL: what the run finds. "recover": all that a run can leave behind.
fault_prepare()
{
    local step=nbd_pread_structured:1
    [ "$1" = recover ] || return 0
    [ -z "$FAULT_OFF" ] || step=nbd_connect_socket:1
    fault_run inc STOP_AT=$step STOP_HOW=killall
    lab_eventually "nobody serves the images" fault_nobody_serves
    [ $FAULT_STATUS -eq 137 ] && [ -e "$FAULT_SET/intent.json" ] || fault_fail "the run before it was not killed"
    flock "$FAULT_SET/lock" true
}

# fault_fresh LEVEL: for "new" there is no set, else a chain that is not long, in a set of not too many points: every run
# reads them all.
fault_fresh()
{
    if [ "$1" = new ] || [ $((FAULT_ROUNDS % 50)) -eq 49 ]; then
        rm -rf "$FAULT_SET"
        np 0 checkpoints -c "$LAB_URI" -d "$LAB_NAME" --remove
    fi
    [ "$1" = new ] && return 0
    if [ $((FAULT_ROUNDS % 10)) -eq 0 ] || [ ! -e "$FAULT_SET" ]; then
        np_backup "$LAB_NAME" -l full -o "$FAULT_SET"
        fault_truth last
    fi
}

# fault_count LEVEL: the steps of an undisturbed run, each with its group, in FAULT_STEPS.
fault_count()
{
    [ -z "${FAULT_STEPS[$1]:-}" ] || return 0
    "${FAULT_KIND}_count" "$1"
    FAULT_STEPS[$1]=$(cat "$LAB_DIR/tmp/steps")
    lab_note "level $1: $(wc -l <"$LAB_DIR/tmp/steps") steps"
}

fault_backup_count()
{
    fault_fresh "$1"
    fault_guest_writes
    fault_prepare "$1"
    rm -f "$LAB_DIR/tmp/steps"
    fault_run "$1" STOP_LOG="$LAB_DIR/tmp/steps"
    [ $FAULT_STATUS -eq 0 ] || lab_fail "an undisturbed run: status $FAULT_STATUS: $(cat "$NP_ERR")"
    fault_truth last
}

# fault_is_in_part "STEP HOW": not by its place, for threads come in another order each time.
fault_is_in_part()
{
    local part=${NBDPULL_FAULTS_PART:-1/1} number=${1#*:}
    [ "${part%/*}" -ge 1 ] && [ "${part%/*}" -le "${part#*/}" ] || lab_fail "NBDPULL_FAULTS_PART=$part is no part"
    [ $(((${number%% *} + ${#1}) % ${part#*/} + 1)) -eq "${part%/*}" ]
}

# fault_each LEVEL "GROUP..." "HOW..." [SOME]: a round for each step and way; of a level, or of "new" (auto into a new
# set). In the short run SOME of them; "SOME/FEW": so few with the embedded driver, which takes twice the time.
fault_each()
{
    local level=$1 groups=$2 hows=$3 some=${4:-8} group step how chosen=()
    if [ "$LAB_KIND" = embed ]; then some=${some#*/}; else some=${some%/*}; fi
    [ "${NBDPULL_FAULTS:-some}" = all ] || [ "$some" -gt 0 ] || return 0
    fault_count "$level"
    while read -r group step; do
        if [[ " $groups " == *" $group "* ]] && [ "${NBDPULL_FAULTS_STEP:-$step}" = "$step" ]; then
            for how in $hows; do
                chosen+=("$step $how")
            done
        fi
    done <<<"${FAULT_STEPS[$level]}"
    local total=${#chosen[@]} i done=0 begun
    for ((i = 0; i < total; i++)); do
        if [ "${NBDPULL_FAULTS:-some}" = all ]; then
            fault_is_in_part "${chosen[$i]}" || continue
        else # of what is left, with equal chances
            [ $((RANDOM % (total - i))) -lt $((some - done)) ] || continue
        fi
        read -r step how <<<"${chosen[$i]}"
        begun=$SECONDS
        fault_round_apart "$level" "$step" "$how"
        [ $((SECONDS - begun)) -lt 15 ] || lab_note "$((SECONDS - begun)) s: level $level, $step, $how"
        done=$((done + 1))
    done
    lab_note "level $level, $hows: $done of $total"
}

# fault_steps LEVEL GROUP: their names.
fault_steps()
{
    fault_count "$1"
    sed -n "s/^$2 //p" <<<"${FAULT_STEPS[$1]}"
}

# fault_pick SOME: of the lines of standard input that many, or all in the long run.
fault_pick()
{
    if [ "$NBDPULL_FAULTS" = all ]; then
        cat
    else
        awk -v some="$1" -v seed="$RANDOM" 'BEGIN { srand(seed) } { line[NR] = $0 } END {
            for (i = 1; i <= NR; i++)
                if (int(rand() * (NR - i + 1)) < some) { print line[i]; some-- } }'
    fi
}

# ---- a round ----

fault_fail()
{
    lab_note "replay: NBDPULL_FAULTS_SEED=$NBDPULL_FAULTS_SEED NBDPULL_FAULTS_STEP=$FAULT_STEP ($FAULT_HOW)"
    lab_note "status $FAULT_STATUS: $(cat "$LAB_DIR/tmp/fault.err" 2>/dev/null)"
    lab_fail "$FAULT_WHAT: $*"
}

# fault_points: the ids, none where there is no set.
fault_points()
{
    echo '{"points": []}' >"$LAB_DIR/tmp/dump"
    [ -e "$FAULT_SET/set.json" ] || return 0
    "$NBDPULL" dump -i "$FAULT_SET" --json >"$LAB_DIR/tmp/dump" || fault_fail "the set cannot be read"
    jq -r '.points[].id' "$LAB_DIR/tmp/dump"
}

# fault_restores WHICH: the newest point is what the guest saw then.
fault_restores()
{
    local target
    rm -rf "$LAB_DIR/out"
    "$NBDPULL" restore -i "$FAULT_SET" -o "$LAB_DIR/out" --format raw -q 2>"$LAB_DIR/tmp/restore.err" </dev/null ||
        fault_fail "restore: $(cat "$LAB_DIR/tmp/restore.err")"
    for target in "${FAULT_TARGETS[@]}"; do
        cmp "$LAB_DIR/out/$target.raw" "$LAB_DIR/tmp/$1.$target" || fault_fail "$target is not as it was"
    done
}

fault_bitmaps()
{
    qemu-img info -U --output=json "$(lab_image "$LAB_NAME" vda)" |
        jq -r '."format-specific".data.bitmaps[]?.name' | sort
}

# What no point has of streams and config.
fault_debris()
{
    find "$FAULT_SET/streams" "$FAULT_SET/config" -mindepth 1 -maxdepth 1 -printf '%f\n' 2>/dev/null | cut -d. -f1 | sort -u |
        grep -v -x -F -f <(jq -r '.points[].id' "$LAB_DIR/tmp/dump")
}

# fault_nothing_left: no job, no checkpoint but those that the rule keeps, no file that no point has.
fault_nothing_left()
{
    local left kept
    lab_virsh "backup-dumpxml $LAB_NAME; checkpoint-list --name $LAB_NAME" 2>/dev/null |
        grep . | sort >"$LAB_DIR/tmp/virsh"
    kept=$(jq -r '[.points[] | select(.checkpoint != null)] as $all | ($all[-1:] + [$all[] |
        select(.level == "full" or (.disks[0].level == "full"))][-1:])[].checkpoint' "$LAB_DIR/tmp/dump" | sort -u)
    [ "$(cat "$LAB_DIR/tmp/virsh")" = "$kept" ] ||
        fault_fail "$1: jobs and checkpoints $(cat "$LAB_DIR/tmp/virsh"), not $kept"
    [ -z "$FAULT_OFF" ] || [ "$(fault_bitmaps)" = "$kept" ] || fault_fail "$1: bitmaps $(fault_bitmaps), not $kept"
    left=$(find /var/tmp "$LAB_DIR/tmp" -maxdepth 1 -name 'nbdpull-*')
    if [ "$(jq '.points | length' "$LAB_DIR/tmp/dump")" -eq 0 ]; then
        [ ! -e "$FAULT_SET" ] || fault_fail "$1: left $(find "$FAULT_SET")"
        return 0
    fi
    left+=$(find "$FAULT_SET" -name '.*' -o -name intent.json)
    left+=$(fault_debris)
    [ -z "$left" ] || fault_fail "$1: left $left"
}

fault_checkpoints()
{
    lab_virsh "checkpoint-list --name $LAB_NAME" | grep .
    [ -z "$FAULT_OFF" ] || fault_bitmaps
}

# The guardian of a run that was killed has ended: nothing of the run is there but its point, or an intent if it was killed
# before there was a guardian.
fault_guardian_did()
{
    local left
    left=$(fault_checkpoints | sort -u | comm -13 "$LAB_DIR/tmp/checkpoints" - |
        grep -v -x -F -f <(jq -r '.points[].checkpoint | select(. != null)' "$LAB_DIR/tmp/dump"))
    left+=$(lab_virsh "backup-dumpxml $LAB_NAME" 2>/dev/null)
    left+=$(find /var/tmp "$LAB_DIR/tmp" -maxdepth 1 -name 'nbdpull-*')$(fault_debris)
    [ -z "$left" ] || fault_fail "the guardian left $left"
}

# Did the job of the run go on at this step?
fault_had_job()
{
    [ "$(cat "$LAB_DIR/tmp/begun" 2>/dev/null)" = runs ]
}

# A job that libvirt knows to be lost makes no point. While QEMU serves, libvirtd may go and come; so may a guardian.
fault_must_be()
{
    case $FAULT_HOW:$FAULT_STEP in
    guardian:*) echo 0yes ;;
    libvirtd:nbd_*) echo 0yes ;;
    qemu-gone:*) fault_had_job && [ -e "$LAB_DIR/tmp/died" ] && echo 1no ;;
    esac
}

# Is the status one that this way of ending may have? A point must be there if and only if it is 0.
fault_check_status()
{
    local committed=$1 must
    must=$(fault_must_be)
    [ -z "$must" ] || [ "$FAULT_STATUS$committed" = "$must" ] ||
        fault_fail "exit status $FAULT_STATUS, point committed: $committed; not $must"
    case $FAULT_HOW in
    kill* | all*) [[ $FAULT_STATUS == 137 || $FAULT_STATUS$committed == 0yes ]] ;;
    term*) [[ $FAULT_STATUS$committed =~ ^(143no|0yes)$ ]] ;;
    int*) [[ $FAULT_STATUS$committed =~ ^(130no|0yes)$ ]] ;;
    hup*) [[ $FAULT_STATUS$committed =~ ^(129no|0yes)$ ]] ;;
    qemu* | libvirtd* | guardian* | servers*) [[ $FAULT_STATUS$committed =~ ^([1578]no|0yes)$ ]] ;;
    # Where the record cannot be taken back either, it may stand.
    gone*) [[ $FAULT_STATUS$committed =~ ^([14578]no|1yes|0yes)$ ]] ;;
    *) [[ $FAULT_STATUS$committed =~ ^([14578]no|0yes)$ ]] ;;
    esac || fault_fail "exit status $FAULT_STATUS, point committed: $committed"
}

# fault_check_at_once LEVEL COMMITTED: what the way of ending promises before another run comes.
fault_check_at_once()
{
    # A recovery that did not come to its end: the next one has it to do.
    [ "$1" != recover ] || [ ! -e "$FAULT_SET/intent.json" ] || return 0
    case $FAULT_HOW$2 in
    kill-after* | killno | killyes) [ "$1" = recover ] || fault_guardian_did ;;
    kill* | qemu*) ;;
    term* | int* | hup*) fault_nothing_left "after the signal" ;;
    # Another daemon is there, and the guardian goes on trying.
    libvirtd*no) fault_nothing_left "after libvirtd was killed" ;;
    *)
        # What it says it could not do, the next run does.
        if ! grep -q 'warning: ' "$NP_ERR"; then
            fault_nothing_left "after the error"
        fi
        ;;
    esac
}

# What the run asks an administrator to do.
fault_by_hand()
{
    sed -n 's|.*remove its directory by hand: \(/[^ :]*/nbdpull-[0-9a-f]*\).*|\1|p' "$NP_ERR" | xargs -r rm -r
}

# fault_ended LEVEL: the run that is ended, while the guest writes.
fault_ended()
{
    local settings=(STOP_AT="$FAULT_STEP" STOP_HOW="${FAULT_HOW%-*}" STOP_BEGUN="$LAB_DIR/tmp/begun")
    case $FAULT_HOW in
    *-after) settings+=(STOP_WHEN=after) ;;
    *-full) settings+=(STOP_ERRNO=28) ;;
    esac
    rm -f "$LAB_DIR/tmp/begun" "$LAB_DIR/tmp/died"
    if [ "$LAB_KIND" != embed ]; then
        : >"$LAB_DIR/tmp/during"
        [ -n "$FAULT_OFF" ] ||
            printf 'virsh -q -c %s "%s" >/dev/null\n' "$LAB_URI" "$(fault_writes | sed 's/"/\\"/g')" >"$LAB_DIR/tmp/during"
        fault_murder >>"$LAB_DIR/tmp/during"
        settings+=(STOP_RUN="sh $LAB_DIR/tmp/during")
    fi
    fault_run "$1" "${settings[@]}"
    grep -q stop_at "$NP_ERR" && fault_fail "the guest could not write"
    lab_eventually "nobody serves the images" fault_nobody_serves
    [[ $FAULT_HOW != libvirtd* ]] || lab_eventually "a libvirtd is there" virsh -q -c "$LAB_URI" uri >/dev/null 2>&1
    # Whoever has the lock still is putting things right.
    [ ! -e "$FAULT_SET/lock" ] || flock "$FAULT_SET/lock" true
    fault_truth after
}

# What else happens at the step, as a shell script.
fault_murder()
{
    case $FAULT_HOW in
    qemu*)
        echo "kill -9 \$(cat /run/libvirt/qemu/$LAB_NAME.pid) && : >$LAB_DIR/tmp/died"
        [ "$FAULT_HOW" = qemu ] ||
            echo "until [ \"\$(virsh -q -c $LAB_URI domstate $LAB_NAME)\" = 'shut off' ]; do sleep 0.01; done"
        ;;
    libvirtd*)
        echo "pid=\$(cat $LAB_DIR/libvirtd.pid); kill -9 \$pid"
        echo "while [ -e /proc/\$pid/exe ]; do sleep 0.01; done; rm -f $LAB_DIR/libvirtd.pid"
        if [ "$FAULT_HOW" = libvirtd ]; then
            echo "libvirtd -d -p $LAB_DIR/libvirtd.pid"
        else
            echo "(sleep 12; exec libvirtd -d -p $LAB_DIR/libvirtd.pid) >/dev/null 2>&1 &"
        fi
        ;;
    guardian) echo "for pid in \$(pgrep -P \$STOP_PID -x nbdpull-guard); do kill -9 \$pid; done" ;;
    servers) echo "for pid in \$(pgrep -P \$STOP_PID -x qemu-nbd); do kill -9 \$pid; done" ;;
    esac
}

fault_nobody_serves() { [ "$LAB_ISOLATED" != yes ] || ! pgrep -x qemu-nbd >/dev/null; }
fault_is_off() { [ "$(lab_virsh domstate "$LAB_NAME")" = "shut off" ]; }

# What was killed beside the run is there again. Bitmaps die with their QEMU, but the next one are good.
fault_revive()
{
    [ -e "$LAB_DIR/tmp/died" ] || return 0 # not of this way, or the step was not reached: their number varies
    lab_eventually "libvirt sees that QEMU died" fault_is_off
    lab_virsh "start $LAB_NAME --paused" >/dev/null || fault_fail "the domain does not start again"
    FAULT_WHAT+=", the run after QEMU died"
    "$NBDPULL" backup -c "$LAB_URI" -d "$LAB_NAME" -l auto -o "$FAULT_SET" >"$LAB_DIR/tmp/next.out" \
        2>"$LAB_DIR/tmp/next.err" </dev/null || fault_fail "$(cat "$LAB_DIR/tmp/next.err" "$LAB_DIR/tmp/next.out")"
    fault_restores after
    fault_guest_writes
    fault_truth after
}

# fault_next LEVEL: the run after that, and what is left then.
fault_next()
{
    local level=inc
    [ "$1" != new ] || [[ $FAULT_HOW == qemu* ]] || level=auto
    FAULT_WHAT+=", next run"
    "$NBDPULL" backup -c "$LAB_URI" -d "$LAB_NAME" -l $level -o "$FAULT_SET" --json >"$LAB_DIR/tmp/next.out" \
        2>"$LAB_DIR/tmp/next.err" </dev/null || fault_fail "$(cat "$LAB_DIR/tmp/next.err" "$LAB_DIR/tmp/next.out")"
    [ "$1" = new ] || [ -n "${FAULT_BITMAPS_LOST:-}" ] || jq -e '.disks[0].how == "bitmap"' "$LAB_DIR/tmp/next.out" >/dev/null ||
        fault_fail "vda not by bitmap: $(jq -c '.disks[0]' "$LAB_DIR/tmp/next.out")"
    fault_points >/dev/null || exit 1
    fault_nothing_left "after the next run"
    fault_restores after
    fault_truth last
}

# The long run goes on after a round that failed, with a new set; fault_end tells how many did.
fault_round_apart()
{
    FAULT_ROUNDS=$((FAULT_ROUNDS + 1))
    if [ "${NBDPULL_FAULTS:-some}" != all ]; then
        "${FAULT_KIND}_round" "$@"
    elif ! ("${FAULT_KIND}_round" "$@"); then
        FAULT_FAILED+=("$2 ($3, level $1)")
        "${FAULT_KIND}_reset"
    fi
}

fault_backup_reset()
{
    lab_virsh "domjobabort $LAB_NAME" >/dev/null 2>&1
    [ -n "$FAULT_OFF" ] || lab_virsh "start $LAB_NAME --paused" >/dev/null 2>&1
    rm -rf "$FAULT_SET" /var/tmp/nbdpull-*
    np 0 checkpoints -c "$LAB_URI" -d "$LAB_NAME" --remove
    np_backup "$LAB_NAME" -l full -o "$FAULT_SET"
    fault_truth last
}

fault_end()
{
    [ ${#FAULT_FAILED[@]} -eq 0 ] || lab_fail "at these steps:$(printf '\n  %s' "${FAULT_FAILED[@]}")"
}

fault_backup_round()
{
    local points now committed=no
    FAULT_STEP=$2 FAULT_HOW=$3 FAULT_WHAT="level $1, $2, $3" FAULT_STATUS=
    fault_fresh "$1"
    fault_guest_writes
    fault_truth before
    points=$(fault_points) || exit 1
    fault_prepare "$1"
    fault_checkpoints | sort -u >"$LAB_DIR/tmp/checkpoints"
    fault_ended "$1"
    now=$(fault_points) || exit 1
    if [ "$now" != "$points" ]; then
        committed=yes
        [ "$(head -n -1 <<<"$now")" = "$points" ] || fault_fail "points were $points, are $now"
        if [ -e "$LAB_DIR/tmp/begun" ]; then
            fault_restores before
        else
            fault_restores after
        fi
    elif [ -n "$now" ]; then
        fault_restores last
    fi
    fault_check_status $committed
    fault_check_at_once "$1" $committed
    fault_by_hand
    fault_revive
    fault_next "$1"
}
