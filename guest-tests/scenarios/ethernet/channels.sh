#!/bin/sh
# shows: channels, rings, moderation and offloads are changed again and again while packets flow; traffic survives every change
# tier: ci
# timeout: 120
# broken: a queue that is dead after a change, a warning of the kernel, an object that is left alive
. "${0%/*}/../lib/tap.sh"

start_two_ports

channels=$(ethtool -l "$port0" | sed -n '/Pre-set/,/Current/s/^Combined:[[:space:]]*//p')
say "up to $channels channels"

# Both ways, all the time.
ping -q -f 192.0.2.2 >/run/flood0 2>&1 &
flood0=$!
ip netns exec peer ping -q -i 0.002 -s 1200 192.0.2.1 >/run/flood1 2>&1 &
flood1=$!

# round NAME COMMAND…: a change and what is left of the traffic after it.
round() {
	name=$1
	shift
	check "$name" "$@" && check "… and echoes come back" all_echoes 3 ping -i 0.02 192.0.2.2
}

for n in 1 2; do
	round "one channel, time $n" ethtool -L "$port0" combined 1
	round "all channels, time $n" ethtool -L "$port0" combined "$channels"
	round "short rings, time $n" ethtool -G "$port0" rx 64 tx 64
	round "long rings, time $n" ethtool -G "$port0" rx 4096 tx 4096
	round "usual rings, time $n" ethtool -G "$port0" rx 1024 tx 1024
	round "no moderation, time $n" ethtool -C "$port0" adaptive-rx off adaptive-tx off rx-usecs 0 rx-frames 0 tx-usecs 0 tx-frames 0
	round "moderation, time $n" ethtool -C "$port0" rx-usecs 50 rx-frames 64 tx-usecs 50 tx-frames 64
	round "adaptive moderation, time $n" ethtool -C "$port0" adaptive-rx on adaptive-tx on
	round "the period counts from completions, time $n" ethtool --set-priv-flags "$port0" rx_cqe_moder on tx_cqe_moder on
	round "the period counts from events, time $n" ethtool --set-priv-flags "$port0" rx_cqe_moder off tx_cqe_moder off
	round "no multi-packet WQEs, time $n" ethtool --set-priv-flags "$port0" skb_tx_mpwqe off
	round "multi-packet WQEs, time $n" ethtool --set-priv-flags "$port0" skb_tx_mpwqe on
	for feature in rx rxvlan rxhash tso gso tx; do
		round "without $feature, time $n" ethtool -K "$port0" $feature off
		round "with $feature, time $n" ethtool -K "$port0" $feature on
	done
done
kill -INT $flood0 $flood1
wait $flood0 $flood1
say "$(tail -n 2 /run/flood0 | head -n 1)"
say "$(tail -n 2 /run/flood1 | head -n 1)"
same "no event had to be looked for" 0 "$(ethtool -S "$port0" | sed -n 's/^ *ch_eq_rearm: //p')"
one_namespace
check_dmesg
finish
