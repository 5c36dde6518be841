#!/bin/sh
# shows: switchdev mode with VFs, three times there and back: a representor is its VF's other end, a bridge of representors joins VFs, PF and wire, in the card as soon as it has learned who is where
# tier: ci
# card: vfs = 2
# timeout: 300
# broken: a mode that cannot be set, lost echoes, frames that come where no rule sends them, offloaded frames that the driver sees, pages or objects left behind
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/reset.sh"
. "${0%/*}/../lib/vfs.sh"
. "${0%/*}/../lib/eswitch.sh"

load
with_vfs 2
start_two_ports
switchdev_messages
bridge_messages
up_all() {
	for one in "$@"; do
		ip link set "$one" up || return 1
	done
}

for round in 1 2 3; do
	check "$total VFs come ($round)" numvfs "$pf0" "$total"
	until_true 60 vfs_are_there "$pf0" "$total"
	check "the e-switch changes to switchdev ($round)" eswitch "$pf0" switchdev
	same "that is its mode ($round)" switchdev "$(eswitch_mode "$pf0")"
	check "each VF has a representor ($round)" until_true 30 reps "$pf0" "$total"
	up=$(uplink "$pf0") rep0=$(rep "$pf0" 0) rep1=$(rep "$pf0" 1)
	check "representors come up ($round)" up_all "$rep0" "$rep1"
	check "a VF comes up ($round)" house "$pf0" 0 vf0 10
	check "and another ($round)" house "$pf0" 1 vf1 11
	device0=$(device_in vf0)
	ip link set "$rep0" down
	check "a VF has no link without its representor ($round)" until_true 10 not carrier vf0 "$device0"
	ip link set "$rep0" up
	check "and has one with it ($round)" until_true 10 carrier vf0 "$device0"

	check "the uplink is the port ($round)" all_echoes 5 ping -i 0.05 192.0.2.2
	check "a VF reaches nobody ($round)" not ip netns exec vf0 ping -q -c 2 -i 0.1 -W 1 192.0.2.2
	check "nor its sibling ($round)" not ip netns exec vf0 ping -q -c 2 -i 0.1 -W 1 192.0.2.11
	ip addr add 198.51.100.1/24 dev "$rep0" && ip -n vf0 addr add 198.51.100.10/24 dev "$device0"
	point $? "a representor has an address ($round)"
	sent=$(rep_counter "$rep0" vport_tx_packets) received=$(rep_counter "$rep0" vport_rx_packets)
	check "the VF reaches it ($round)" all_echoes 20 ip netns exec vf0 ping -i 0.02 198.51.100.1
	check "it reaches the VF ($round)" all_echoes 20 ping -i 0.02 198.51.100.10
	sent=$(($(rep_counter "$rep0" vport_tx_packets) - sent)) received=$(($(rep_counter "$rep0" vport_rx_packets) - received))
	check "the card has counted both ways ($sent, $received, $round)" test $sent -ge 40 -a $received -ge 40
	if [ $round = 1 ]; then
		received=$(rep_counter "$rep0" vport_rx_bytes)
		ip netns exec vf0 ping -q -c 10 -i 0.05 -W 1 -s 1000 -I "$device0" 224.0.0.1 >/dev/null
		received=$(($(rep_counter "$rep0" vport_rx_bytes) - received))
		todo "Linux leaves the octets of multicast frames out of vport_rx_bytes" \
			check "octets of groups are counted, too ($received)" test $received -ge 10000
	fi
	ip addr del 198.51.100.1/24 dev "$rep0"
	ip -n vf0 addr del 198.51.100.10/24 dev "$device0"

	check "uplink and representors become a bridge ($round)" into_bridge "$up" "$rep0" "$rep1"
	check "it forwards ($round)" until_true 30 forwarding 3
	ip -all netns exec ip neigh flush all
	check "VFs reach each other ($round)" reach vf0 11
	check "one reaches the bridge ($round)" reach vf1 1
	check "and the other end of the wire ($round)" reach vf1 2
	check "which reaches it ($round)" reach peer 10
	check "the card knows where they are ($round)" until_true 10 offloaded 2
	ip netns exec vf0 ping -q -c 3 -i 0.1 192.0.2.11 >/dev/null
	seen=$(rep_counter "$rep0" rx_packets) received=$(rep_counter "$rep0" vport_rx_packets)
	check "all echoes between VFs come back ($round)" all_echoes 100 ip netns exec vf0 ping -i 0.01 192.0.2.11
	seen=$(($(rep_counter "$rep0" rx_packets) - seen)) received=$(($(rep_counter "$rep0" vport_rx_packets) - received))
	check "the card has forwarded them, not the driver ($seen of $received, $round)" test $received -ge 100 -a $seen -lt 20
	out_of_bridge "$up"
	point $? "the bridge goes ($round)"

	ip netns del vf0
	ip netns del vf1
	until_true 30 vfs_are_there "$pf0" "$total"
	if [ $round = 2 ]; then
		check "VFs go in switchdev mode, too" numvfs "$pf0" 0
		check "and come" numvfs "$pf0" "$total"
		check "with their representors" until_true 30 reps "$pf0" "$total"
		until_true 60 vfs_are_there "$pf0" "$total"
	fi
	check "the e-switch changes back to legacy ($round)" eswitch "$pf0" legacy
	until_true 30 netdev "$pf0"
	ip link set "$port0" up
	check "a VF comes up in legacy mode ($round)" house "$pf0" 0 vf0 10
	check "and another in legacy mode ($round)" house "$pf0" 1 vf1 11
	check "they reach each other in legacy mode ($round)" reach vf0 11
	ip netns del vf0
	ip netns del vf1
	until_true 30 vfs_are_there "$pf0" "$total"
	vfs_go 20 "($round)"
done
check "the PFs still reach each other" all_echoes 10 ping -i 0.05 192.0.2.2
one_namespace
check_dmesg
finish
