#!/bin/sh
# shows: links that go down and come back from either end, speeds, MTUs up to jumbo, addresses that change, promiscuous and multicast filters
# tier: ci
# timeout: 150
# broken: a carrier that does not follow, frames that are lost or too long after a change
. "${0%/*}/../lib/tap.sh"

start_two_ports

no_carrier() {
	! carrier "$@"
}
both_down() {
	until_true 30 no_carrier "" "$port0" && until_true 30 no_carrier peer "$port1"
}

for round in 1 2; do
	check "down from the first end" sh -c "ip link set $port0 down"
	check "the second end notices" until_true 30 no_carrier peer "$port1"
	ip link set "$port0" up
	check "up again" both_up
	ip -n peer link set "$port1" down
	check "down from the second end: the first notices" until_true 30 no_carrier "" "$port0"
	ip -n peer link set "$port1" up
	check "up again" both_up
done
ip addr replace 2001:db8::1/64 dev "$port0" nodad
ip -n peer addr replace 2001:db8::2/64 dev "$port1" nodad
check "every echo comes back" all_echoes 5 ping -i 0.1 192.0.2.2
check "the port counts how often its link went down" test "$(counter link_down_events_phy)" -ge 2

check "25 Gbit/s by one end only" ethtool -s "$port0" speed 25000 autoneg off
check "both ends agree on it" both_up
for place in "" peer; do
	device=$port0
	[ -z "$place" ] || device=$port1
	same "the speed of $device" 25000 "$(${place:+ip netns exec peer} ethtool "$device" | sed -n "s/.*Speed: \([0-9]*\)Mb.*/\1/p")"
done
check "every echo comes back at it" all_echoes 5 ping -i 0.1 192.0.2.2
check "10 Gbit/s by the other end" peer ethtool -s "$port1" speed 10000 autoneg off
check "there is no common speed" both_down
check "both ask for everything again" sh -c "ethtool -s $port0 autoneg on && ip netns exec peer ethtool -s $port1 autoneg on"
check "the link is back" both_up

for mtu in 9000 68 576 1500; do
	ip link set "$port0" mtu $mtu && ip -n peer link set "$port1" mtu $mtu
	point $? "MTU $mtu at both ends"
	both_up
	size=$((mtu - 28))
	check "echoes as long as it, in one piece" all_echoes 3 ping -i 0.1 -M "do" -s $size 192.0.2.2
done
ip link set "$port0" mtu 4000
both_up
before=$(peer ethtool -S "$port1" | sed -n 's/^ *rx_oversize_pkts_phy: //p')
check "what is longer than the other end's MTU does not arrive" sh -c "! ping -q -c 2 -W 1 -M do -s 3000 192.0.2.2"
after=$(peer ethtool -S "$port1" | sed -n 's/^ *rx_oversize_pkts_phy: //p')
check "and is counted there" test "$after" -ge $((before + 2))
ip link set "$port0" mtu 1500
both_up

old=$(cat "/sys/class/net/$port0/address")
check "a new address" ip link set "$port0" address 02:00:5e:00:53:01
check "every echo comes back to it" all_echoes 5 ping -i 0.1 192.0.2.2
same "the permanent address stays" "$old" "$(ethtool -P "$port0" | sed 's/.*: //')"
check "the old address is not listened to any more" sh -c "
	ip -n peer neigh replace 192.0.2.1 lladdr $old dev $port1 nud permanent
	! ip netns exec peer ping -q -c 2 -i 0.2 -W 1 192.0.2.1"
# Promiscuous, the driver warns of S-tags that it drops while C-tags are stripped.
ethtool -K "$port0" rxvlan off
ip link set "$port0" promisc on
sleep 1
heard=$(counter rx_packets)
peer ping -q -c 3 -i 0.2 -W 1 192.0.2.1 >/dev/null
check "promiscuous, the port hears what is for others" test "$(counter rx_packets)" -ge $((heard + 3))
ip link set "$port0" promisc off
ethtool -K "$port0" rxvlan on
sleep 1
heard=$(counter rx_packets)
peer ping -q -c 3 -i 0.2 -W 1 192.0.2.1 >/dev/null
check "and then no more" test "$(counter rx_packets)" -lt $((heard + 3))
ip -n peer neigh del 192.0.2.1 dev "$port1"
check "the old address again" ip link set "$port0" address "$old"
check "every echo comes back" all_echoes 5 ping -i 0.1 192.0.2.2
one_namespace
check_dmesg
finish
