#!/bin/sh
# shows: the driver of representors' network devices is unbound, bound and unbound again in switchdev mode (as R12 first tried)
# tier: full
# fresh
# card: vfs = 1
# timeout: 120
# append: oops=panic
# known-death: kernel BUG at net/core/dev.c
# broken: the uplink's network device is unregistered when its representor is unloaded but stays the uplink's (mlx5_uplink_netdev_get()): the next
#   load gives it a profile, and the next unload unregisters it again, a BUG in unregister_netdevice_many_notify()
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/vfs.sh"
. "${0%/*}/../lib/eswitch.sh"

load
with_vfs 1
switchdev_messages
check "the e-switch changes to switchdev" eswitch "$pf0" switchdev
check "a VF comes" numvfs "$pf0" 1
check "it has a representor" until_true 30 reps "$pf0" 1
driver=/sys/bus/auxiliary/drivers/mlx5_core.eth-rep
name=$(ls "/sys/bus/pci/devices/$pf0" | grep '^mlx5_core.eth-rep')
for round in 1 2; do
	check "the driver is unbound ($round)" sh -c "echo $name >$driver/unbind"
	check "and bound ($round)" sh -c "echo $name >$driver/bind"
	check "the VF has its representor again ($round)" until_true 30 reps "$pf0" 1
done
check "and the uplink" until_true 10 uplink "$pf0"
check "the VF goes" numvfs "$pf0" 0
check "the driver unloads" unload
check_dmesg
finish
