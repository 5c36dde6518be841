#!/bin/sh
# shows: rules of tc flower in the card: redirect, mirror, drop, VLAN tags pushed and popped; each counts exactly what it saw, and no frame comes to the driver
# tier: full
# card: vfs = 2
# needs: CONFIG_MLX5_CLS_ACT
# timeout: 180
# broken: a rule that the card refuses, frames that the driver sees, a counter that is not what was sent
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/reset.sh"
. "${0%/*}/../lib/vfs.sh"
. "${0%/*}/../lib/eswitch.sh"
. "${0%/*}/../lib/tc.sh"

load
with_vfs 2
start_two_ports
switchdev_messages
check "$total VFs come" numvfs "$pf0" "$total"
until_true 60 vfs_are_there "$pf0" "$total"
check "the e-switch changes to switchdev" eswitch "$pf0" switchdev
until_true 30 reps "$pf0" "$total"
up=$(uplink "$pf0") rep0=$(rep "$pf0" 0) rep1=$(rep "$pf0" 1)
for device in "$up" "$rep0" "$rep1"; do
	check "$device takes rules" takes_rules "$device"
done
check "a VF comes up" house "$pf0" 0 vf0 10
check "and another" house "$pf0" 1 vf1 11
both_up

# What is not IPv4 goes from one to the other, and of that what the test asks for has a rule of its own.
pair() {
	rule "$rep0" 9 arp action mirred egress redirect dev "$rep1" && rule "$rep1" 9 arp action mirred egress redirect dev "$rep0"
}
check "ARP is redirected both ways" pair
check "echoes there" rule "$rep0" 1 ip ip_proto icmp action mirred egress redirect dev "$rep1"
check "and back" rule "$rep1" 1 ip ip_proto icmp action mirred egress redirect dev "$rep0"
seen=$(rep_counter "$rep0" rx_packets)
ping_pair() {
	until_true 10 ip netns exec vf0 ip neigh get 192.0.2.11 dev "$device0" || ip netns exec vf0 ping -q -c 1 -W 1 192.0.2.11
	answer=$(ip netns exec vf0 ping -n -c 50 -i 0.02 192.0.2.11)
	printf '%s\n' "$answer" | tail -n 2
	printf '%s\n' "$answer" | grep -q ' 50 received'
}
device0=$(device_in vf0)
ip netns exec vf0 ping -q -c 1 -W 2 192.0.2.11 >/dev/null
first=$(in_card 'ip_protocol=0x1 .*metadata_reg_c_0')
check "all echoes come back" ping_pair
same "the card has counted each of them, both ways" 100 $(($(in_card 'ip_protocol=0x1 .*metadata_reg_c_0') - first))
check "the driver tells as many for the rule" until_true 10 has_counted "$rep0" 1 $((first / 2 + 50))
# What else a VF says may have.
seen=$(($(rep_counter "$rep0" rx_packets) - seen))
check "no echo came to the driver ($seen frames)" test $seen -lt 20

# Mirror and drop.
check "a rule is taken back" tc filter del dev "$rep0" ingress prio 1
check "without it nothing passes" not ip netns exec vf0 ping -q -c 2 -i 0.1 -W 1 192.0.2.11
check "echoes are mirrored to the wire" rule "$rep0" 1 ip ip_proto icmp action mirred egress mirror dev "$up" action mirred egress redirect dev "$rep1"
peer ip link set "$port1" promisc on
tolerate 'entered promiscuous mode' 'left promiscuous mode' 'S-tagged traffic will be dropped while C-tag vlan stripping is enabled$'
copies=$(peer_counter rx_vport_unicast_packets)
check "all echoes come back, mirrored" ping_pair
check "the other end of the wire has each, too" test $(($(peer_counter rx_vport_unicast_packets) - copies)) -ge 50
peer ip link set "$port1" promisc off
# The driver reads counters once a second, and what a rule has had since is the next one's that gets its counter: mlx5_fc_create()
# (Linux 7.2) begins at what was read last, not at what the card has. So it is given time to read.
sleep 3
tc filter del dev "$rep0" ingress prio 1
check "echoes are dropped" rule "$rep0" 1 ip ip_proto icmp action drop
check "none comes back" not ip netns exec vf0 ping -q -c 5 -i 0.05 -W 1 192.0.2.11
check "the driver tells how many" until_true 10 has_counted "$rep0" 1 5
check "rules go" no_rules "$up" "$rep0" "$rep1"

# Tags: VLAN 100 on the wire, none at the VF.
check "a tag is pushed" rule "$rep0" 1 all action vlan push id 100 action mirred egress redirect dev "$up"
check "and popped" rule "$up" 1 802.1q vlan_id 100 action vlan pop action mirred egress redirect dev "$rep0"
ip -n peer link add link "$port1" name vlan100 type vlan id 100 && ip -n peer addr add 198.51.100.2/24 dev vlan100 && ip -n peer link set vlan100 up
ip -n vf0 addr add 198.51.100.10/24 dev "$device0"
check "the VF reaches VLAN 100 on the wire" until_true 10 ip netns exec vf0 ping -q -c 1 -W 1 198.51.100.2
check "with all echoes" all_echoes 20 ip netns exec vf0 ping -i 0.02 198.51.100.2
check "rules go again" no_rules "$up" "$rep0" "$rep1"
check "and the VF reaches nobody" not ip netns exec vf0 ping -q -c 2 -i 0.1 -W 1 198.51.100.2

ip netns del vf0
ip netns del vf1
until_true 30 vfs_are_there "$pf0" "$total"
check "the e-switch changes back to legacy" eswitch "$pf0" legacy
check "the VFs go" numvfs "$pf0" 0
one_namespace
check_dmesg
finish
