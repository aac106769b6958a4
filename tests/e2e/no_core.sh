#!/bin/bash
# A program that crashes leaves no core of the guest's bytes: no file, and nothing for a collector that the kernel pipes
# cores to, which it does at a limit of 0 too, but not at 1. Who may not raise a hard limit of 0 keeps it.
# labs: system
. "$(dirname "$0")/lab.sh"
lab_need python3 setpriv
lab_start

mkdir "$LAB_DIR/tmp/cores"
cat >"$LAB_DIR/tmp/crash.py" <<'END'
import array, fcntl, os, resource, signal, subprocess, sys, termios, time

def crash(argv, hard):
    """Abort it while it reads a pipe. Its limit, and whether the kernel says that a core was dumped."""
    def limit():
        resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    there, here = os.pipe()
    run = subprocess.Popen(argv, stdin=there, stdout=subprocess.DEVNULL, preexec_fn=limit)
    os.write(here, b"\x89")
    left = array.array("i", [1])
    end = time.monotonic() + 60
    while left[0] > 0 and time.monotonic() < end: # it has begun when it has read that
        fcntl.ioctl(here, termios.FIONREAD, left)
    limits = [line.split()[4:6] for line in open(f"/proc/{run.pid}/limits") if line.startswith("Max core")]
    os.kill(run.pid, signal.SIGABRT)
    _, status = os.waitpid(run.pid, 0)
    os.close(there)
    os.close(here)
    if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGABRT:
        sys.exit(f"{argv}: ended with {status}")
    return " ".join(limits[0]), os.WCOREDUMP(status)

os.chdir(sys.argv[1])
program = [sys.argv[2], "verify", "-i", "-"]
hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
pattern = open("/proc/sys/kernel/core_pattern").read()
def is_no_core(what, argv, hard, wanted):
    said, dumped = crash(argv, hard)
    print(f"# {what}: limits {said}, core {dumped}", file=sys.stderr)
    if said != wanted or (dumped and pattern[0] != "@"):
        sys.exit(f"{what}: limits {said}, not {wanted}; core {dumped}")
    if os.listdir("."):
        sys.exit(f"{what}: there are {os.listdir('.')}")

if hard != 0:
    wanted = "unlimited" if hard == resource.RLIM_INFINITY else str(hard)
    is_no_core("ordinary", program, hard, f"1 {wanted}")
without = ["setpriv", "--bounding-set=-sys_resource", "--inh-caps=-sys_resource"]
is_no_core("forbidden for good", without + program, 0, "0 0")
if subprocess.run(["prlimit", "--core=0:0", "prlimit", "--core=0:1", "true"], stderr=subprocess.DEVNULL).returncode == 0:
    is_no_core("forbidden", program, 0, "1 1")
# That a core would be there without. A collector of this machine is not given one.
if hard != 0 and pattern[0] not in "|@":
    print(f"# another program: {crash(['cat'], hard)}, {os.listdir('.')}", file=sys.stderr)
END
python3 "$LAB_DIR/tmp/crash.py" "$LAB_DIR/tmp/cores" "$NBDPULL" || lab_fail "a core may be left"
exit 0
