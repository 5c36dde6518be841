#!/bin/sh
# shows: each firmware command of 'ethtool -L' on a device that is up fails in turn: the old queues go on or the device is down, and the next change works
# tier: full
# timeout: 1800
# broken: an oops in an error path, queues of the old set that stay in the card, a device that can't be changed any more
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/sweep.sh"

can_ask || skip_all "the card can't be asked"
start_two_ports
ethtool -L "$port0" combined 1
# A change that failed may have left the device down.
sweep "'ethtool -L'" "ip link set $port0 up; ethtool -l $port0 | tail -n 2 | grep -q 'Combined:.*1' || ethtool -L $port0 combined 1" \
	ethtool -L "$port0" combined 2
check "the ports come up" two_ports
check "the port works" all_echoes 3 ping -i 0.1 192.0.2.2
check_dmesg
finish
