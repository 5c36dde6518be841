#!/bin/sh
# shows: a port hears the groups, VLANs and addresses that it was told to and no others; and what is sent and comes is counted alike by the port, the vport and the queues
# tier: ci
# timeout: 90
# broken: a frame that nobody asked for reaches the stack, or a counter that stands still or counts twice
. "${0%/*}/../lib/tap.sh"

start_two_ports

# IPv6 talks by itself.
for where in "" peer; do
	${where:+ip netns exec peer} sh -c 'for all in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 >$all; done'
done
check "every echo comes back" all_echoes 3 ping -i 0.2 192.0.2.2
mac1=$(peer cat "/sys/class/net/$port1/address")

# hears NAME COMMAND…: by how much a counter of the second port grows by twenty frames that COMMAND sends.
hears() {
	name=$1
	shift
	before=$(peer_counter "$name")
	"$@" -q -n -c 20 -i 0.02 -W 1 >/dev/null 2>&1
	echo $(($(peer_counter "$name") - before))
}
# The driver changes its filters a little later.
hears_all() {
	[ "$(hears "$@")" = 20 ]
}
hears_none() {
	[ "$(hears "$@")" = 0 ]
}

ip route add 239.0.0.0/8 dev "$port0"
group="ping 239.1.2.3"
other="ping 239.9.9.9"
check "a group that nobody has joined is not heard" hears_none rx_vport_multicast_packets $group
ip -n peer maddr add 01:00:5e:01:02:03 dev "$port1"
check "a group that was joined is" until_true 10 hears_all rx_vport_multicast_packets $group
check "another one is not" hears_none rx_vport_multicast_packets $other
ip -n peer link set "$port1" allmulticast on
check "all of them are" until_true 10 hears_all rx_vport_multicast_packets $other
ip -n peer link set "$port1" allmulticast off
check "and then not" until_true 10 hears_none rx_vport_multicast_packets $other
ip -n peer maddr del 01:00:5e:01:02:03 dev "$port1"
check "the group was left" until_true 10 hears_none rx_vport_multicast_packets $group

ip link add link "$port0" name tagged type vlan id 100
ip addr add 198.51.100.1/24 dev tagged
ip link set tagged up
ip neigh replace 198.51.100.2 lladdr "$mac1" dev tagged nud permanent
vlan="ping 198.51.100.2"
check "a VLAN that nobody uses is not heard" hears_none rx_vport_unicast_packets $vlan
peer ethtool -K "$port1" rx-vlan-filter off
check "without the filter it is" until_true 10 hears_all rx_vport_unicast_packets $vlan
peer ethtool -K "$port1" rx-vlan-filter on
check "with it again not" until_true 10 hears_none rx_vport_unicast_packets $vlan
ip -n peer link add link "$port1" name tagged type vlan id 100
ip -n peer addr add 198.51.100.2/24 dev tagged
ip -n peer link set tagged up
check "echoes come back in the VLAN" until_true 10 all_echoes 3 ping -i 0.1 198.51.100.2
check "and without the hardware's help" peer ethtool -K "$port1" rxvlan off txvlan off
check "echoes come back" until_true 10 all_echoes 3 ping -i 0.1 198.51.100.2
peer ethtool -K "$port1" rxvlan on txvlan on
ip link del tagged
ip -n peer link del tagged

# A hundred frames of 1042 bytes, 1046 with FCS, and as many replies.
ethtool -S "$port0" >/run/sent0
peer ethtool -S "$port1" >/run/came0
check "a hundred echoes come back" all_echoes 100 ping -i 0.01 -s 1000 192.0.2.2
ethtool -S "$port0" >/run/sent1
peer ethtool -S "$port1" >/run/came1
# grew FILE NAME: by how much it grew.
grew() {
	echo $(($(sed -n "s/^ *$2: //p" "/run/${1}1") - $(sed -n "s/^ *$2: //p" "/run/${1}0")))
}
# all_grew FILE EXPRESSION: by how much all that the expression names grew together.
all_grew() {
	for n in 0 1; do
		eval "sum$n=$((0 $(sed -nE "s/^ *($2): /+ /p" /run/$1$n)))"
	done
	echo $((sum1 - sum0))
}
arps=$(($(grew sent tx_packets_phy) - 100))
say "$arps more frames for ARP"
check "few more frames than those" test "$arps" -le 4
frames=$((100 + arps))
same "the port counts what it sent, and the other end what came" "$frames" "$(grew came rx_packets_phy)"
same "the vport does" "$frames" "$(all_grew sent 'tx_vport_(uni|multi|broad)cast_packets')"
same "the other vport does" "$frames" "$(all_grew came 'rx_vport_(uni|multi|broad)cast_packets')"
same "the queues do" "$frames" "$(all_grew sent 'tx[0-9]+_packets')"
same "the other's queues do" "$frames" "$(all_grew came 'rx[0-9]+_packets')"
same "the priority does" "$frames" "$(grew came rx_prio0_packets)"
same "the class of length does" 100 "$(grew came rx_1024_to_1518_bytes_phy)"
octets=$(all_grew sent 'tx_vport_(uni|multi|broad)cast_bytes')
same "octets of the port are with FCS" "$((octets + 4 * frames))" "$(grew sent tx_bytes_phy)"
same "at both ends" "$(grew sent tx_bytes_phy)" "$(grew came rx_bytes_phy)"
for file in sent came; do
	same "nothing was dropped ($file)" 0 "$(all_grew $file 'rx_out_of_buffer|rx_discards_phy|tx_discards_phy|rx_oversize_pkts_phy|.*_errors?|rx_wqe_err|tx_cqe_err')"
done

# What this card has not is refused, and nobody complains.
for option in "-K $port0 rx-fcs on" "-K $port0 rx-all on" "--set-eee $port0 eee on" "-s $port0 wol g" "--set-fec $port0 encoding llrs"; do
	# shellcheck disable=SC2086
	check "ethtool $option is refused" sh -c "! ethtool $option 2>/dev/null"
done
sh -c 'for all in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 0 >$all; done'
one_namespace
check_dmesg
finish
