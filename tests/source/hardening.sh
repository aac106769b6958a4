#!/bin/bash
# The built program has what cmake/hardening.cmake asks for, and none of it was lost on the way to the binary.
. "$(dirname "$0")/lib.sh"
need readelf
cache=$NBDPULL_BUILD/CMakeCache.txt
grep -q '^NBDPULL_SANITIZE:[A-Z]*=.' "$cache" && skip "a sanitised build is not hardened"
grep -q '^NBDPULL_HARDEN:BOOL=ON' "$cache" || skip "built with NBDPULL_HARDEN=OFF"
grep -q '^CMAKE_BUILD_TYPE:[A-Z]*=.*Rel' "$cache" || skip "only optimised builds are hardened"

status=0
# has WHAT PATTERN ARGUMENT-OF-READELF...
has()
{
    local what=$1 pattern=$2
    shift 2
    if ! readelf -W "$@" | grep -E -e "$pattern" >/dev/null; then # not -q, which would end readelf
        echo "$what: no /$pattern/ in readelf -W $*"
        status=1
    fi
}
has "position-independent" 'Type: +DYN' --file-header "$NBDPULL"
has "position-independent, a program" 'Flags:.* PIE' --dynamic "$NBDPULL"
has "bound at its start" 'Flags:.* NOW' --dynamic "$NBDPULL"
has "tables of the linker are read-only" 'GNU_RELRO' --segments "$NBDPULL"
has "stack cannot be executed" 'GNU_STACK .* RW +0x' --segments "$NBDPULL"
has "stack protector" 'UND __stack_chk_fail' --dyn-syms "$NBDPULL"
has "checked string functions" 'UND __(memcpy|snprintf|vsnprintf)_chk' --dyn-syms "$NBDPULL"
if readelf -W --segments "$NBDPULL" | grep -E '^ +LOAD' | grep RWE; then
    echo "a segment can be written and executed"
    status=1
fi
# A library that nobody calls is not loaded into a program that reads hostile streams.
if ldd --unused "$NBDPULL" | grep -E '^\s+/'; then
    echo "linked, but not used: these libraries"
    status=1
fi

# As the linker joins it, the property is only on a program all of whose objects have it, the C library's crt1.o too.
if grep -q '^NBDPULL_HAVE_fcf_protection_full:INTERNAL=1' "$cache"; then
    for library in "$NBDPULL_BUILD"/src/*/lib*.a "$NBDPULL_BUILD"/format/lib*.a; do
        objects=$(ar t "$library" | wc -l)
        marked=$(readelf -nW "$library" | grep -cE 'x86 feature: IBT, SHSTK')
        if [ "$objects" -ne "$marked" ]; then
            echo "$library: $marked of $objects objects are made for indirect branch tracking and shadow stack"
            status=1
        fi
    done
fi
# What cannot be seen in a binary; a cached answer of "no" would be silent.
for flag in fstack_clash_protection fno_strict_overflow fno_delete_null_pointer_checks fno_strict_aliasing; do
    grep -q "^NBDPULL_HAVE_$flag:INTERNAL=1" "$cache" || { echo "the compiler does not take -$flag" && status=1; }
done
exit $status
