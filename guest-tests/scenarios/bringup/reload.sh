#!/bin/sh
# shows: ten times modprobe -r and modprobe, with a ping after each: nothing is left behind that the next load trips over
# tier: ci
# timeout: 600
# broken: a load that fails, a port that does not come back, a ping that is lost after a reload
. "${0%/*}/../lib/tap.sh"

round=1
while [ $round -le 10 ]; do
	check "unload $round" unload || break
	check "load $round" load || break
	if ! two_ports; then
		check "both ports come up after load $round" false
		break
	fi
	check "ping after load $round" all_echoes 3 ping -i 0.2 192.0.2.2 || break
	one_namespace
	round=$((round + 1))
done
check_dmesg
finish
