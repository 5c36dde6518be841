#!/bin/sh
# Runs in the guest of `scripts/bench --guests`: guest.sh ROUNDS SECONDS. Writes lines "WHAT PAIR FIGURE" to /bench/figures.
#
# A pair is two ports of one kind that are joined, each in a network namespace of its own, so that nothing but the wire joins
# them. All pairs are there at once and are measured in turn, round by round; the order turns from round to round.
set -eu
rounds=$1
seconds=$2
cd /bench
exec 2>trouble

fail() {
	echo "$*" >&2
	exit 1
}

# The network devices of a driver, in the order of their PCI addresses.
devices() {
	for device in /sys/bus/pci/drivers/"$1"/*:*:*.*; do
		for name in "$device"/net/*; do
			[ -e "$name" ] && echo "${name##*/}"
		done
	done
	return 0
}

# devices_are DRIVER COUNT: waits until a driver has that many devices.
devices_are() {
	tries=0
	until [ "$(devices "$1" | wc -l)" -eq "$2" ]; do
		tries=$((tries + 1))
		[ $tries -lt 300 ] || fail "$1: $2 network devices are wanted, there are: $(devices "$1")"
		sleep 0.1
	done
}

pairs=
number=0
# pair NAME DEVICE DEVICE: addresses in namespaces, and a server in the second one.
pair() {
	name=$1
	number=$((number + 1))
	ip netns add "$name-a"
	ip netns add "$name-b"
	ip link set "$2" netns "$name-a"
	ip link set "$3" netns "$name-b"
	ip -n "$name-a" addr add 10.0.$number.1/24 dev "$2"
	ip -n "$name-b" addr add 10.0.$number.2/24 dev "$3"
	ip -n "$name-a" link set "$2" up
	ip -n "$name-b" link set "$3" up
	ip netns exec "$name-b" iperf3 -s -D >/dev/null
	pairs="$pairs $name:$number"
}

# A ping that is answered: wires take a moment to be plugged in.
reachable() {
	ip netns exec "$1-a" ping -q -n -c 1 -w 30 "10.0.$2.2" >/dev/null || fail "$1: no echo comes back"
}

# Mbit/s of one TCP stream, as the receiver counted them.
tcp() {
	ip netns exec "$1-a" timeout 30 iperf3 -c "10.0.$2.2" -t "$seconds" -J >/run/tcp || fail "$1: $(cat /run/tcp)"
	jq '.end.sum_received.bits_per_second / 1e6' /run/tcp
}

# The median of the round trips of an echo, µs, with pauses between: what is measured is a way at rest, not a queue.
ping_time() {
	ip netns exec "$1-a" timeout 30 ping -n -c 61 -i 0.01 "10.0.$2.2" >/run/ping || fail "$1: echoes are lost"
	sed -n 's/.*time=\([0-9.]*\) ms/\1/p' /run/ping | sort -n | sed -n '31s/$/ * 1000/p' | busybox bc
}

devices_are mlx5_core 8
for driver in igb e1000e vmxnet3; do
	devices_are $driver 2
done
modprobe -a veth
ip link add veth0 type veth peer name veth1

# The card's ports are wired to each other or over a socket; two pairs of each, one that merges what it receives.
set -- $(devices mlx5_core)
for port in "$5" "$6" "$7" "$8"; do
	ethtool -K "$port" lro on
done
pair internal "$1" "$2"
pair socket "$3" "$4"
pair internal-lro "$5" "$6"
pair socket-lro "$7" "$8"
for driver in igb e1000e vmxnet3; do
	set -- $(devices $driver)
	pair $driver "$1" "$2"
done
pair veth veth0 veth1
for one in $pairs; do
	reachable "${one%:*}" "${one#*:}"
done

# The first round warms up and is thrown away.
round=0
while [ $round -le "$rounds" ]; do
	for one in $pairs; do
		name=${one%:*}
		echo "round $round: $name" >&2
		rate=$(tcp "$name" "${one#*:}")
		time=
		case $name in
		internal | socket | igb) time=$(ping_time "$name" "${one#*:}") ;;
		esac
		[ $round = 0 ] || printf 'tcp %s %s\nping %s %s\n' "$name" "$rate" "$name" "$time" >>figures
	done
	# The first of this round is the last of the next.
	set -- $pairs
	first=$1
	shift
	pairs="$* $first"
	round=$((round + 1))
done
dmesg >messages
echo done >>figures
