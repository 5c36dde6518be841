#!/bin/sh
# shows: switchdev mode is refused while the port's network device is in another network namespace than devlink; the locks are free afterwards (R19)
# tier: ci
# needs: kernel >= 7.2
# card: vfs = 2
# timeout: 200
# broken: a lock that is never given back: the next command hangs
. "${0%/*}/../lib/reps.sh"

begin_reps
all_vfs
port=$(netdev "$pf0")
ip netns add elsewhere
for round in 1 2 3; do
	check "the port's network device goes elsewhere ($round)" ip link set "$port" netns elsewhere
	refused=$(devlink dev eswitch set "pci/$pf0" mode switchdev 2>&1)
	point $((! $?)) "the e-switch does not change to switchdev ($round)"
	case $refused in *namespace*) point 0 "the driver says why ($round)" ;; *) point 1 "the driver says why ($round)" || say "$refused" ;; esac
	same "it is in legacy mode ($round)" legacy "$(eswitch_mode "$pf0")"
	check "the network device comes back ($round)" ip -n elsewhere link set "$port" netns 1
	check "now it changes ($round)" eswitch "$pf0" switchdev
	check "each VF has a representor ($round)" until_true 30 reps "$pf0" "$total"
	check "the uplink can't go elsewhere then ($round)" not ip link set "$(uplink "$pf0")" netns elsewhere
	check "it changes back to legacy ($round)" eswitch "$pf0" legacy
	until_true 30 netdev "$pf0"
	port=$(netdev "$pf0")
done
ip netns del elsewhere
check "the VFs go" numvfs "$pf0" 0
check "the driver unloads" unload
check_dmesg
finish
