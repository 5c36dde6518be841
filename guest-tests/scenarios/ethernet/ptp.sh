#!/bin/sh
# shows: hardware timestamps and the PTP clock: ptp4l on the second port locks to ptp4l on the first one
# tier: ci
# timeout: 150
# broken: timestamps that are missing or run at another rate than the clock that is read: the servo never gets to s2
. "${0%/*}/../lib/tap.sh"

command -v ptp4l >/dev/null || skip_all "there is no ptp4l in this guest"
start_two_ports

work=$(mktemp -d)

for mode in hardware-transmit hardware-receive hardware-raw-clock; do
	check "the first port has $mode" sh -c "ethtool -T $port0 | grep -q $mode"
	check "the second port has $mode" peer sh -c "ethtool -T $port1 | grep -q $mode"
done
set -- $(functions)
clock=$(ls "/sys/bus/pci/devices/$2/ptp")
# disturb: the second clock runs 50 ppm fast, and a second behind.
disturb() {
	phc_ctl -q "/dev/$clock" -- freq 50000 && phc_ctl -q "/dev/$clock" -- adj -1
}

# Often enough that the servo settles in seconds; the first correction may be a step.
settings() {
	cat <<-SETTINGS
		[global]
		logSyncInterval -3
		logMinDelayReqInterval -3
		logAnnounceInterval -2
		network_transport $1
		time_stamping hardware
		tx_timestamp_timeout 1000
		first_step_threshold 0.000001
		uds_address $work/$2
		uds_ro_address $work/$2.ro
		summary_interval 0
	SETTINGS
}
settled() {
	[ "$(grep -c ' s2 ' "$work/second.log")" -ge 40 ]
}
for transport in L2 UDPv4; do
	check "the second clock is put out of time" disturb
	settings $transport first >"$work/first.conf"
	settings $transport second >"$work/second.conf"
	ptp4l -f "$work/first.conf" -i "$port0" -m -q >"$work/first.log" 2>&1 &
	first=$!
	ip netns exec peer ptp4l -f "$work/second.conf" -i "$port1" -s -m -q --summary_interval -3 >"$work/second.log" 2>&1 &
	second=$!
	check "over $transport the servo locks (s2)" until_true 60 settled
	# The last offsets, in nanoseconds; the wire takes no time.
	check "over $transport the clocks agree to a microsecond" sh -c \
		"grep ' s2 ' $work/second.log | tail -n 5 | awk '{ for (i = 1; i < NF; i++) if (\$i == \"offset\") { o = \$(i + 1); if (o < -1000 || o > 1000) exit 1 } }'"
	say "$(tail -n 3 "$work/second.log")"
	kill $first $second
	wait $first $second
	check "over $transport no timestamp was missing" sh -c "! grep -E 'timed out|FAULTY' $work/first.log $work/second.log"
done
rm -rf "$work"
one_namespace
check_dmesg
finish
