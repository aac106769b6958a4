# Installs the Debian packages that a purpose needs. Sourced by tools/check and tools/demo, never run.
#
# Needs bash and, where something is missing, apt-get and root. Every failure is one line on standard error
# that says what to do, and status 1.
# shellcheck shell=bash

setup_tool=${0##*/}
setup_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

setup_fail()
{
    echo "$setup_tool: $*" >&2
    exit 1
}

# setup_packages PURPOSE...: the package names of these purposes, sorted, each once.
setup_packages()
{
    local purpose
    for purpose in "$@"; do
        awk -v purpose="$purpose" '$1 == purpose { print $2 }' "$setup_dir/packages"
    done | sort -u
}

# setup_missing PACKAGE...: those that are not installed.
setup_missing()
{
    local package
    for package in "$@"; do
        case $(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null) in
        ii*) ;;
        *) echo "$package" ;;
        esac
    done
}

# The cause in apt-get's own words: its first error line, without the prefix.
setup_apt_cause()
{
    local cause
    cause=$(grep -m 1 '^E: ' "$1" | cut -c 4-)
    echo "${cause:-$(tail -n 1 "$1")}"
}

# setup_apt LOG ARGUMENT...: apt-get, never asking anything. The log tells what it did.
setup_apt()
{
    local log=$1
    shift
    DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get -q -y -o DPkg::Lock::Timeout=120 \
        -o Acquire::Retries=2 "$@" </dev/null >>"$log" 2>&1
}

setup_install()
{
    local log
    log=$(mktemp) || setup_fail "cannot make a temporary file"
    echo "$setup_tool: installing $# Debian packages: $*"
    # Without Error-Mode=any, apt-get update is content with an archive it could not reach.
    setup_apt "$log" -o APT::Update::Error-Mode=any update ||
        setup_fail "cannot read the package archive (no network?): $(setup_apt_cause "$log"); whole log: $log"
    setup_apt "$log" install --no-install-recommends "$@" ||
        setup_fail "cannot install packages: $(setup_apt_cause "$log"); whole log: $log"
    rm -f "$log"
}

# setup_ensure PURPOSE...: when it returns, the packages are there.
setup_ensure()
{
    local wanted missing
    mapfile -t wanted < <(setup_packages "$@")
    if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
        setup_fail "can install only on Debian and Ubuntu; install what these packages hold, then use" \
            "--no-install: ${wanted[*]}"
    fi
    mapfile -t missing < <(setup_missing "${wanted[@]}")
    if [ ${#missing[@]} -eq 0 ]; then
        return 0
    fi
    if [ "$(id -u)" -ne 0 ]; then
        setup_fail "${#missing[@]} packages are missing; run as root: apt-get update && apt-get install" \
            "--no-install-recommends ${missing[*]}"
    fi
    setup_install "${missing[@]}"
}

# setup_build SOURCE BUILD ARGUMENT...: configure and compile, quiet unless it fails.
setup_build()
{
    local source=$1 build=$2 log
    shift 2
    log=$(mktemp) || setup_fail "cannot make a temporary file"
    echo "$setup_tool: building in $build"
    if ! { cmake -S "$source" -B "$build" "$@" && cmake --build "$build" --parallel "$(nproc)"; } \
        >"$log" 2>&1 </dev/null; then
        tail -n 40 "$log" >&2
        setup_fail "the build failed; whole log: $log"
    fi
    rm -f "$log"
}
