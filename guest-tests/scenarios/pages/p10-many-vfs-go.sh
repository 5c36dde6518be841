#!/bin/sh
# shows: pages of VFs with a driver, without one and with one that was taken away: all go back with the VFs, and no counter drifts
# tier: full
# card: vfs = 4
# timeout: 300
# broken: a counter that does not come back to 0, sriov_numvfs=0 that waits two minutes
# SFs: p10-sfs-go. The PF and VFs of an embedded CPU's host: p10-host-goes. The card has no VFs of an embedded CPU's own.
. "${0%/*}/../lib/tap.sh"
. "${0%/*}/../lib/pages.sh"

begin any
for round in 1 2; do
	vfs_up 4
	agree "with four VFs ($round)"
	vf=$(readlink -f "/sys/bus/pci/devices/$pf0/virtfn1")
	check "the driver of a VF is taken away" sh -c "echo ${vf##*/} >$vf/driver/unbind"
	agree "with one VF without a driver ($round)"
	vf=$(readlink -f "/sys/bus/pci/devices/$pf0/virtfn2")
	# The driver does not expect the reset, and recovers from it.
	asked_for pf0vf2 64
	agree "after another was asked for more ($round)"
	vfs_down
	same "all pages but the PF's own are back ($round)" "$own" "$(total)"
	agree "without VFs ($round)"
done
echo 0 >"/sys/bus/pci/devices/$pf0/sriov_drivers_autoprobe"
check "VFs come that no driver takes" vfs 4
agree "with VFs without drivers"
vfs_down
echo 1 >"/sys/bus/pci/devices/$pf0/sriov_drivers_autoprobe"
leave
check "the driver loads again" load
check_dmesg
finish
