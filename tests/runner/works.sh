#!/bin/sh
# shows: that the suite goes on
# tier: ci
# timeout: 60
. "${0%/*}/../lib/tap.sh"
check "the driver is there" driver_loaded
check "no process of another scenario is" sh -c '! pgrep -f "sleep 100000"'
check_dmesg
finish
