#!/bin/sh
# shows: a module is loaded and does nothing
# tier: full
# needs: module oracle
# timeout: 60
# fresh
. "${0%/*}/../lib/tap.sh"
check "the module is loaded" modprobe oracle
finish
