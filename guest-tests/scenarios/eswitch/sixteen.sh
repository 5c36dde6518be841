#!/bin/sh
# shows: sixteen VFs, three times up and down: in legacy mode, and through a bridge of their representors in switchdev mode, each reaches the next one and the wire
# tier: full
# card: vfs = 16
# timeout: 900
# broken: VFs that do not come, lost echoes, sriov_numvfs=0 that waits two minutes, pages left behind
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/reset.sh"
. "${0%/*}/../lib/vfs.sh"
. "${0%/*}/../lib/eswitch.sh"

load
with_vfs 16
start_two_ports
switchdev_messages
bridge_messages

house_all() {
	n=0
	while [ $n -lt "$total" ]; do
		house "$pf0" $n "vf$n" $((10 + n)) || return 1
		n=$((n + 1))
	done
}

# Each reaches the next one, and the wire. The first echo may have to wait until the PF's driver has seen to the address.
all_reach() {
	n=0
	while [ $n -lt "$total" ]; do
		for host in $((10 + (n + 1) % total)) 2; do
			until_true 10 ip netns exec "vf$n" ping -q -c 1 -W 1 "192.0.2.$host"
			all_echoes 3 ip netns exec "vf$n" ping -i 0.05 "192.0.2.$host" || return 1
		done
		n=$((n + 1))
	done
}

no_houses() {
	n=0
	while [ $n -lt "$total" ]; do
		ip netns del "vf$n"
		n=$((n + 1))
	done
	until_true 60 vfs_are_there "$pf0" "$total"
}

for round in 1 2 3; do
	check "$total VFs come ($round)" numvfs "$pf0" "$total"
	check "each has a network device ($round)" until_true 120 vfs_are_there "$pf0" "$total"
	check "all come up ($round)" house_all
	check "in legacy mode each reaches the next and the wire ($round)" all_reach
	check "their network devices come back ($round)" no_houses
	check "the e-switch changes to switchdev ($round)" eswitch "$pf0" switchdev
	check "each VF has a representor ($round)" until_true 60 reps "$pf0" "$total"
	check "the representors become a bridge ($round)" into_bridge "$(uplink "$pf0")" $(reps "$pf0" "$total")
	check "all come up in switchdev mode ($round)" house_all
	check "it forwards ($round)" until_true 60 forwarding $((total + 1))
	check "in switchdev mode each reaches the next and the wire ($round)" all_reach
	check "their network devices come back again ($round)" no_houses
	check "the bridge goes ($round)" out_of_bridge "$(uplink "$pf0")"
	if [ $round = 2 ]; then
		check "the e-switch changes back to legacy" eswitch "$pf0" legacy
	fi
	vfs_go 40 "($round)"
	[ $round = 2 ] || check "the e-switch changes back to legacy ($round)" eswitch "$pf0" legacy
	until_true 30 netdev "$pf0"
	ip link set "$port0" up
done
check "the PFs still reach each other" until_true 30 ping -q -c 1 -W 1 192.0.2.2
one_namespace
check_dmesg
finish
