#!/bin/sh
# shows: XDP programs in the driver: they pass, drop, send back and redirect what comes, on striding and on legacy queues, in frames of several sizes up to MTU 9000, by the counters of both ports and by every byte that comes back
# tier: ci
# timeout: 150
# broken: a frame that the program did not see, one that comes back with other bytes, an XDP send queue that does not complete
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/xdp.sh"

command -v xdp-bench >/dev/null || skip_all "there is no xdp-bench in this guest"
start_xdp_ports

# with WORDS…: 40 frames under a program of xdp-bench.
with() {
	statistics before
	begin xdp-bench "$@"
	point $? "$queues: xdp-bench $*: its program is in the driver"
	echo_requests "$size"
	end
	point $? "it ends"
	statistics after
	same "the second port got 40 frames" 40 "$(grown second rx_packets_phy)"
}

# counts NAME…: what the driver of the second port counted.
counts() {
	for name in "$@"; do
		same "the driver's $name grew by 40" 40 "$(grown second "$name")"
	done
}

back() {
	same "the second port sent 40 frames" 40 "$(grown second tx_packets_phy)"
	same "the first port got 40 frames" 40 "$(grown first rx_packets_phy)"
	check "they are the same, byte by byte" came_back
}

for striding in on off; do
	check "striding queues: $striding" on_both --set-priv-flags rx_striding_rq $striding
	[ $striding = on ] && queues=striding || queues=legacy
	size=56
	with pass "$port1"
	check "every request was answered" answered
	with drop "$port1"
	counts rx_xdp_drop
	same "the first port got nothing" 0 "$(grown first rx_packets_phy)"
	check "nothing came back" nothing_came_back
	for size in 0 1472; do
		with tx "$port1"
		counts rx_xdp_tx_xmit
		back
	done
	size=1000
	with redirect "$port1" "$port1"
	counts rx_xdp_redirect tx_xdp_xmit
	back
done

# Frames of several pages, with a program that is written for them.
mtu() {
	ip link set "$port0" mtu "$1" && ip -n peer link set "$port1" mtu "$1" && both_up
}
check "MTU 9000" mtu 9000
check "striding queues" on_both --set-priv-flags rx_striding_rq on
for queues in striding legacy; do
	on_both --set-priv-flags rx_striding_rq "$([ $queues = striding ] && echo on || echo off)"
	size=8972
	with tx -l load-bytes "$port1"
	counts rx_xdp_tx_xmit
	back
done
check "MTU 1500" mtu 1500
check "striding queues" on_both --set-priv-flags rx_striding_rq on
check "without a program, every echo comes back" all_echoes 10 ping -i 0.05 192.0.2.2
one_namespace
check_dmesg
finish
