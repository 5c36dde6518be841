#!/bin/sh
# shows: striding receive queues, whose memory UMR maps: the driver chooses them by itself, TCP goes through them at MTU 1500 and 9000, and after going back and forth to legacy queues
# tier: ci
# timeout: 120
# broken: StrdRq(0), a frame mapped to the wrong page, UMR completions that do not come ("min_rx_wqes" timeouts)
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/tcp.sh"

start_two_ports

# striding PORT on|off: sets the flag of both ports and waits for the link.
striding() {
	ethtool --set-priv-flags "$port0" rx_striding_rq "$1" &&
		peer ethtool --set-priv-flags "$port1" rx_striding_rq "$1" &&
		both_up
}

is_striding() {
	ethtool --show-priv-flags "$port0" | grep -q "rx_striding_rq *: $1"
}

mtu() {
	ip link set "$port0" mtu "$1" && ip -n peer link set "$port1" mtu "$1" && both_up
}

both_ways() {
	check "$1: 4 MiB there are the same" copied 192.0.2.2
	check "$1: 4 MiB back are the same" copied_back 192.0.2.1
}

check "the driver chooses striding queues" is_striding on
both_ways "MTU 1500"
check "MTU 9000" mtu 9000
check "echoes of 8972 bytes" all_echoes 5 ping -i 0.1 -s 8972 -M do 192.0.2.2
both_ways "MTU 9000"
check "legacy queues" striding off
check "echoes through legacy queues" all_echoes 3 ping -i 0.1 192.0.2.2
check "striding queues again" striding on
check "echoes through striding queues" all_echoes 5 ping -i 0.1 -s 8972 -M do 192.0.2.2
check "MTU 1500" mtu 1500
check "echoes of 1472 bytes" all_echoes 5 ping -i 0.1 -s 1472 -M do 192.0.2.2
one_namespace
check_dmesg
finish
