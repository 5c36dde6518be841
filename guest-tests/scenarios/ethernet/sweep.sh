#!/bin/sh
# shows: everything that can be read is read (ethtool, devlink, rdma, lspci, debugfs, sysfs), the RDMA driver loads and unloads, and the kernel has nothing to say
# tier: ci
# timeout: 150
# broken: a command or register that the card refuses: the driver logs each
. "${0%/*}/../lib/tap.sh"

start_two_ports
check "some traffic to count" all_echoes 5 ping -i 0.1 192.0.2.2

# Options that this card or driver does not have answer "not supported": what counts is that the kernel stays quiet.
for option in "" -a -c -g -i -k -l -m -n -P -S -T -x --show-fec --show-priv-flags --show-eee --phy-statistics \
	--show-tunnels --show-mm --show-module --show-nfc "-I -a" "-I --show-fec" "-m $port0 raw on"; do
	# shellcheck disable=SC2086
	ethtool $option "$port0" >/dev/null 2>&1
done
check "ethtool: every show option" quiet
say "$(ethtool -m "$port0" | grep -E 'Identifier|Vendor (name|PN)')"
check "ethtool: the cable is a QSFP28 of copper" sh -c "ethtool -m $port0 | grep -q 'QSFP28' && ethtool -m $port0 | grep -q 'Copper cable'"
check "ethtool: Reed-Solomon error correction" sh -c "ethtool --show-fec $port0 | grep -q 'Active FEC encoding: RS'"
for name in rx_packets_phy tx_packets_phy rx_prio0_packets tx_prio0_packets rx_vport_unicast_packets; do
	check "ethtool: $name counted" sh -c "[ \$(ethtool -S $port0 | sed -n 's/^ *$name: //p') -ge 5 ]"
done

for object in "dev info" "dev param show" "health show" "port show" "trap show" "region show" "resource show" "sb show" \
	"dev eswitch show" "dev selftests show"; do
	# shellcheck disable=SC2086
	devlink $object >/dev/null 2>&1
done
check "devlink: the version that runs" sh -c "devlink dev info | grep -q 'fw.version [1-9]'"
# The driver of 6.12 does not look there; that of 7.2 does.
kernel=$(uname -r)
[ "${kernel%%.*}" -lt 7 ] || check "devlink: serial numbers, from the vital product data" sh -c "devlink dev info | grep -q 'board.serial_number EMU' && devlink dev info | grep -q ' serial_number 0'"
check "devlink: all that is shown" quiet
devlink health show -j | jq -r '.health | to_entries[] | .key as $d | .value[] | $d + " " + .reporter' |
	while read -r device reporter; do
		devlink health diagnose "$device" reporter "$reporter" >/dev/null 2>&1
		devlink health dump show "$device" reporter "$reporter" >/dev/null 2>&1
	done
check "devlink: every health reporter, diagnosed and dumped" quiet

lspci -vvv >/dev/null 2>&1
check "lspci -vvv" quiet
check "hwmon: the chip is warm" sh -c 'for t in /sys/class/hwmon/*/temp1_input; do [ "$(cat "$t")" -ge 20000 ] || exit 1; done'
# Files that are only to be mapped or written are no reading matter.
find /sys/kernel/debug/mlx5 $(functions | sed 's|^|/sys/bus/pci/devices/|;s|$|/|') -type f -perm -400 2>/dev/null |
	grep -vE '/(resource[0-9].*|rom|config)$' | xargs -n 50 timeout 20 cat >/dev/null 2>&1
check "debugfs and sysfs: every file" quiet

check "the RDMA driver loads" modprobe mlx5_ib
check "rdma: a link for each port" until_true 20 sh -c "[ \$(rdma link | grep -c '^link mlx5_') = $(functions | wc -l) ]"
say "$(rdma link)"
for object in link dev "resource show" "statistic show" "resource show pd" "resource show cq" "system show"; do
	# shellcheck disable=SC2086
	rdma $object >/dev/null 2>&1
done
find /sys/class/infiniband/*/ -type f -perm -400 2>/dev/null | xargs -n 50 timeout 20 cat >/dev/null 2>&1
check "rdma: all that is shown" quiet
one_namespace
check "all drivers unload" unload
check "and load again" load
check_dmesg
finish
