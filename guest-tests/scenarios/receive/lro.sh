#!/bin/sh
# shows: large receive offload: TCP segments arrive as fewer, longer packets, with every byte in its place, and can be told not to
# tier: ci
# timeout: 90
# broken: bytes that are lost or swapped, packets counted as merged that were not, a connection that waits for a timer
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/tcp.sh"

start_two_ports

# lro on|off, on the port that receives.
lro() {
	peer ethtool -K "$port1" lro "$1" && until_true 30 carrier peer "$port1"
}

merged() {
	peer_counter rx_lro_packets
}

check "LRO is turned on" lro on
check "4 MiB over IPv4 are the same" copied 192.0.2.2
v4=$(merged)
check "segments were merged ($v4 packets)" test "$v4" -gt 50
check "4 MiB over IPv6 are the same" copied 2001:db8::2
check "segments were merged ($(($(merged) - v4)) packets)" test $(($(merged) - v4)) -gt 50
check "echoes" all_echoes 5 ping -i 0.1 -s 1400 192.0.2.2
check "LRO is turned off" lro off
before=$(merged)
check "4 MiB without LRO are the same" copied 192.0.2.2
same "nothing is merged" "$before" "$(merged)"
one_namespace
check_dmesg
finish
