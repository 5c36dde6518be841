#!/bin/sh
# shows: what a PF sets for its VFs in legacy mode holds: a VLAN that the VF does not see, its source address, what it may hear
# tier: ci
# card: vfs = 2
# timeout: 180
# broken: a VF outside its VLAN, one that sends by an address that is not its own, one that hears what it may not
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/reset.sh"
. "${0%/*}/../lib/vfs.sh"

load
with_vfs 2
start_two_ports
set_vf() {
	ip link set "$port0" vf "$@"
}
in_vf() {
	name=$1
	shift
	ip netns exec "$name" "$@"
}

for n in 0 1; do
	check "a PF gives VF $n an address" set_vf $n mac 02:00:00:00:aa:0$n
done
check "the VFs come" numvfs "$pf0" 2
until_true 60 vfs_are_there "$pf0" 2
check "one comes up" house "$pf0" 0 vf0 10
check "and the other" house "$pf0" 1 vf1 11
check "they reach each other" reach vf0 11
device0=$(device_in vf0)

# A VLAN: the VF knows nothing of it.
ip link add link "$port0" name vlan5 type vlan id 5 && ip addr add 198.51.100.1/24 dev vlan5 && ip link set vlan5 up
ip -n vf0 addr add 198.51.100.10/24 dev "$device0"
check "a VF is put into VLAN 5" set_vf 0 vlan 5
check "it reaches its PF there, both without a tag of its own" until_true 10 in_vf vf0 ping -q -c 1 -W 1 198.51.100.1
check "and all echoes come back" all_echoes 10 in_vf vf0 ping -i 0.05 198.51.100.1
check "nobody outside reaches it" not in_vf vf1 ping -q -c 2 -i 0.2 -W 1 192.0.2.10
ip -n vf0 link add link "$device0" name tagged type vlan id 6 && ip -n vf0 addr add 203.0.113.10/24 dev tagged && ip -n vf0 link set tagged up
ip link add link "$port0" name vlan6 type vlan id 6 && ip addr add 203.0.113.1/24 dev vlan6 && ip link set vlan6 up
check "nor does a tag of its own leave it" not in_vf vf0 ping -q -c 2 -i 0.2 -W 1 203.0.113.1
check "the other VF is put into the VLAN, too" set_vf 1 vlan 5
check "they reach each other there" until_true 10 in_vf vf0 ping -q -c 1 -W 1 192.0.2.11
check "with all echoes" all_echoes 10 in_vf vf0 ping -i 0.05 192.0.2.11
for n in 0 1; do
	check "VF $n leaves the VLAN" set_vf $n vlan 0
done
check "all is as before" reach vf0 1
check "and tags of its own leave it" until_true 10 in_vf vf0 ping -q -c 1 -W 1 203.0.113.1
ip -n vf0 link del tagged
ip link del vlan5
ip link del vlan6

# Its source address.
check "source addresses are checked" set_vf 0 spoofchk on
check "its own passes" all_echoes 5 in_vf vf0 ping -i 0.05 192.0.2.1
dropped() {
	ip -j -s link show dev "$port0" | jq '.[0].vfinfo_list[0].stats.tx.dropped // 0'
}
lost=$(dropped)
ip -n vf0 link set "$device0" down && ip -n vf0 link set "$device0" address 02:00:00:00:bb:00 && ip -n vf0 link set "$device0" up
until_true 30 carrier vf0 "$device0"
check "another one does not" not in_vf vf0 ping -q -c 3 -i 0.2 -W 1 192.0.2.1
say "counted by the PF's driver as dropped: $lost before, $(dropped) now"
check "they are checked no more" set_vf 0 spoofchk off
check "then it does" until_true 10 in_vf vf0 ping -q -c 1 -W 1 192.0.2.1
ip -n vf0 link set "$device0" down && ip -n vf0 link set "$device0" address 02:00:00:00:aa:00 && ip -n vf0 link set "$device0" up
until_true 30 carrier vf0 "$device0"

# What it may hear: frames from the wire to an address that nobody has.
heard() {
	ip -n vf0 -j -s link show dev "$device0" | jq '.[0].stats64.rx.packets'
}
to_nobody() {
	before=$(heard)
	peer ping -q -c 20 -i 0.02 -W 1 192.0.2.99 >/dev/null
	sleep 0.5
	[ $(($(heard) - before)) -ge 20 ]
}
peer ip neigh replace 192.0.2.99 lladdr 02:00:00:00:99:99 dev "$port1" nud permanent
tolerate 'entered promiscuous mode' 'left promiscuous mode' 'S-tagged traffic will be dropped while C-tag vlan stripping is enabled$'
ip -n vf0 link set "$device0" promisc on
check "a VF that is not trusted does not hear everything" not to_nobody
check "it is trusted" set_vf 0 trust on
check "then it does hear everything" until_true 10 to_nobody
check "it is trusted no more" set_vf 0 trust off
check "and hears what is for it only" until_true 10 not to_nobody
ip -n vf0 link set "$device0" promisc off

check "the VFs still reach each other" all_echoes 5 ip netns exec vf0 ping -i 0.05 192.0.2.11
ip netns del vf0
ip netns del vf1
until_true 30 vfs_are_there "$pf0" 2
check "the VFs go" numvfs "$pf0" 0
for n in 0 1; do
	set_vf $n mac 00:00:00:00:00:00 2>/dev/null
done
one_namespace
check_dmesg
finish
