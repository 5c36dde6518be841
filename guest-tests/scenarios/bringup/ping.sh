#!/bin/sh
# shows: IPv4 and IPv6 between the two ports, over the wire (the second port has a network namespace of its own), both ways, small and large
# tier: ci
# timeout: 120
# broken: lost echoes, or packets that crossed without the ports' counters noticing
. "${0%/*}/../lib/tap.sh"

start_two_ports

# sent NAMESPACE DEVICE: packets sent so far.
sent() {
	ip ${1:+-n "$1"} -j -s link show dev "$2" | jq '.[0].stats64.tx.packets'
}

before0=$(sent "" "$port0")
before1=$(sent peer "$port1")
for size in 56 1400; do
	check "IPv4, first port to second, $size bytes" all_echoes 5 ping -i 0.2 -s $size 192.0.2.2
	check "IPv4, second port to first, $size bytes" all_echoes 5 peer ping -i 0.2 -s $size 192.0.2.1
	check "IPv6, first port to second, $size bytes" all_echoes 5 ping -6 -i 0.2 -s $size 2001:db8::2
	check "IPv6, second port to first, $size bytes" all_echoes 5 peer ping -6 -i 0.2 -s $size 2001:db8::1
done
check "no echo of a hundred is lost" all_echoes 100 ping -i 0.02 192.0.2.2
# Every echo request or answer is one packet sent: 10 a size and protocol, and the hundred.
check "the first port sent at least 140 packets" test $(($(sent "" "$port0") - before0)) -ge 140
check "the second port sent at least 140 packets" test $(($(sent peer "$port1") - before1)) -ge 140
one_namespace
check_dmesg
finish
