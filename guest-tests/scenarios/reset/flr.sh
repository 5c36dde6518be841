#!/bin/sh
# shows: a function level reset under traffic, which the driver notices and recovers from; one without a driver; the other port lives on
# tier: ci
# timeout: 120
# broken: a driver that does not notice, a command that is never answered, a port that stays away, pages or objects left
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/reset.sh"

ready
start_two_ports
remember
for function in "$pf0" "$pf1"; do
	before=$(recoveries "$function")
	flood
	check "$function is reset under traffic" sh -c "echo 1 >/sys/bus/pci/devices/$function/reset"
	check "its driver notices and recovers" until_true 30 more_recoveries "$function" "$before"
	calm
	check "the ports work again" again
	unchanged "the reset of $function"
done

echo "$pf0" >/sys/bus/pci/drivers/mlx5_core/unbind
check "$pf0 is reset without a driver" sh -c "echo 1 >/sys/bus/pci/devices/$pf0/reset"
check "the driver binds to it again" sh -c "echo $pf0 >/sys/bus/pci/drivers/mlx5_core/bind"
check "the ports work again" again
unchanged "the reset without a driver"
recovery_messages
nothing_left
check_dmesg
finish
