#!/bin/bash
# tools/check-layers and tools/check-words find each kind of offence, each planted in a copy of the source.
. "$(dirname "$0")/lib.sh"

copy=$(mktemp -d) || exit 1
trap 'rm -rf "$copy"' EXIT
cp -r src format include tools tests "$copy" || exit 1

# finds TOOL FILE LINE WORDS-OF-THE-OFFENCE
finds()
{
    local tool=$1 file=$2 line=$3 words=$4 said
    cp "$copy/$file" "$copy/saved" 2>/dev/null || : >"$copy/saved"
    echo "$line" >>"$copy/$file"
    if said=$("$copy/tools/$tool"); then
        echo "$tool does not find \"$line\" in $file"
        exit 1
    fi
    if ! grep -qF "$words" <<<"$said"; then
        echo "$tool says of \"$line\" in $file: $said"
        exit 1
    fi
    mv "$copy/saved" "$copy/$file"
}

finds check-layers src/base/error.c '#include "nbdpull/record.h"' 'of format (floor 2) from base (floor 1)'
finds check-layers src/base/error.c '#include "nbdpull/nothing.h"' 'belongs to no module'
finds check-layers src/base/error.c '#include "../virt/xml.h"' 'another folder'
finds check-layers src/base/error.c '#include <libvirt/libvirt.h>' 'only src/virt/ may'
finds check-layers src/base/error.c '#include <libxml/tree.h>' 'only src/virt/ may'
finds check-layers src/base/error.c '#include <libnbd.h>' 'only src/nbd/ may'
finds check-layers src/base/error.c '#include <lz4.h>' 'only format/codec_lz4.c may'
finds check-layers src/base/error.c '#include <zstd.h>' 'only format/codec_zstd.c may'
finds check-layers src/base/error.c '#include <xxhash.h>' 'only format/hash.c may'
finds check-layers include/nbdpull/record.h '#include "nbdpull/set.h"' 'of set (floor 3) from format (floor 2)'
finds check-layers include/nbdpull/record.h '#include "private.h"' 'a public header includes'
finds check-layers include/nbdpull/new.h '' 'header without a module'
rm "$copy/include/nbdpull/new.h"
finds check-words src/base/error.c 'strcpy(a, b);' 'a call without a bound'
finds check-words src/base/error.c 'return system("x");' 'a shell'
finds check-words src/base/error.c 'sleep(1);' 'a sleep'
finds check-words src/base/error.c 'x = atoi(y);' 'without error checking'
finds check-words src/base/error.c 'printf("x");' 'only src/cli prints'
finds check-words src/base/error.c 'exit(1);' 'only main ends'
"$copy/tools/check-layers" && "$copy/tools/check-words"
