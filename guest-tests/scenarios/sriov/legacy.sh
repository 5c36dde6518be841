#!/bin/sh
# shows: VFs in legacy mode, three times up and down: they reach each other, their PF and the wire; what the PF says of their addresses and links holds; their pages come from the PF and go back
# tier: ci
# card: vfs = 2
# timeout: 180
# broken: lost echoes, sriov_numvfs=0 that waits two minutes for pages, pages or objects left behind
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/reset.sh"
. "${0%/*}/../lib/vfs.sh"

load
with_vfs 2
start_two_ports

for round in 1 2 3; do
	check "$total VFs come ($round)" numvfs "$pf0" "$total"
	check "each has a network device ($round)" until_true 60 vfs_are_there "$pf0" "$total"
	check "the PF has given pages for them ($round)" test "$(vf_pages "$pf0")" -gt 0
	if can_ask; then
		check "the card holds as many ($round)" until_true 10 held_is_given
	fi
	check "a VF comes up ($round)" house "$pf0" 0 vf0 10
	check "and another ($round)" house "$pf0" 1 vf1 11
	check "they reach each other ($round)" reach vf0 11
	check "one reaches its PF ($round)" reach vf0 1
	check "and the other end of the wire ($round)" reach vf1 2
	check "which reaches it ($round)" reach peer 10
	if [ $round = 1 ]; then
		check "a VF at the other end comes" numvfs "$pf1" 1
		check "it has a network device" until_true 60 vfs_are_there "$pf1" 1
		check "it comes up" house "$pf1" 0 far 20
		check "VFs reach each other over the wire" reach far 10
		check "and back" reach vf1 20

		device0=$(device_in vf0)
		check "a PF takes a VF's link down" ip link set "$port0" vf 0 state disable
		gone() { ! carrier vf0 "$device0"; }
		check "the VF sees that" until_true 10 gone
		check "the PF has it up again" ip link set "$port0" vf 0 state auto
		check "the VF sees that, too" until_true 10 carrier vf0 "$device0"
		check "and is reached" reach vf1 10

		received() { ip -j -s link show dev "$port0" | jq ".[0].vfinfo_list[$1].stats.rx.packets"; }
		check "the PF counts what its VFs receive ($(received 1))" test "$(received 1)" -gt 20

		# The driver does not expect the reset, and recovers from it.
		recovery_messages
		check "a PF gives a VF an address" ip link set "$port0" vf 1 mac 02:00:00:00:aa:01
		second=$(vf "$pf0" 1)
		recovered=$(recoveries "$second")
		check "which it has after a function reset" sh -c "echo 1 >/sys/bus/pci/devices/$second/reset"
		ip netns del vf1
		check "its driver recovers" until_true 60 more_recoveries "$second" "$recovered"
		until_true 60 netdev "$second"
		same "the address is the one given" 02:00:00:00:aa:01 "$(cat "/sys/bus/pci/devices/$second/net/"*/address)"
		check "the VF comes up again" house "$pf0" 1 vf1 11
		check "and reaches the other" reach vf1 10
		ip netns del far
		check "the VF at the other end goes" numvfs "$pf1" 0
	fi
	ip netns del vf0
	ip netns del vf1
	until_true 30 vfs_are_there "$pf0" "$total"
	vfs_go 20 "($round)"
done
check "the PFs still reach each other" all_echoes 10 ping -i 0.05 192.0.2.2
one_namespace
check_dmesg
finish
