#!/bin/bash
# The reader in Python, made from FORMAT.md alone, against this build: it reads the golden streams, streams that
# the engine of this build writes, and it refuses what nbdpull's own readers refuse.
set -u -o pipefail
here=$(cd "$(dirname "$0")" && pwd)
python=$(command -v python3) || {
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

# 8300 granules with data: a leaf that fills up by hashes, 1100 windows: one that fills up by entries.
cat >"$work/list" <<'LIST'
stream hashes
disk 0 34000001 65536 4096
fill 0 34000001 1
file domain.xml 10
stream entries
disk 0 72089600 65536 4096
LIST
for ((i = 0; i < 60; i++)); do # every other window, so that none is joined to another
    echo "fill $((i * 131072 + 100)) 4000 $((i + 1))" >>"$work/list"
done
echo "fill 72089599 1 5
file domain.xml 10" >>"$work/list"
for codec in none lz4 zstd:1; do
    for name in hashes entries; do
        "$WRITE_ENGINE" "$work/list" $name $codec "$work/$name.nbp" || fail "$name with $codec"
    done
    "$python" "$here/check.py" "$work/list" "$work" || fail "engine with $codec"
done

"$python" "$here/differential.py" "$READ_STREAMS" 300 || fail "two readers, two opinions"
"$python" "$here/explain.py" "$here/smallest.nbp" >"$work/explained" || fail "explain.py"
"$python" - "$here/README.md" "$work/explained" <<'COMPARE' || fail "README.md does not show smallest.nbp as it is"
import sys
sys.exit(open(sys.argv[2]).read() not in open(sys.argv[1]).read())
COMPARE
