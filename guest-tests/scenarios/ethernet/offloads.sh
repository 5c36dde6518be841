#!/bin/sh
# shows: what the card takes off the driver's hands: segmentation of TCP and UDP, many packets in a WQE, spreading over queues, VLAN tags, long frames, loopback; by counters and by what arrives
# tier: ci
# timeout: 120
# broken: segments that do not add up to what was sent, bad checksums, one queue that gets everything, tags that stay in frames
. "${0%/*}/../lib/tap.sh"

start_two_ports

# udp FIELD: a counter of the second port's UDP.
udp() {
	peer busybox awk -v field="$1" '/^Udp:/ { if (!seen) { seen = 1; for (n = 2; n <= NF; n++) if ($n == field) at = n } else print $at }' /proc/net/snmp
}

# server OPTIONS…: an iperf3 server in the other namespace for one test; waits until it listens.
server() {
	peer iperf3 -s -1 "$@" >/dev/null 2>&1 &
	listener=$!
	until_true 10 peer sh -c "cat /proc/net/tcp /proc/net/tcp6 | grep -q ':1451 .* 0A '"
}

# A file of 8 MiB goes over TCP to ADDRESS and arrives as it was. (Not by iperf3's -F: its server stops reading when the
# client says that it is through, whatever is still to come on the other connection.)
dd if=/dev/urandom of=/run/there bs=64k count=128 2>/dev/null
arrives() {
	peer busybox nc -l -p 5001 </dev/null >/run/arrived &
	listener=$!
	until_true 10 peer sh -c "cat /proc/net/tcp /proc/net/tcp6 | grep -q ':1389 .* 0A '" &&
		timeout 60 bash -c "cat /run/there >/dev/tcp/$1/5001" || return 1
	wait $listener
	cmp /run/there /run/arrived
}

oversize=$(peer_counter rx_oversize_pkts_phy)
for address in 192.0.2.2 2001:db8::2; do
	packets=$(counter tx_tso_packets)
	bytes=$(counter tx_tso_bytes)
	inner=$(peer_counter rx_packets_phy)
	check "8 MiB over TCP arrive at $address as they were" arrives $address
	packets=$(($(counter tx_tso_packets) - packets))
	bytes=$(($(counter tx_tso_bytes) - bytes))
	inner=$(($(peer_counter rx_packets_phy) - inner))
	say "$bytes bytes in $packets large sends; $inner packets came"
	check "large sends are larger than a packet" test $((bytes / (packets + 1))) -gt 3000
	check "more packets came than large sends went" test "$inner" -gt $((packets * 2))
done
same "no packet was longer than the MTU" "$oversize" "$(peer_counter rx_oversize_pkts_phy)"

# UDP: the sender gives many datagrams in one send.
if iperf3 --help 2>&1 | grep -q -- --gsro; then
	server
	packets=$(counter tx_tso_packets)
	inner=$(peer_counter rx_packets_phy)
	errors=$(udp InCsumErrors)
	taken() { echo $(($(peer_counter rx_packets) + $(peer_counter rx_out_of_buffer))); }
	taken=$(taken)
	iperf3 -c 192.0.2.2 -u --gsro -l 1000 -b 40M -t 1 -J >/run/uso
	packets=$(($(counter tx_tso_packets) - packets))
	sent=$(jq '.end.sum_sent.packets // .end.sum.packets' /run/uso)
	lost=$(jq '.end.sum.lost_packets' /run/uso)
	say "$sent datagrams in $packets large sends, $lost lost"
	check "large sends of UDP were segmented by the card" test "$packets" -gt 0
	check "a large send is many datagrams" test "${sent:-0}" -gt "$packets"
	inner=$(($(peer_counter rx_packets_phy) - inner))
	# What iperf3 has not read when its client is through it calls lost, and nothing holds the sender back: on a busy machine that
	# is often.
	taken=$(($(taken) - taken))
	check "every datagram came to the driver, or it had no buffer for it ($taken)" test "$taken" -ge "${sent:-1}"
	check "every datagram was a packet of its own ($inner)" test "$inner" -ge "${sent:-1}"
	same "no datagram had a bad checksum" "$errors" "$(udp InCsumErrors)"
