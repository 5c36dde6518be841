#!/bin/sh
# shows: the driver binds to every function, reads the firmware version, makes a network device whose link comes up
# tier: ci
# timeout: 120
# broken: no firmware version line, no network device, or a link that stays down
. "${0%/*}/../lib/tap.sh"

driver_loaded || check "the driver loads" modprobe mlx5_core
set -- $(functions)
same "the card has two functions" 2 $#
for function in "$@"; do
	same "$function has the driver" mlx5_core "$(basename "$(readlink "/sys/bus/pci/devices/$function/driver")")"
	check "$function prints its firmware version" sh -c "dmesg | grep -q '$function: firmware version: [0-9]'"
	until_true 60 netdev "$function"
	device=$(netdev "$function")
	check "$function has a network device" test -n "$device" || continue
	say "$device: firmware $(ethtool -i "$device" | sed -n 's/^firmware-version: //p')"
	check "$device comes up" ip link set "$device" up
	check "$device has a link" until_true 30 carrier "" "$device"
	speed=$(ethtool "$device" | sed -n 's/^[[:space:]]*Speed: \([0-9]*\).*/\1/p')
	check "$device has a speed (${speed:-none} Mb/s)" test "${speed:-0}" -gt 0
done
check_dmesg
finish
