#!/bin/bash
# Empty values, and words that are no text: a refusal is one line, and a document is always JSON, where --json
# promises it.
# labs: embed
. "$(dirname "$0")/lab.sh"
lab_start
lab_need python3
lab_domain "$LAB_NAME" vda:qcow2:1M vdb:qcow2:1M
to=(backup -c "$LAB_URI" -d "$LAB_NAME" -l full)

# An unset variable of a script does not mean all disks.
np_refuses 2 'include.*value' "${to[@]}" -o "$LAB_DIR/new" -i ''
np_refuses 2 'include.*value' "${to[@]}" -o "$LAB_DIR/new" -i ,
np_refuses 2 'exclude.*value' "${to[@]}" -o "$LAB_DIR/new" -x ''
np_refuses 2 'output.*value' "${to[@]}" -o ''
np_refuses 2 'scratch-dir.*value' "${to[@]}" -o "$LAB_DIR/new" --scratch-dir ''

np_refuses 1 'two lines' "${to[@]}" -o "$LAB_DIR/missing/two"$'\n'"lines"

# is_json FILE: by the letter, also that it is UTF-8.
is_json() { python3 -c 'import json, sys; json.load(open(sys.argv[1], encoding="utf-8"))' "$1" || lab_fail "no JSON: $(cat "$1")"; }
np 1 "${to[@]}" -o "$LAB_DIR/missing/"$'\xff\xe2\x82' --json
is_json "$NP_OUT"
np 0 "${to[@]}" -o "$LAB_DIR/"$'\xff' --json
is_json "$NP_OUT"

# The document of a refusal goes where that of a success would: beside a stream, and only there, to standard error.
np 2 backup -c "$LAB_URI" -d "$LAB_NAME" -l half -o "$LAB_DIR/new" --json
is_json "$NP_OUT"
np 1 backup -c "$LAB_URI" -d "$LAB_NAME" -l copy -o - -i vdz --json
is_json "$NP_ERR"
[ ! -s "$NP_OUT" ] || lab_fail "something on standard output"
