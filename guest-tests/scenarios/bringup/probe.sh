#!/bin/sh
# shows: the driver binds to every function, reads the firmware version, makes a network device whose link comes up
# tier: ci
# timeout: 120
# broken: no firmware version line, no network device, or a link that stays down
. "${0%/*}/../lib/tap.sh"

# What the driver says when it loads belongs to this.
unload
check "the driver loads" modprobe mlx5_core
set -- $(functions)
same "the card has two functions" 2 $#
# All up before any is looked at: the link of one needs the other.
for function in "$@"; do
	until_true 60 netdev "$function" && ip link set "$(netdev "$function")" up
done
for function in "$@"; do
	same "$function has the driver" mlx5_core "$(basename "$(readlink "/sys/bus/pci/devices/$function/driver")")"
	check "$function prints its firmware version" sh -c "dmesg | grep -q '$function: firmware version: [0-9]'"
	device=$(netdev "$function")
	check "$function has a network device" test -n "$device" || continue
	say "$device: firmware $(ethtool -i "$device" | sed -n 's/^firmware-version: //p')"
	check "$device has a link" until_true 30 carrier "" "$device"
	speed=$(ethtool "$device" | sed -n 's/^[[:space:]]*Speed: \([0-9]*\).*/\1/p')
	check "$device has a speed (${speed:-none} Mb/s)" test "${speed:-0}" -gt 0
done
# With the other end down, so is the link; asking why must not upset the kernel.
other=$(netdev "$2")
device=$(netdev "$1")
ip link set "$other" down
no_link() {
	! carrier "" "$device"
}
check "$device loses its link when $other goes down" until_true 30 no_link
check "ethtool shows $device without a link" ethtool "$device"
ip link set "$other" up
check "$device has its link again" until_true 30 carrier "" "$device"
check_dmesg
finish
