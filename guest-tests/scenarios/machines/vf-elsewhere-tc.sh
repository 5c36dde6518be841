#!/bin/sh
# shows: the traffic of a VF in another machine goes by rules of tc in the card: the rules count exactly what is sent, and the PF's driver sees none of it
# tier: full
# needs: CONFIG_MLX5_CLS_ACT
# timeout: 300
# card: vfs = 2
# card: [attach]
# card: pf0vf1 = "standalone"
# append: modprobe.blacklist=mlx5_core
# vms: a=pf0,pf1 b=pf0vf1
# broken: rules that the card refuses, frames that the PF's driver sees, a counter that is not what was sent
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/reset.sh"
. "${0%/*}/../lib/vfs.sh"
. "${0%/*}/../lib/eswitch.sh"
. "${0%/*}/../lib/tc.sh"

start_two_ports
with_vfs 2
switchdev_messages
echo 0 >"/sys/bus/pci/devices/$pf0/sriov_drivers_autoprobe"
check "VFs come" numvfs "$pf0" 2
check "the e-switch changes to switchdev" eswitch "$pf0" switchdev
check "each VF has a representor" until_true 30 reps "$pf0" 2
up=$(uplink "$pf0") rep1=$(rep "$pf0" 1)
for device in "$up" "$rep1"; do
	check "$device takes rules" takes_rules "$device"
done
port=$(devlink -j port show | jq -r --arg pf "pci/$pf0/" '.port | to_entries[] | select((.key | startswith($pf)) and .value.flavour == "pcivf" and .value.vfnum == 1) | .key')
check "the VF gets an address" devlink port function set "$port" hw_addr 02:00:00:00:aa:01
check "ARP is redirected to the wire" rule "$rep1" 9 arp action mirred egress redirect dev "$up"
check "and back" rule "$up" 9 arp action mirred egress redirect dev "$rep1"
check "echoes are redirected to the wire" rule "$rep1" 1 ip ip_proto icmp action mirred egress redirect dev "$up"
check "and back, too" rule "$up" 1 ip ip_proto icmp action mirred egress redirect dev "$rep1"
check "the VF's driver finds it" vm b one_port 10
check "it reaches the wire" until_true 20 vm b ping -q -c 1 -W 1 192.0.2.2
first=$(in_card 'ip_protocol=0x1 .*metadata_reg_c_0')
seen=$(rep_counter "$rep1" rx_packets)
check "with all of fifty echoes" vm b fifty_echoes 192.0.2.2
same "the card has counted each of them, both ways" 100 $(($(in_card 'ip_protocol=0x1 .*metadata_reg_c_0') - first))
check "the driver tells as many for the rule" until_true 10 has_counted "$rep1" 1 $((first / 2 + 50))
seen=$(($(rep_counter "$rep1" rx_packets) - seen))
check "no echo came to the driver ($seen frames)" test $seen -lt 20

check "the VF's machine is killed" emu vm b kill
check "the card has nothing left of it" until_true 30 vf_is_gone pf0vf1
same "the rules are there" 2 "$(tc -j filter show dev "$rep1" ingress | jq '[.[] | select(.options.handle?)] | length')"
check "the VF's machine boots again" emu vm b start
check "its driver finds it" vm b one_port 10
check "it reaches the wire again" until_true 20 vm b ping -q -c 1 -W 1 192.0.2.2
check "the VF's driver unloads" vm b unload
no_rules "$up" "$rep1"
check "the e-switch changes back to legacy" eswitch "$pf0" legacy
check "the VFs go" numvfs "$pf0" 0
check "the VF's kernel has nothing to complain of" vm b quiet
one_namespace
check_dmesg
finish
