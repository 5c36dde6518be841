#!/bin/sh
# shows: devlink: parameters that take effect with a reload, devices that are switched off and on, and firmware that can't be changed from here says so
# tier: ci
# timeout: 120
# broken: a reload that leaves something behind, a request that is refused with a complaint of the driver's
. "${0%/*}/../lib/tap.sh"

load
set -- $(functions)
first=$1
device=pci/$1

param() {
	devlink dev param set "$device" name "$1" value "$2" cmode driverinit
}
back() {
	until_true 60 netdev "$first"
}
rdma_link() {
	devices=$(rdma link -j | jq -r '.[].ifname' | while read -r name; do
		readlink "/sys/class/infiniband/$name/device"
	done)
	case $devices in *"$first"*) return 0 ;; *) return 1 ;; esac
}

rdma_gone() {
	! rdma_link
}

check "the driver starts anew" devlink dev reload "$device"
check "the port is back" back
check "a size of completion EQs" param io_eq_size 256
check "a size of the event EQ" param event_eq_size 128
check "they are taken with a reload" devlink dev reload "$device"
check "the port is back" back
if can_ask; then
	# The driver adds 128 entries and takes the next power of two.
	card pf0/eqs >/run/eqs
	check "the card has EQs of these sizes" jq -e '[.[].size] | index(512) and index(256)' /run/eqs
fi
param io_eq_size 1024
param event_eq_size 4096

check "Ethernet is switched off" param enable_eth false
check "with a reload" devlink dev reload "$device"
check "there is no port" until_true 20 sh -c "[ ! -d /sys/bus/pci/devices/$first/net ] || [ -z \"\$(ls /sys/bus/pci/devices/$first/net)\" ]"
check "Ethernet is switched on again" param enable_eth true
check "with a reload" devlink dev reload "$device"
check "the port is back" back

modprobe mlx5_ib
check "the RDMA driver has the function" until_true 20 rdma_link
check "RDMA is switched off" param enable_rdma false
check "with a reload" devlink dev reload "$device"
check "it has it no more" until_true 20 rdma_gone
check "RDMA is switched on again" param enable_rdma true
check "with a reload" devlink dev reload "$device"
check "it has it again" until_true 20 rdma_link
check "the port is back" back
check "the RDMA driver unloads" rmmod mlx5_ib

for action in "action fw_activate" "action fw_activate limit no_reset"; do
	# shellcheck disable=SC2086
	check "reload with $action is refused" sh -c "! devlink dev reload $device $action 2>/run/why"
	say "$(cat /run/why)"
done
check "why: $(head -n 1 /run/why)" test -s /run/why
mkdir -p /lib/firmware
head -c 4096 /dev/zero >/lib/firmware/rubbish.mfa2
check "an image of rubbish is refused" sh -c "! devlink dev flash $device file rubbish.mfa2 2>/run/why"
say "$(cat /run/why)"
check "the kernel has nothing to say" quiet

start_two_ports
check "every echo comes back" all_echoes 3 ping -i 0.2 192.0.2.2
one_namespace
check "all drivers unload" unload
check "and load again" load
check_dmesg
finish
