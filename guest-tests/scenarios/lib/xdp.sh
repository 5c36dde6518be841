# For scenarios with XDP programs and AF_XDP sockets, those of xdp-tools, on the second port, whose only queue gets every
# frame. ARP goes to the programs too, so the neighbours are told.
#
#   start_xdp_ports          as start_two_ports, for such scenarios
#   begin WORDS…             starts a program of xdp-tools until `end`: not within `check`, which would hide it from `end`
#   echo_requests SIZE       sends 40 echo requests of SIZE bytes to the second port and records what goes and comes back
#   came_back                whether what came back is what went, byte by byte (but for the Ethernet addresses)
#   grown first|second NAME  by how much one of a port's statistics has grown from `statistics before` to `statistics after`

start_xdp_ports() {
	start_two_ports
	mac0=$(cat "/sys/class/net/$port0/address")
	mac1=$(peer cat "/sys/class/net/$port1/address")
	neighbours
	one_queue() { ethtool -L "$port0" combined 1 && peer ethtool -L "$port1" combined 1; }
	check "each port has one queue" one_queue
	# Nothing but the echo requests is on this wire.
	echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6
	peer sh -c 'echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6'
	both_up
}

neighbours() {
	ip neigh replace 192.0.2.2 lladdr "$mac1" dev "$port0" nud permanent
	ip -n peer neigh replace 192.0.2.1 lladdr "$mac0" dev "$port1" nud permanent
}

# on_both COMMAND…: a command of ethtool for each port, the port's name coming after the first word.
on_both() {
	first=$1
	shift
	ethtool "$first" "$port0" "$@" && peer ethtool "$first" "$port1" "$@" && both_up
}

native() {
	ip -n peer -j link show dev "$port1" | jq -e '.[0].xdp.mode == 1'
}

no_program() {
	ip -n peer -j link show dev "$port1" | jq -e '.[0].xdp == null'
}

begin() {
	ip netns exec peer sh -c 'mount -t bpf bpf /sys/fs/bpf && ulimit -l unlimited && exec "$@"' - "$@" >/run/xdp.log 2>&1 &
	running=$!
	until_true 30 native || { cat /run/xdp.log && return 1; }
	both_up
}

end() {
	kill -TERM $running && wait $running
	until_true 10 no_program
}

# recording: whether tcpdump listens, in both directions.
recording() {
	[ "$(grep -c 'listening on' /run/in.log /run/out.log | grep -c ':1$')" = 2 ]
}

echo_requests() {
	for direction in in out; do
		tcpdump -Z root -p -U -i "$port0" -Q $direction -w /run/$direction.pcap icmp 2>/run/$direction.log &
		[ $direction = out ] || recorder=$!
	done
	until_true 10 recording
	ping -q -n -c 40 -i 0.01 -W 1 -s "$1" 192.0.2.2 >/run/ping.log
	# What comes back comes at once; a request that is answered has been waited for by ping.
	sleep 0.5
	kill $recorder $!
	wait $recorder $!
}

# bytes DIRECTION: what was recorded, from the IP header on.
bytes() {
	tcpdump -Z root -n -t -x -r "/run/$1.pcap" 2>/dev/null
}

came_back() {
	[ "$(bytes out | grep -c 'echo request')" = 40 ] || return 1
	bytes out | grep -v '^IP' >/run/out.bytes
	bytes in | grep -v '^IP' >/run/in.bytes
	cmp /run/out.bytes /run/in.bytes
}

nothing_came_back() {
	[ "$(bytes out | grep -c 'echo request')" = 40 ] && [ -z "$(bytes in)" ]
}

answered() {
	grep -q ' 40 received' /run/ping.log
}

# statistics WHEN: takes down both ports' statistics, `before` and `after`.
statistics() {
	ethtool -S "$port0" >/run/first."$1"
	peer ethtool -S "$port1" >/run/second."$1"
}

# grown first|second NAME: by how much one has grown in between.
grown() {
	echo $(($(sed -n "s/^ *$2: //p" "/run/$1.after") - $(sed -n "s/^ *$2: //p" "/run/$1.before")))
}
