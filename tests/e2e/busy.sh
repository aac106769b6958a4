#!/bin/bash
# A second run into the same set, or against a domain whose job is not ours, is turned away at once.
# labs: system
. "$(dirname "$0")/lab.sh"
lab_start

raw=$LAB_DIR/content
lab_program_files 12M "$raw"
lab_filled "$LAB_NAME" vda qcow2 "$raw"
lab_domain "$LAB_NAME" vda:qcow2:12M
set=$LAB_DIR/set

np_start_slow "$LAB_NAME" "$set"
slow=$NP_PID slow_said=$NP_SAID
began=$SECONDS
np 7 backup -c "$LAB_URI" -d "$LAB_NAME" -l full -o "$set"
np_said "$set.*$slow|$slow.*$set"
np 7 backup -c "$LAB_URI" -d "$LAB_NAME" -l full -o "$LAB_DIR/second"
np_said "$LAB_NAME"
# libvirt itself would have waited 30 s for the job's lock.
[ $((SECONDS - began)) -lt 10 ] || lab_fail "it took $((SECONDS - began)) s"
# The first run knows nothing of that; readers are not kept out.
kill -0 "$slow" || lab_fail "the first run ended"
np 0 dump -i "$set"
kill "$slow"
NP_PID=$slow NP_SAID=$slow_said np_wait 143

# A job that virsh began.
cat >"$LAB_DIR/job.xml" <<XML
<domainbackup mode='pull'><server transport='unix' socket='/var/lib/libvirt/qemu/foreign.sock'/></domainbackup>
XML
lab_virsh backup-begin "$LAB_NAME" "$LAB_DIR/job.xml" >/dev/null || lab_fail "virsh backup-begin"
np_refuses 7 "$LAB_NAME.*job" backup -c "$LAB_URI" -d "$LAB_NAME" -l full -o "$set"
lab_virsh backup-dumpxml "$LAB_NAME" | grep -q foreign.sock || lab_fail "the foreign job is gone"
lab_virsh domjobabort "$LAB_NAME"
lab_job_is_over() { ! lab_virsh backup-dumpxml "$LAB_NAME" >/dev/null 2>&1; }
lab_eventually "the foreign job ends" lab_job_is_over
np_backup "$LAB_NAME" -l full -o "$set"
