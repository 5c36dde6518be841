#!/bin/sh
# shows: in switchdev mode with VFs and RDMA's driver: devlink reload, firmware that fails, and a driver that is taken away: each time switchdev mode and the representors can be had again
# tier: full
# card: vfs = 2
# timeout: 400
# broken: a recovery that hangs or leaves representors behind, an e-switch that cannot be changed any more, lost IB representors
. "${0%/*}/../lib/reps.sh"

can_ask || skip_all "the card can't be asked"
ready
with_vfs 2
switchdev_messages
with_rdma

# up_again WHEN: VFs, switchdev mode, representors, also of the IB device, from whatever is there.
up_again() {
	until_true 60 netdev "$pf0"
	[ "$(cat "/sys/bus/pci/devices/$pf0/sriov_numvfs")" = "$total" ] || check "the VFs come $1" numvfs "$pf0" "$total"
	check "they have network devices $1" until_true 90 vfs_are_there "$pf0" "$total"
	# A second recovery within the grace period would unload a VF's driver.
	for n in 0 1; do
		no_grace "$(vf "$pf0" $n)"
	done
	[ "$(eswitch_mode "$pf0")" = switchdev ] || check "the e-switch changes to switchdev $1" eswitch "$pf0" switchdev
	check "each VF has a representor $1" until_true 30 reps "$pf0" "$total"
	with_rdma
	todo_before 7.2 "RDMA's representors do not come late" \
		check "the uplink and each VF have a port of its IB device $1" until_true 30 ib_reps "$pf0" "$total"
}

up_again "at first"

# VFs see their PF go, and recover by themselves.
recovery_messages
health_messages
tolerate 'reload while VFs are present is unfavorable' ' \(unregistering\): vport [0-9]+ error -67 reading stats$'
check "devlink reloads the PF" devlink dev reload "pci/$pf0"
no_grace "$pf0"
up_again "after a reload"

fails_and_recovers
no_grace "$pf0"
up_again "after firmware that failed"

check "the VFs go" numvfs "$pf0" 0
check "the PF's driver is taken away" sh -c "echo $pf0 >/sys/bus/pci/drivers/mlx5_core/unbind"
check "and comes back" sh -c "echo $pf0 >/sys/bus/pci/drivers/mlx5_core/bind"
up_again "after that"
check "its driver is taken away with VFs in switchdev mode" sh -c "echo $pf0 >/sys/bus/pci/drivers/mlx5_core/unbind"
check "and comes back then" sh -c "echo $pf0 >/sys/bus/pci/drivers/mlx5_core/bind"
up_again "at last"
check "the VFs go at last" numvfs "$pf0" 0
without_rdma
nothing_left
check_dmesg
finish