else
	say "this iperf3 does not send large UDP"
fi

# Small packets: several in one WQE.
check "the driver sends many packets in a WQE" sh -c "ethtool --show-priv-flags $port0 | grep -q 'skb_tx_mpwqe *: on'"
mpw=$(counter tx_mpwqe_pkts)
there=$(counter tx_vport_unicast_packets)
here=$(peer_counter rx_vport_unicast_packets)
check "no echo is lost" all_echoes 200 ping -i 0.005 -s 32 192.0.2.2
check "echoes go by multi-packet WQEs" test $(($(counter tx_mpwqe_pkts) - mpw)) -ge 200
# The kernel may send one between two readings.
as_many() {
	sent=$(($(counter tx_vport_unicast_packets) - there))
	received=$(($(peer_counter rx_vport_unicast_packets) - here))
	[ "$sent" = "$received" ]
}
check "the second vport received every unicast packet that the first one sent" until_true 5 as_many
say "$sent sent, $received received"

# Flows spread over the receive queues.
queues=$(peer ethtool -l "$port1" | sed -n '/Current/,$s/^Combined:[[:space:]]*//p')
if [ "${queues:-1}" -ge 2 ]; then
	before0=$(peer_counter rx0_packets)
	before1=$(peer_counter rx1_packets)
	server
	iperf3 -c 192.0.2.2 -u -P 32 -b 100K -l 500 -t 1 >/dev/null
	check "both of two receive queues get flows" test $(($(peer_counter rx0_packets) - before0)) -gt 20 -a $(($(peer_counter rx1_packets) - before1)) -gt 20
else
	say "one receive queue only: nothing to spread over"
fi

# VLANs: tags are taken out of what comes, put into what goes, and others are kept off.
ip link add link "$port0" name vlan5 type vlan id 5 && ip addr add 198.51.100.1/24 dev vlan5 && ip link set vlan5 up
ip -n peer link add link "$port1" name vlan5 type vlan id 5 && ip -n peer addr add 198.51.100.2/24 dev vlan5 && ip -n peer link set vlan5 up
stripped=$(counter rx_removed_vlan_packets)
check "echoes go through VLAN 5" all_echoes 10 ping -i 0.05 198.51.100.2
check "tags are taken out by the card" test $(($(counter rx_removed_vlan_packets) - stripped)) -ge 10
ethtool -K "$port0" rxvlan off
check "with the offload switched off, too" all_echoes 5 ping -i 0.05 198.51.100.2
ethtool -K "$port0" rxvlan on
ip -n peer link add link "$port1" name vlan6 type vlan id 6 && ip -n peer addr add 203.0.113.2/24 dev vlan6 && ip -n peer link set vlan6 up
before=$(counter rx_packets)
peer ping -q -n -c 3 -i 0.1 -W 1 203.0.113.1 >/dev/null
check "a VLAN that nobody has here does not come through" test $(($(counter rx_packets) - before)) -lt 3
ip link del vlan5
ip -n peer link del vlan5
ip -n peer link del vlan6

# Long frames.
ip link set "$port0" mtu 9000 && ip -n peer link set "$port1" mtu 9000
point $? "the MTU becomes 9000"
check "long frames go there" all_echoes 5 ping -i 0.05 -M do -s 8972 192.0.2.2
check "and come from there" all_echoes 5 peer ping -i 0.05 -M do -s 8972 192.0.2.1
check "8 MiB arrive in long frames" arrives 192.0.2.2
ip link set "$port0" mtu 1500 && ip -n peer link set "$port1" mtu 1500

# The self test sends itself a packet.
looped=$(counter vport_loopback_packets)
check "the self test passes on the first port" ethtool -t "$port0"
check "the self test passes on the second port" peer ethtool -t "$port1"
check "what came back is counted" test "$(counter vport_loopback_packets)" -gt "${looped:-0}"
one_namespace
check_dmesg
finish
