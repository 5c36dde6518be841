#!/bin/sh
# shows: switchdev_inactive: representors are there and everything that is sent is dropped, until the e-switch becomes active; there and back, from legacy mode and to it
# tier: full
# needs: kernel >= 7.2
# card: vfs = 2
# timeout: 300
# broken: frames that go through an e-switch that is not active, one that stays silent when it is, a mode that cannot be left
. "${0%/*}/../lib/reps.sh"

# hears, deaf WHEN: the VF and its representor, and the ports at both ends of the wire.
hears() {
	# Who was not found a moment ago is not looked for again at once.
	ip -all netns exec ip neigh flush all
	ip neigh flush all
	check "the VF reaches its representor $1" all_echoes 5 ip netns exec vf0 ping -i 0.05 198.51.100.1
	check "the uplink reaches the other end of the wire $1" all_echoes 5 ping -i 0.05 192.0.2.2
}

deaf() {
	check "the VF does not reach its representor $1" not ip netns exec vf0 ping -q -c 2 -i 0.1 -W 1 198.51.100.1
	check "nor it the VF $1" not ping -q -c 2 -i 0.1 -W 1 198.51.100.10
	check "nor does the uplink reach the other end of the wire $1" not ping -q -c 2 -i 0.1 -W 1 192.0.2.2
	check "nor that one the uplink $1" not ip netns exec peer ping -q -c 2 -i 0.1 -W 1 192.0.2.1
}

begin_reps
tolerate 'E-Switch: MPFS/FDB inactive$'
start_two_ports
all_vfs
for round in 1 2; do
	check "the e-switch changes to switchdev_inactive ($round)" eswitch "$pf0" switchdev_inactive
	same "that is its mode ($round)" switchdev_inactive "$(eswitch_mode "$pf0")"
	check "each VF has a representor ($round)" until_true 30 reps "$pf0" "$total"
	rep0=$(rep "$pf0" 0)
	ip link set "$rep0" up
	check "a VF comes up ($round)" house "$pf0" 0 vf0 10
	ip addr replace 198.51.100.1/24 dev "$rep0" && ip -n vf0 addr add 198.51.100.10/24 dev "$(device_in vf0)"
	point $? "its representor has an address ($round)"
	until_true 10 carrier vf0 "$(device_in vf0)"
	deaf "while it is not active ($round)"
	check "it becomes active ($round)" eswitch "$pf0" switchdev
	same "that is its mode then ($round)" switchdev "$(eswitch_mode "$pf0")"
	hears "when it is active ($round)"
	check "it becomes inactive again ($round)" eswitch "$pf0" switchdev_inactive
	deaf "when it is not active again ($round)"
	check "it becomes active once more ($round)" eswitch "$pf0" switchdev
	hears "once more ($round)"
	[ $round = 1 ] || check "it becomes inactive at last" eswitch "$pf0" switchdev_inactive
	ip addr del 198.51.100.1/24 dev "$rep0"
	ip netns del vf0
	until_true 10 netdev "$(vf "$pf0" 0)"
	check "the e-switch changes back to legacy ($round)" eswitch "$pf0" legacy
	check "the port reaches the other end of the wire in legacy mode ($round)" until_true 10 all_echoes 5 ping -i 0.05 192.0.2.2
done
end_reps
