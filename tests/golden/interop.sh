#!/bin/bash
# The reader in Python, made from FORMAT.md alone, against this build: it reads the golden streams, streams that
# the engine of this build writes, and it refuses what nbdpull's own readers refuse.
set -u -o pipefail
here=$(cd "$(dirname "$0")" && pwd)
python=$(command -v /usr/bin/python3 || command -v python3) || {
    echo "skipped: no program python3" >&2
    exit 77
}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
export PYTHONDONTWRITEBYTECODE=1

fail()
{
    echo "failed: $*" >&2
    exit 1
}

"$python" "$here/check.py" || fail "golden streams"

# The same files again, where the libraries are those that they were made with.
libraries=$(cd "$here" && "$python" -c 'import sums; print(sums.LIBRARIES)')
if [ "$libraries" = "lz4 1.9.4, zstd 1.5.4" ] && [ "$(uname -m)" = x86_64 ]; then
    mkdir "$work/made"
    "$python" "$here/make.py" "$work/made" || fail "make.py"
    for file in "$work"/made/*; do
        cmp "$file" "$here/$(basename "$file")" || fail "make.py makes another $(basename "$file")"
    done
else
    echo "make.py's files are not compared: they were made with other libraries than $libraries on $(uname -m)"
fi

# More than 8192 granules with data, and more than 1024 records: leaves that fill up, and a root over them.
cat >"$work/trees" <<'LIST'
stream hashes
disk 0 34000001 65536 4096
fill 0 34000001 1
file domain.xml 10
stream entries
disk 0 72089601 65536 65536
fill 0 72089601 2
file domain.xml 10
LIST
cat >"$work/mixed" <<'LIST'
stream mixed
disk 0 9961473 1048576 65536
fill 70000 2000000 1
fill 3145728 40000 200
fill 9961000 473 3
file domain.xml 10
LIST

# check LIST CODEC NAME...
check()
{
    list=$1 codec=$2
    shift 2
    for name; do
        "$WRITE_ENGINE" "$work/$list" "$name" "$codec" "$work/$name.nbp" || fail "$name with $codec"
    done
    "$python" "$here/check.py" "$work/$list" "$work" || fail "$* with $codec"
}

check trees lz4 hashes entries
check mixed none mixed
check mixed lz4 mixed
check mixed zstd:1 mixed
check mixed zstd:9 mixed

"$python" "$here/differential.py" "$READ_STREAMS" 300 || fail "two readers, two opinions"
"$python" "$here/explain.py" "$here/smallest.nbp" >"$work/explained" || fail "explain.py"
"$python" - "$here/README.md" "$work/explained" <<'COMPARE' || fail "README.md does not show smallest.nbp as it is"
import sys
sys.exit(open(sys.argv[2]).read() not in open(sys.argv[1]).read())
COMPARE
