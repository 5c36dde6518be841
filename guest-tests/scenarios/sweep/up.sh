#!/bin/sh
# shows: each firmware command of 'ip link set up' fails in turn: no splat, no object lost, and the next time the device comes up
# tier: full
# timeout: 1200
# broken: an oops in an error path, queues or tables that stay in the card, a device that never comes up again
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/sweep.sh"

can_ask || skip_all "the card can't be asked"
check "the driver loads" load
set -- $(functions)
device=$(netdev "$1")
ip link set "$device" down
sweep "'ip link set up'" "ip link set $device down" ip link set "$device" up
check_dmesg
finish
