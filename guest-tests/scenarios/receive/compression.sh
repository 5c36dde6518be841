#!/bin/sh
# shows: CQE compression: completions of striding and of legacy receive queues arrive as titles and mini CQEs, TCP and floods of echoes are intact, timestamped packets have a queue of their own, and compression can be turned off
# tier: ci
# timeout: 120
# broken: "hw csum failure", bytes that are lost, a receive queue that stops, compressed packets while it is off
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/tcp.sh"

start_two_ports

# flag NAME on|off: a private flag of the port that receives.
flag() {
	peer ethtool --set-priv-flags "$port1" "$1" "$2" && until_true 30 carrier peer "$port1"
}

# compresses WHERE: TCP and floods arrive, many packets in few completions.
compresses() {
	blocks=$(peer_counter rx_cqe_compress_blks)
	packets=$(peer_counter rx_cqe_compress_pkts)
	check "$1: 4 MiB over IPv4 are the same" copied 192.0.2.2
	check "$1: 4 MiB over IPv6 are the same" copied 2001:db8::2
	check "$1: a flood of echoes" all_echoes 2000 ping -f -l 32 -s 1000 192.0.2.2
	blocks=$(($(peer_counter rx_cqe_compress_blks) - blocks))
	packets=$(($(peer_counter rx_cqe_compress_pkts) - packets))
	check "$1: packets were compressed ($packets packets in $blocks sessions)" test "$blocks" -gt 50 -a "$packets" -gt $((blocks * 2))
}

flags=$(peer ethtool --show-priv-flags "$port1")
check "it is off as long as nobody asks" sh -c "printf '%s' '$flags' | grep -q 'rx_cqe_compress *: off'"
check "compression is turned on" flag rx_cqe_compress on
compresses "striding"
check "legacy queues" flag rx_striding_rq off
compresses "legacy"

# With hardware timestamps, PTP frames get a queue without compression; others are compressed still.
if command -v hwstamp_ctl >/dev/null; then
	check "timestamps are turned on" peer hwstamp_ctl -i "$port1" -r 1
	until_true 30 carrier peer "$port1"
	before=$(peer_counter ptp_rq0_packets)
	for n in 1 2 3; do
		bash -c "echo $n >/dev/udp/192.0.2.2/319"
	done
	check "PTP frames come through their own queue" until_true 5 sh -c "[ \$(ip netns exec peer ethtool -S $port1 | sed -n 's/^ *ptp_rq0_packets: //p') -ge $((before + 3)) ]"
	compresses "with timestamps"
	check "timestamps are turned off" peer hwstamp_ctl -i "$port1" -r 0
	until_true 30 carrier peer "$port1"
fi

check "compression is turned off" flag rx_cqe_compress off
check "striding queues" flag rx_striding_rq on
packets=$(peer_counter rx_cqe_compress_pkts)
check "4 MiB without compression are the same" copied 192.0.2.2
same "nothing is compressed" "$packets" "$(peer_counter rx_cqe_compress_pkts)"
one_namespace
# The driver's own remark: mini CQEs have no room for the hash beside the checksum.
expect 'Disabling rxhash, not supported when CQE compress is active'
check_dmesg
finish
