#!/bin/bash
# Every kind of thing at every place of a set, for readers and for writers.
# long: about a minute
# labs: embed
NBDPULL_ALL_LINKS=1 exec bash "$(dirname "$0")/hostile_links.sh"
