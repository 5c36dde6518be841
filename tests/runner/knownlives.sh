#!/bin/sh
# shows: a guest that is known to die and lives
# tier: ci
# timeout: 60
# known-death: Kernel panic - not syncing: something that does not happen
. "${0%/*}/../lib/tap.sh"
check "it works" true
finish
