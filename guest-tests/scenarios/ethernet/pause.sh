#!/bin/sh
# shows: ethtool -A: a receiver with a small ring loses frames without pause; with pause it holds its partner off and loses none
# tier: ci
# timeout: 90
# broken: pause that can't be switched on, frames that are lost with it, a partner that never goes on
. "${0%/*}/../lib/tap.sh"

start_two_ports

# flood: two seconds of TCP, whose segments come in bursts of dozens of frames; how much of it was for want of a buffer lost.
flood() {
	before=$(peer_counter rx_out_of_buffer)
	peer iperf3 -s -1 >/dev/null 2>&1 &
	until_true 10 peer sh -c "ss -ltn | grep -q ':5201 '" >/dev/null
	iperf3 -c 192.0.2.2 -t 2 >/dev/null 2>&1
	wait $!
	echo $(($(peer_counter rx_out_of_buffer) - before))
}
pause_is() {
	[ "$(ethtool -a "$port0" | sed -n 's/^[RT]X:[^o]*//p' | xargs)" = "$1" ]
}

check "at first, pause is off" pause_is "off off"
check "pause can't be negotiated" sh -c "! ethtool -A $port0 autoneg on 2>/dev/null"
# A receiver that is slow, whatever the machine: few buffers, which are looked after every four milliseconds.
peer ethtool --set-priv-flags "$port1" rx_striding_rq off
peer ethtool -G "$port1" rx 16
peer ethtool -C "$port1" adaptive-rx off rx-usecs 4000 rx-frames 10000
check "every echo comes back from it" all_echoes 3 ping -i 0.2 192.0.2.2
say "$(peer ethtool -g "$port1" | tail -n 5 | xargs)"

lost=$(flood)
say "without pause $lost frames are lost"
check "without pause, frames are lost" test "$lost" -gt 0

check "the receiver may pause its partner" peer ethtool -A "$port1" rx off tx on
check "which heeds it" ethtool -A "$port0" rx on tx off
check "and shows it" pause_is "on off"
same "with pause, no frame is lost for want of buffers" 0 "$(flood)"
check "pause frames were sent" test "$(peer_counter tx_pause_ctrl_phy)" -ge 2
same "and came" "$(peer_counter tx_pause_ctrl_phy)" "$(counter rx_pause_ctrl_phy)"
for name in rx_global_pause rx_global_pause_duration rx_global_pause_transition; do
	check "$name counts" test "$(counter $name)" -ge 1
done
check "tx_global_pause counts" test "$(peer_counter tx_global_pause)" -ge 2
check "the statistics of pause" sh -c "ethtool -I -a $port0 | grep -q 'rx_pause_frames: [1-9]'"

# The link goes down and comes back with frames under way.
peer iperf3 -s -1 >/dev/null 2>&1 &
until_true 10 peer sh -c "ss -ltn | grep -q ':5201 '" >/dev/null
iperf3 -c 192.0.2.2 -t 3 >/dev/null 2>&1 &
sleep 1
ip -n peer link set "$port1" down
ip -n peer link set "$port1" up
wait
check "after the link was down, every echo comes back" until_true 20 all_echoes 3 ping -i 0.1 192.0.2.2

check "pause is switched off" sh -c "ethtool -A $port0 rx off && ip netns exec peer ethtool -A $port1 tx off"
check "and frames are lost again" test "$(flood)" -gt 0
peer ethtool -G "$port1" rx 1024
peer ethtool -C "$port1" adaptive-rx on
peer ethtool --set-priv-flags "$port1" rx_striding_rq on
one_namespace
check_dmesg
finish
