#!/bin/bash
# A password of a display is not in a set, for libvirt is not asked for it; so a restored guest whose display listens to
# the network would be anybody's. The restore says so, once, and says nothing of a display that only the host reaches.
# labs: system
. "$(dirname "$0")/lab.sh"
lab_start

lab_domain --off "$LAB_NAME" vda:qcow2:1M
lab_virsh "dumpxml --inactive $LAB_NAME" >"$LAB_DIR/tmp/domain.xml"

# backed_up SET GRAPHICS: a full backup of the guest with these displays.
backed_up()
{
    sed "s|</devices>|$2</devices>|" "$LAB_DIR/tmp/domain.xml" >"$LAB_DIR/tmp/with.xml"
    lab_virsh "define $LAB_DIR/tmp/with.xml" >/dev/null || lab_fail "libvirt does not take $2"
    np_backup "$LAB_NAME" -l full -o "$1"
}

# said_once SET DIR: who restores is told which display, where it listens, why, and what to do.
said_once()
{
    [ "$(grep -c 'passw' "$NP_ERR")" -eq 1 ] || lab_fail "it says: $(cat "$NP_ERR")"
    grep -q -F "nbdpull: warning: $1/$LAB_NAME.xml: " "$NP_ERR" || lab_fail "it says: $(cat "$NP_ERR")"
    grep -q -F ": vnc on 0.0.0.0, without a password, for a set holds none; " "$NP_ERR" || lab_fail "it says: $(cat "$NP_ERR")"
    grep -q -F "(passwd=), or let it listen on 127.0.0.1" "$NP_ERR" || lab_fail "it says: $(cat "$NP_ERR")"
}

set=$LAB_DIR/set
backed_up "$set" "<graphics type='vnc' autoport='yes' listen='0.0.0.0' passwd='hidden'/>"
np 0 restore -i "$set" -o "$LAB_DIR/out" -q
said_once "$LAB_DIR/out"
grep -q -F "passwd" "$LAB_DIR/out/$LAB_NAME.xml" && lab_fail "there is a password: $(cat "$LAB_DIR/out/$LAB_NAME.xml")"
np 0 restore -i "$set" -o "$LAB_DIR/verified" --verify --json
said_once "$LAB_DIR/verified"
np 0 restore -i "$set" -o "$LAB_DIR/salvaged" --salvage
said_once "$LAB_DIR/salvaged"
"$NBDPULL" restore -i - -o "$LAB_DIR/piped" <"$set/streams/0001.vda.nbp" 2>"$NP_ERR" || lab_fail "$(cat "$NP_ERR")"
said_once "$LAB_DIR/piped"

# The restored guest as libvirt understands it: what the warning says is what it is.
LAB_DOMAINS+=("$LAB_NAME-restored")
lab_virsh "define $LAB_DIR/out/$LAB_NAME.xml" >/dev/null || lab_fail "the restored guest cannot be defined"
lab_virsh "dumpxml --security-info $LAB_NAME-restored" | grep '<graphics' >"$LAB_DIR/tmp/graphics"
grep -q "listen='0.0.0.0'" "$LAB_DIR/tmp/graphics" && ! grep -q passwd "$LAB_DIR/tmp/graphics" || lab_fail "$(cat "$LAB_DIR/tmp/graphics")"

# quiet NAME GRAPHICS: a display of which there is nothing to say.
quiet()
{
    backed_up "$LAB_DIR/set.$1" "$2"
    np 0 restore -i "$LAB_DIR/set.$1" -o "$LAB_DIR/out.$1"
    grep -q 'passw' "$NP_ERR" && lab_fail "$1: it says: $(cat "$NP_ERR")"
    return 0
}

quiet default "<graphics type='vnc' autoport='yes' passwd='hidden'/>"
quiet loopback "<graphics type='vnc' autoport='yes' passwd='hidden'><listen type='address' address='127.0.0.1'/></graphics>"
quiet socket "<graphics type='vnc'><listen type='socket'/></graphics>"
exit 0
