#!/bin/sh
# shows: hardware GRO (SHAMPO): headers are split off and segments that match become one packet, with every byte in its place; other packets are whole; it can be turned off
# tier: ci
# timeout: 90
# broken: bytes that are lost or swapped, headers of another packet, "hw csum failure", a receive queue that stops
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/tcp.sh"

start_two_ports

# gro on|off, on the port that receives.
gro() {
	peer ethtool -K "$port1" rx-gro-hw "$1" && until_true 30 carrier peer "$port1"
}

check "hardware GRO is turned on" gro on
check "it is on" sh -c "ip netns exec peer ethtool -k $port1 | grep -q 'rx-gro-hw: on'"
for address in 192.0.2.2 2001:db8::2; do
	packets=$(peer_counter rx_gro_packets) && made=$(peer_counter rx_gro_skbs)
	check "$address: 4 MiB are the same" copied $address
	packets=$(($(peer_counter rx_gro_packets) - packets)) && made=$(($(peer_counter rx_gro_skbs) - made))
	check "$address: $packets segments became $made packets" test "$packets" -gt 1000 -a "$packets" -gt $((made * 3 / 2))
	many_sizes() {
		for size in 0 1 18 56 200 1000 1452; do
			all_echoes 200 ping -f -s $size $address || return 1
		done
	}
	check "$address: echoes of many sizes" many_sizes
done
check "large echoes in fragments" all_echoes 20 ping -i 0.01 -s 20000 192.0.2.2
for n in 1 2 3 4 5; do
	bash -c "echo datagram >/dev/udp/192.0.2.2/4001"
done
check "MTU 9000" sh -c "ip link set $port0 mtu 9000 && ip -n peer link set $port1 mtu 9000"
both_up
check "MTU 9000: 4 MiB are the same" copied 192.0.2.2
check "MTU 9000: echoes" all_echoes 20 ping -i 0.01 -s 8972 -M do 192.0.2.2
ip link set "$port0" mtu 1500 && ip -n peer link set "$port1" mtu 1500
both_up

if peer ethtool -g "$port1" | grep -q 'TCP data split:.*on'; then
	say "the driver shows that headers are split from data"
fi
check "hardware GRO is turned off" gro off
made=$(peer_counter rx_gro_packets)
check "4 MiB without it are the same" copied 192.0.2.2
same "nothing is merged by the card" "$made" "$(peer_counter rx_gro_packets)"
one_namespace
check_dmesg
finish
