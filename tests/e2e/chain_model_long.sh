#!/bin/bash
# More and longer histories than chain_model has time for.
# long: about ten minutes
# labs: embed
NBDPULL_SEEDS=${NBDPULL_SEEDS:-12} NBDPULL_STEPS=${NBDPULL_STEPS:-40} exec bash "$(dirname "$0")/chain_model.sh"
